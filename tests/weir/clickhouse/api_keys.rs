//! API keys: the table, and the lookup over it.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::runtime::Handle;
use uuid::Uuid;
use weir::api_key::{ApiKey, KeyHash, Scope};
use weir::clickhouse::{ApiKeyGrant, ApiKeyRow, ApiKeyStoreError, Fingerprint, Store};
use weir::clock::Clock;
use weir::event::Timestamp;
use weir::project::{ApiKeyError, ApiKeySettings, ApiKeys, LookupSettings};

use super::{Server, eventually};

fn grant() -> ApiKeyGrant {
    let allowed_origins = Vec::new();
    ApiKeyGrant { scope: Scope::Events, allowed_origins, requests_per_minute: None, expires_at: None }
}

async fn make(store: &Store, project: &str, grant: &ApiKeyGrant) -> (ApiKey, ApiKeyRow) {
    let key = ApiKey::generate();
    let row = store.create_api_key(project, key.hash(), grant).await.expect("made");
    (key, row)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_looked_up_and_revoked() {
    let (server, store) = Server::with_tables().await;
    let shop = store.create_project("it's a \\ shop", None, &[]).await.expect("made");
    store.create_project("other", None, &[]).await.expect("made");
    let origins = vec!["https://shop.example".to_owned(), "it's '\\ none".to_owned()];
    let special = ApiKeyGrant {
        scope: Scope::Conversions,
        allowed_origins: origins.clone(),
        requests_per_minute: NonZeroU32::new(u32::MAX),
        expires_at: Some(Timestamp::from_millis(4_102_444_800_123)),
    };
    let (first, first_row) = make(&store, "it's a \\ shop", &special).await;
    let (second, second_row) = make(&store, "other", &grant()).await;
    assert_eq!(
        (first_row.project_id, first_row.name.as_str(), first_row.scope.as_str(), first_row.revoked),
        (shop.project_id, "it's a \\ shop", "conversions", false)
    );
    assert_eq!(first_row.allowed_origins, origins);
    assert_eq!(first_row.requests_per_minute, special.requests_per_minute);
    assert_eq!(first_row.expires_at, special.expires_at);
    assert_eq!((second_row.requests_per_minute, second_row.expires_at), (None, None));
    assert_ne!(first_row.key_id, second_row.key_id);

    let nowhere = store.create_api_key("no such", ApiKey::generate().hash(), &grant()).await;
    let nowhere = nowhere.expect_err("there is no such project");
    assert!(matches!(nowhere, ApiKeyStoreError::UnknownProject(_)), "{nowhere}");
    let unknown = store.revoke_api_key(Uuid::from_u128(7)).await.expect_err("unknown");
    assert!(matches!(unknown, ApiKeyStoreError::UnknownKey(_)), "{unknown}");

    store.revoke_api_key(second_row.key_id).await.expect("revoked");
    store.revoke_api_key(second_row.key_id).await.expect("again");
    let revoked = ApiKeyRow { revoked: true, ..second_row };
    assert_eq!(store.list_api_keys().await.expect("a list"), [first_row.clone(), revoked.clone()]);
    let asked: Vec<KeyHash> = [&first, &second, &ApiKey::generate()].iter().map(|key| key.hash()).collect();
    let found = store.lookup_api_keys(&asked).await.expect("found");
    assert_eq!(found.len(), 2);
    assert!(found.contains(&(first.hash(), first_row)) && found.contains(&(second.hash(), revoked)));
    assert_eq!(store.lookup_api_keys(&[]).await.expect("nothing"), []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fingerprint_of_api_keys_changes_with_every_change() {
    let (server, store) = Server::with_tables().await;
    store.create_project("shop", None, &[]).await.expect("made");
    let empty = store.api_keys_fingerprint().await.expect("a fingerprint");
    assert_eq!(empty.count, 0);
    let mut seen = vec![empty];
    let mut moved = |now: Fingerprint, what: &str| {
        assert!(!seen.contains(&now), "{what} did not change the fingerprint");
        seen.push(now);
    };
    let (_, row) = make(&store, "shop", &grant()).await;
    moved(store.api_keys_fingerprint().await.expect("one"), "a new key");
    make(&store, "shop", &grant()).await;
    moved(store.api_keys_fingerprint().await.expect("one"), "another");
    store.revoke_api_key(row.key_id).await.expect("revoked");
    moved(store.api_keys_fingerprint().await.expect("one"), "a revoked key");
    for change in ["UPDATE scope = 'conversions'", "UPDATE expires_at = '2030-01-01 00:00:00'", "DELETE"] {
        let settings = "SETTINGS mutations_sync = 1";
        server.sql(&format!("ALTER TABLE api_keys {change} WHERE NOT revoked {settings}")).await;
        moved(store.api_keys_fingerprint().await.expect("one"), change);
    }
    let before = store.api_keys_fingerprint().await.expect("one");
    server.sql("OPTIMIZE TABLE api_keys FINAL").await;
    assert_eq!(store.api_keys_fingerprint().await.expect("one"), before, "a merge is no change");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lookup_sees_what_becomes_of_a_key_and_does_without_clickhouse() {
    let (server, store) = Server::with_tables().await;
    let shop = store.create_project("shop", None, &[]).await.expect("made");
    let lookup = LookupSettings { refresh: Duration::from_millis(200), ..LookupSettings::default() };
    let settings = ApiKeySettings { lookup, ..ApiKeySettings::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        let snapshot = folder.path().join("api-keys.json");
        ApiKeys::start(store.clone(), settings.clone(), snapshot, Clock::system(), &Handle::current())
    };
    let (keys, task) = start();
    let find = async |keys: &ApiKeys, key: &ApiKey| {
        keys.find(Some(key.expose().as_bytes()), Scope::Events, None).await
    };
    let expires_at = Some(Clock::system().now().shifted(3_600_000));
    let (kept, row) = make(&store, "shop", &ApiKeyGrant { expires_at, ..grant() }).await;
    let (other, other_row) = make(&store, "shop", &grant()).await;
    let found = find(&keys, &kept).await.expect("found at once");
    assert_eq!((found.project, found.key_id, found.expires_at), (shop.project_id, row.key_id, expires_at));
    assert!(find(&keys, &other).await.is_ok());
    assert_eq!(find(&keys, &ApiKey::generate()).await, Err(ApiKeyError::Missing));

    store.revoke_api_key(other_row.key_id).await.expect("revoked");
    eventually("the revocation", async || find(&keys, &other).await == Err(ApiKeyError::Missing)).await;
    let later = "ALTER TABLE api_keys UPDATE scope = 'of a later version' WHERE NOT revoked";
    server.sql(&format!("{later} SETTINGS mutations_sync = 1")).await;
    eventually("the unknown scope", async || find(&keys, &kept).await == Err(ApiKeyError::Missing)).await;
    server
        .sql(&format!("{} SETTINGS mutations_sync = 1", later.replace("of a later version", "events")))
        .await;
    eventually("the scope as it was", async || find(&keys, &kept).await.is_ok()).await;

    server.stop().await;
    assert!(find(&keys, &kept).await.is_ok());
    assert_eq!(find(&keys, &ApiKey::generate()).await, Err(ApiKeyError::Unavailable));
    drop(keys);
    task.await.expect("it ends");
    let (keys, _task) = start();
    assert!(find(&keys, &kept).await.is_ok(), "from the snapshot");
}
