//! `weir key create|list|revoke`.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Subcommand;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::store::OpenStore;
use crate::api_key::{ApiKey, Scope};
use crate::clickhouse::{ApiKeyGrant, ApiKeyRow, Store};
use crate::clock::Clock;
use crate::config::{ConfigError, StoreArgs};
use crate::event::Timestamp;
use crate::project::AllowedOrigins;

#[allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]
#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a key with which backends send for a project; the key goes to standard output, this once
    Create {
        /// The project's name
        project: String,
        /// What the key may be used for
        #[arg(long, value_enum, default_value_t = Scope::Events, value_name = "SCOPE")]
        scope: Scope,
        /// A page's origin that may send with the key, like https://example.com or https://*.example.com; may be given
        /// several times [default: any]
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<String>,
        /// When the key is to end: a moment like 2027-01-01T00:00:00Z, or a time from now like 90d [default: never]
        #[arg(long, value_name = "WHEN", value_parser = Expiry::parse)]
        expires: Option<Expiry>,
        /// Requests that the key may make in a minute [default: what the collector is set to]
        #[arg(long, value_name = "COUNT")]
        requests_per_minute: Option<NonZeroU32>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List every key by its id; the keys themselves are not kept
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Refuse the requests of a key from now on
    Revoke {
        /// The key's id, as `weir key list` shows it
        id: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// When a key is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    At(Timestamp),
    In(Duration),
}

impl Expiry {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
            let millis = i64::try_from(moment.unix_timestamp_nanos() / 1_000_000);
            return Ok(Self::At(millis.map_or(Timestamp::MAX, Timestamp::from_millis)));
        }
        humantime::parse_duration(text)
            .map(Self::In)
            .map_err(|_| "expected a moment like 2027-01-01T00:00:00Z or a time from now like 90d".to_owned())
    }

    /// The moment, which has to lie ahead and be one that can be stored.
    fn moment(self, now: Timestamp) -> Result<Timestamp, ConfigError> {
        let millis = match self {
            Self::At(moment) => moment.as_millis(),
            Self::In(time) => {
                now.as_millis().saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
            }
        };
        let moment = Timestamp::from_millis(millis);
        if moment <= now || moment > Timestamp::MAX {
            let problem = format!("expected a moment after now ({now}) and not after {}", Timestamp::MAX);
            return Err(ConfigError::new("--expires", problem));
        }
        Ok(moment)
    }
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let settings = match &command {
        Command::Create { store, .. } | Command::List { store } | Command::Revoke { store, .. } => {
            store.clone()
        }
    };
    let task = Task::of(command, Clock::system().now())?;
    let open = OpenStore::open(&settings).await?;
    let done = task.carry_out(&open.store).await;
    open.close().await;
    done
}

/// A command that has been found to make sense, before a store is opened for it.
enum Task {
    Create(String, ApiKeyGrant),
    List,
    Revoke(Uuid),
}

impl Task {
    fn of(command: Command, now: Timestamp) -> anyhow::Result<Self> {
        Ok(match command {
            Command::Create { project, scope, origins, expires, requests_per_minute, .. } => {
                AllowedOrigins::parse(&origins)?;
                let expires_at = expires.map(|expires| expires.moment(now)).transpose()?;
                let grant = ApiKeyGrant { scope, allowed_origins: origins, requests_per_minute, expires_at };
                Self::Create(project, grant)
            }
            Command::List { .. } => Self::List,
            // What was given is not shown: it may be a key.
            Command::Revoke { id, .. } => Self::Revoke(Uuid::parse_str(&id).map_err(|_| {
                let problem = "expected the id of a key, not the key itself: `weir key list` shows the ids";
                ConfigError::new("<ID>", problem)
            })?),
        })
    }

    async fn carry_out(self, store: &Store) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Create(project, grant) => {
                let key = ApiKey::generate();
                let row = store.create_api_key(&project, key.hash(), &grant).await?;
                writeln!(out, "{}", key.expose())?;
                eprintln!("weir: {}", described(&row));
                eprintln!("weir: it is shown this once; `weir key revoke {}` ends it", row.key_id);
            }
            Self::List => {
                let now = Clock::system().now();
                for row in store.list_api_keys().await? {
                    writeln!(out, "{}", line(&row, now))?;
                }
            }
            Self::Revoke(id) => store.revoke_api_key(id).await?,
        }
        Ok(())
    }
}

