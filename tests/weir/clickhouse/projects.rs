//! Project keys.

use weir::clickhouse::{Fingerprint, ProjectKeyError};

use super::Server;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_looked_up_and_disabled() {
    let (server, store) = Server::with_tables().await;
    let origins = ["https://shop.example".to_owned(), "*.shop.example".to_owned()];
    let given = store.create_project("shop", Some("pk_live_xyz"), &origins).await.expect("made");
    let made = store.create_project("shop", None, &[]).await.expect("made");
    let other = store.create_project("it's \\ other", Some("pk'\\\"?{x:String}"), &[]).await.expect("made");
    assert!(made.key.starts_with("pk_live_") && made.key.len() == 40, "{}", made.key);
    assert_eq!(made.project_id, given.project_id, "keys of one name are keys of one project");
    assert_ne!(other.project_id, given.project_id);
    assert_eq!(given.allowed_origins, origins);

    let taken = store.create_project("else", Some("pk_live_xyz"), &[]).await.expect_err("taken");
    assert!(matches!(taken, ProjectKeyError::Taken(_)), "{taken}");
    let unknown = store.disable_project("pk_live_none").await.expect_err("unknown");
    assert!(matches!(unknown, ProjectKeyError::Unknown(_)), "{unknown}");

    store.disable_project("pk_live_xyz").await.expect("disabled");
    store.disable_project("pk_live_xyz").await.expect("again");
    let keys = ["pk_live_none".to_owned(), "pk_live_xyz".to_owned(), other.key.clone()];
    let found = store.lookup(&keys).await.expect("found");
    assert_eq!(found.len(), 2);
    assert!(found.contains(&other));
    let disabled = found.iter().find(|row| row.key == "pk_live_xyz").expect("it is there");
    assert!(!disabled.enabled);
    assert_eq!((disabled.created_at, &disabled.allowed_origins), (given.created_at, &given.allowed_origins));
    assert_eq!(store.lookup(&[]).await.expect("nothing"), []);

    let names: Vec<_> =
        store.list_projects().await.expect("a list").into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["it's \\ other", "shop", "shop"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fingerprint_changes_with_every_change() {
    let (server, store) = Server::with_tables().await;
    let empty = store.fingerprint().await.expect("a fingerprint");
    assert_eq!(empty.count, 0);
    let mut seen = vec![empty];
    let mut moved = |now: Fingerprint, what: &str| {
        assert!(!seen.contains(&now), "{what} did not change the fingerprint");
        seen.push(now);
    };
    store.create_project("shop", Some("pk_1"), &[]).await.expect("made");
    moved(store.fingerprint().await.expect("one"), "a new key");
    store.create_project("shop", Some("pk_2"), &[]).await.expect("made");
    moved(store.fingerprint().await.expect("one"), "another");
    store.disable_project("pk_1").await.expect("disabled");
    moved(store.fingerprint().await.expect("one"), "a disabled key");
    server
        .sql("ALTER TABLE project_keys UPDATE name = 'x' WHERE key = 'pk_2' SETTINGS mutations_sync = 1")
        .await;
    moved(store.fingerprint().await.expect("one"), "an ALTER");
    server.sql("ALTER TABLE project_keys DELETE WHERE key = 'pk_2' SETTINGS mutations_sync = 1").await;
    moved(store.fingerprint().await.expect("one"), "a deletion");
    let before = store.fingerprint().await.expect("one");
    server.sql("OPTIMIZE TABLE project_keys FINAL").await;
    assert_eq!(store.fingerprint().await.expect("one"), before, "a merge is no change");
    server.stop().await;
}
