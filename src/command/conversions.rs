//! `weir conversions status|dead|replay|resume|discard`: what becomes of conversions, as the running collector tells it.

use std::io::{self, Write};

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Subcommand};
use http::Method;
use serde::de::DeserializeOwned;

use super::ask::ask;
use crate::config::OperationsArgs;
use crate::http::{ALL_INTEGRATIONS, ChangedReport, ConversionsReport, DeadReport, MOST_DISCARDED};

#[allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]
#[derive(Subcommand)]
pub(super) enum Command {
    /// Show for each integration how many conversions wait or are dead letters, and what keeps them
    Status {
        #[command(flatten)]
        operations: OperationsArgs,
    },
    /// Print the dead letters, one JSON object a line, oldest first
    Dead {
        /// Of this integration only, as `status` shows it
        integration: Option<String>,
        #[command(flatten)]
        operations: OperationsArgs,
    },
    /// Have dead letters sent again, under the same ids
    Replay {
        /// Of this integration only, as `status` shows it
        integration: Option<String>,
        #[command(flatten)]
        operations: OperationsArgs,
    },
    /// Delete dead letters, or one conversion by its id; what is deleted cannot be brought back
    #[command(group(ArgGroup::new("what").args(["integration", "id", "all"]).required(true).multiple(true)))]
    Discard {
        /// The dead letters of this integration, as `status` shows it
        integration: Option<String>,
        /// What waits or is dead under this id, for this integration or for any
        #[arg(long)]
        id: Option<String>,
        /// The dead letters of all integrations
        #[arg(long, conflicts_with_all = ["integration", "id"])]
        all: bool,
        #[command(flatten)]
        operations: OperationsArgs,
    },
    /// Have an integration send again that its platform refused as a whole
    Resume {
        /// This integration only, as `status` shows it
        integration: Option<String>,
        #[command(flatten)]
        operations: OperationsArgs,
    },
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    let done = match command {
        Command::Status { operations } => status(&operations, out).await,
        Command::Dead { integration, operations } => dead(&operations, integration.as_deref(), out).await,
        Command::Replay { integration, operations } => {
            let path = path("/conversions/replay", known(&operations, integration.as_deref()).await?);
            let ChangedReport { changed } = told(&operations, Method::POST, &path).await?;
            writeln!(out, "{changed} dead letters are sent again").map_err(Into::into)
        }
        Command::Resume { integration, operations } => {
            let path = path("/conversions/resume", known(&operations, integration.as_deref()).await?);
            let ChangedReport { changed } = told(&operations, Method::POST, &path).await?;
            writeln!(out, "{changed} integrations were paused and send again").map_err(Into::into)
        }
        Command::Discard { integration, id, all: _, operations } => {
            let integration = known(&operations, integration.as_deref()).await?;
            discard(&operations, integration, id.as_deref(), out).await
        }
    };
    match done {
        // Whoever reads has seen enough, as `head` does.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        done => done,
    }
}

async fn told<T: DeserializeOwned>(
    operations: &OperationsArgs,
    method: Method,
    path: &str,
) -> anyhow::Result<T> {
    let address = operations.ops_listen;
    ask(address, method, path)
        .await
        .with_context(|| format!("no collector can be asked on {address} (--ops-listen)"))
}

/// The name, if there is such an integration.
async fn known<'a>(operations: &OperationsArgs, name: Option<&'a str>) -> anyhow::Result<Option<&'a str>> {
    let Some(meant) = name else { return Ok(None) };
    let ConversionsReport { integrations } = told(operations, Method::GET, "/conversions").await?;
    if !integrations.iter().any(|report| report.integration == meant) {
        bail!("there is no integration {meant}; `weir conversions status` shows them all");
    }
    Ok(name)
}

fn path(path: &str, integration: Option<&str>) -> String {
    let Some(name) = integration else { return path.to_owned() };
    with_query(path, &[("integration", name)])
}

fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{query}")
}

/// Deletes what has an id; without one the dead letters, until there are none.
async fn discard(
    operations: &OperationsArgs,
    integration: Option<&str>,
    id: Option<&str>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if let Some(id) = id {
        let only = integration.map(|name| ("integration", name));
        let path = with_query("/conversions", &[("id", id)].into_iter().chain(only).collect::<Vec<_>>());
        let ChangedReport { changed } = told(operations, Method::DELETE, &path).await?;
        return writeln!(out, "{changed} conversions are deleted").map_err(Into::into);
    }
    let path = path("/conversions/dead", Some(integration.unwrap_or(ALL_INTEGRATIONS)));
    let mut deleted = 0;
    loop {
        let ChangedReport { changed } = told(operations, Method::DELETE, &path).await?;
        deleted += changed;
        if changed < MOST_DISCARDED {
            return writeln!(out, "{deleted} dead letters are deleted").map_err(Into::into);
        }
    }
}

async fn status(operations: &OperationsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let ConversionsReport { integrations } = told(operations, Method::GET, "/conversions").await?;
    if integrations.is_empty() {
        writeln!(out, "there is no integration: weir.toml holds them, see --config")?;
        return Ok(());
    }
    let width =
        integrations.iter().map(|report| report.integration.chars().count()).max().unwrap_or(0).max(11);
    writeln!(out, "{:width$}  {:>9}  {:>9}  state", "integration", "waiting", "dead")?;
    for report in integrations {
        let state = match (&report.paused, &report.trouble) {
            _ if !report.configured => "not in weir.toml".to_owned(),
            (Some(pause), _) => format!("paused since {}: {}", pause.since, pause.why),
            (None, Some(trouble)) => format!("tries again: {trouble}"),
            (None, None) => "sends".to_owned(),
        };
        let oldest = report.oldest.map(|oldest| format!("; the oldest came {oldest}")).unwrap_or_default();
        let (name, waiting, dead) = (report.integration, report.waiting, report.dead);
        writeln!(out, "{name:width$}  {waiting:>9}  {dead:>9}  {state}{oldest}")?;
    }
    Ok(())
}

async fn dead(
    operations: &OperationsArgs,
    integration: Option<&str>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let report: DeadReport =
        told(operations, Method::GET, &path("/conversions/dead", known(operations, integration).await?))
            .await?;
    for letter in report.dead {
        writeln!(out, "{}", serde_json::to_string(&letter)?)?;
    }
    Ok(())
}