/// What a key may do, in a sentence.
fn described(row: &ApiKeyRow) -> String {
    let ApiKeyRow { key_id, name, scope, .. } = row;
    let origins = match row.allowed_origins.as_slice() {
        [] => String::new(),
        origins => format!(" from {}", origins.join(" and ")),
    };
    let requests = match row.requests_per_minute {
        None => String::new(),
        Some(requests) => format!(", {requests} requests a minute"),
    };
    let end = row.expires_at.map_or_else(String::new, |end| format!(", until {end}"));
    format!("the key {key_id} may send {scope} for the project {name}{origins}{requests}{end}")
}

/// A line of the list.
fn line(row: &ApiKeyRow, now: Timestamp) -> String {
    let ApiKeyRow { key_id, project_id, name, scope, created_at, .. } = row;
    let state = if row.revoked {
        "revoked"
    } else if row.expires_at.is_some_and(|end| now >= end) {
        "expired"
    } else {
        "valid"
    };
    let end = row.expires_at.map_or_else(|| "never expires".to_owned(), |end| format!("expires {end}"));
    let requests = row
        .requests_per_minute
        .map_or_else(|| "usual rate".to_owned(), |requests| format!("{requests} requests/min"));
    let origins = row.allowed_origins.join(" ");
    let origins = if origins.is_empty() { "any origin" } else { &origins };
    format!(
        "{key_id}\t{name}\t{project_id}\t{scope}\t{state}\tcreated {created_at}\t{end}\t{requests}\t{origins}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_769_903_999_999);

    #[test]
    fn an_end_is_a_moment_or_a_time_from_now() {
        for (text, end) in [
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00.000Z"),
            ("2027-01-01T01:30:00+01:30", "2027-01-01T00:00:00.000Z"),
            ("90d", "2026-05-01T23:59:59.999Z"),
            ("1h 30m", "2026-02-01T01:29:59.999Z"),
            ("2299-12-31T23:59:59Z", "2299-12-31T23:59:59.000Z"),
        ] {
            let moment = Expiry::parse(text).unwrap().moment(NOW).unwrap();
            assert_eq!(moment.to_string(), end, "{text}");
        }
        for text in ["", "soon", "2027-01-01", "2027-13-01T00:00:00Z", "-1d", "90"] {
            assert!(Expiry::parse(text).unwrap_err().contains("expected a moment like"), "{text}");
        }
        for text in
            ["2026-01-31T23:59:59Z", "0s", "1969-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "1000years"]
        {
            let error = Expiry::parse(text).unwrap().moment(NOW).unwrap_err();
            assert!(error.to_string().contains("--expires: expected a moment after now"), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_is_listed_with_what_it_may_do_and_whether_it_may() {
        let row = ApiKeyRow {
            key_id: Uuid::from_u128(1),
            project_id: Uuid::from_u128(2),
            name: "shop".to_owned(),
            scope: "events".to_owned(),
            allowed_origins: Vec::new(),
            requests_per_minute: None,
            created_at: Timestamp::EPOCH,
            expires_at: None,
            revoked: false,
        };
        let tail = |row: &ApiKeyRow| line(row, NOW).split_once("\tevents\t").unwrap().1.to_owned();
        let created = "created 1970-01-01T00:00:00.000Z";
        assert_eq!(tail(&row), format!("valid\t{created}\tnever expires\tusual rate\tany origin"));
        let sentence = "the key 00000000-0000-0000-0000-000000000001 may send events for the project shop";
        assert_eq!(described(&row), sentence);

        let origins = vec!["https://a.test".to_owned(), "https://b.test".to_owned()];
        let row = ApiKeyRow {
            allowed_origins: origins,
            requests_per_minute: NonZeroU32::new(60),
            expires_at: Some(NOW),
            ..row
        };
        let end = "2026-01-31T23:59:59.999Z";
        let rest = format!("{created}\texpires {end}\t60 requests/min\thttps://a.test https://b.test");
        assert_eq!(tail(&row), format!("expired\t{rest}"));
        assert_eq!(tail(&ApiKeyRow { revoked: true, ..row.clone() }), format!("revoked\t{rest}"));
        let more = format!(" from https://a.test and https://b.test, 60 requests a minute, until {end}");
        assert_eq!(described(&row), sentence.to_owned() + &more);
    }
}
