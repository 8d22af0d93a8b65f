//! `weir project create|list|disable`.

use std::io::Write as _;

use clap::Subcommand;

use super::store::OpenStore;
use crate::clickhouse::Store;
use crate::config::StoreArgs;
use crate::project::AllowedOrigins;

#[allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]
#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a project, or another key of one; its key goes to standard output
    Create {
        /// The project's name
        name: String,
        /// The key that events carry [default: a new random one]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// A page's origin that may send events, like https://example.com or https://*.example.com; may be given
        /// several times [default: any]
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List every project key
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Refuse the events of a key from now on
    Disable {
        /// The key
        key: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let settings = match &command {
        Command::Create { store, .. } | Command::List { store } | Command::Disable { store, .. } => store,
    };
    let open = OpenStore::open(settings).await?;
    let done = carry_out(&command, &open.store).await;
    open.close().await;
    done
}

async fn carry_out(command: &Command, store: &Store) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Create { name, key, origins, .. } => {
            AllowedOrigins::parse(origins)?;
            let project = store.create_project(name, key.as_deref(), origins).await?;
            writeln!(out, "{}", project.key)?;
            let keys = store.list_projects().await?;
            let count = keys.iter().filter(|other| other.project_id == project.project_id).count();
            if count > 1 {
                eprintln!("weir: the project {name} has {count} keys now, each with origins of its own");
            }
        }
        Command::List { .. } => {
            for project in store.list_projects().await? {
                let state = if project.enabled { "enabled" } else { "disabled" };
                let origins = project.allowed_origins.join(" ");
                let origins = if origins.is_empty() { "any origin" } else { &origins };
                let (key, name, id) = (project.key, project.name, project.project_id);
                writeln!(out, "{key}\t{name}\t{id}\t{state}\t{origins}")?;
            }
        }
        Command::Disable { key, .. } => store.disable_project(key).await?,
    }
    Ok(())
}
