//! `weir journal status|inspect|retry`: what an operator sees of a journal, and can do about it.
//!
//! The files are read as they lie there, also while a collector holds them: nothing is locked and nothing changed.
//! What only a running collector knows, such as why a segment is parked, it is asked for.

mod inspect;
mod status;

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;

use super::ask::ask;
use crate::config::{DataArgs, OperationsArgs, journal_folder};
use crate::http::RetryReport;

#[allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]
#[derive(Subcommand)]
pub(super) enum Command {
    /// Show what waits in the journal, by state, and what is parked or damaged, with the reasons
    Status {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        operations: OperationsArgs,
    },
    /// Print a segment's rows, one JSON object a line with the table and the row; what is damaged is told on standard
    /// error and ends the command with 1
    Inspect {
        /// The segment: a path, or a name as `status` shows it
        file: PathBuf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Have the running collector try its parked segments now instead of after --parked-pause
    Retry {
        #[command(flatten)]
        operations: OperationsArgs,
    },
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    let done = match command {
        Command::Status { data, operations } => status::show(&data, operations.ops_listen, out).await,
        Command::Inspect { file, data } => inspect::show(&find(file, &data), out),
        Command::Retry { operations } => retry(&operations, out).await,
    };
    match done {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A name alone is one of the journal's, unless there is such a file here.
fn find(file: PathBuf, data: &DataArgs) -> PathBuf {
    let is_name = file.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    if is_name && !file.exists() { journal_folder(&data.data_dir).join(file) } else { file }
}

async fn retry(operations: &OperationsArgs, out: &mut impl io::Write) -> anyhow::Result<()> {
    let address = operations.ops_listen;
    let RetryReport { parked } = ask(address, http::Method::POST, "/journal/retry")
        .await
        .with_context(|| format!("no collector can be asked on {address} (--ops-listen)"))?;
    match parked {
        0 => writeln!(out, "nothing is parked")?,
        1 => writeln!(out, "1 parked segment is tried now; `weir journal status` shows whether it stays")?,
        _ => writeln!(out, "{parked} parked segments are tried now; `weir journal status` shows which stay")?,
    }
    Ok(())
}
