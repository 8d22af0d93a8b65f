//! The command line: `weir serve`, `weir migrate`, `weir project …`, `weir key …`, `weir snippet`, `weir import`,
//! `weir journal …`, `weir conversions …`. Alone, `weir` serves.
//!
//! A command that cannot do what it was told says why in one sentence on standard error. Exit codes: 0 done, 1
//! failed, 64 told something that cannot be.

mod ask;
mod conversions;
mod import;
mod journal;
mod key;
mod process;
mod project;
mod serve;
mod snippet;
mod store;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::store::OpenStore;
use crate::clickhouse::run_child;
use crate::config::{ConfigError, LogArgs, ServeArgs, StoreArgs};

/// Told something that cannot be: `EX_USAGE` of sysexits.h.
const EXIT_USAGE: u8 = 64;

#[derive(Parser)]
#[command(name = "weir", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take events, and stream them into ClickHouse; the same as no command at all
    Serve {
        #[command(flatten)]
        settings: Box<ServeArgs>,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Bring the tables up to date
    Migrate {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Create, list and disable projects
    Project {
        #[command(subcommand)]
        command: project::Command,
    },
    /// Create, list and revoke the keys of backends
    Key {
        #[command(subcommand)]
        command: key::Command,
    },
    /// Print the tag that includes the script in a page
    Snippet {
        #[command(flatten)]
        snippet: snippet::SnippetArgs,
    },
    /// Send events from files to a running collector, and go on with an import that was stopped
    #[command(after_long_help = import::HELP)]
    Import(import::ImportArgs),
    /// Look into the journal, and have parked segments tried again
    Journal {
        #[command(subcommand)]
        command: journal::Command,
    },
    /// Show what becomes of conversions, send dead letters again, end a pause
    Conversions {
        #[command(subcommand)]
        command: conversions::Command,
    },
    /// Run the embedded engine in this process
    #[command(name = crate::clickhouse::CHILD_COMMAND, hide = true)]
    EngineChild {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Does what the process's arguments and environment say.
pub fn run() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.len() == 1 {
        arguments.push("serve".into());
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done when even the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::Serve { settings, log } => serve::run(&settings, &log),
        Command::Migrate { store } => block_on(migrate(&store)),
        Command::Project { command } => block_on(project::run(command)),
        Command::Key { command } => block_on(key::run(command)),
        Command::Snippet { snippet } => snippet::run(&snippet),
        Command::Import(args) => import::run(&args),
        Command::Journal { command } => block_on(journal::run(command)),
        Command::Conversions { command } => block_on(conversions::run(command)),
        Command::EngineChild { arguments } => return run_child(arguments.into_iter()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            if error.is::<ConfigError>() { EXIT_USAGE.into() } else { ExitCode::FAILURE }
        }
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

async fn migrate(settings: &StoreArgs) -> anyhow::Result<()> {
    let open = OpenStore::open(settings).await?;
    println!("the tables are up to date");
    open.close().await;
    Ok(())
}
