//! `weir import`: events from files of one JSON object a line, sent to a running collector as any backend sends them.
//!
//! ```text
//! file ─► lines ─► window: lines parted by source ─► one request at a time ─► state, rejected lines
//! ```
//!
//! Each event has an id, its own or one made of file and line, so that to send a line again is harmless; each request
//! that is answered moves the state beside the file forward. Whatever is killed, the same command goes on from there,
//! and no event is lost or there twice. Lines that are not taken go to a file of their own with the reason, and hold
//! up no others.

mod file;
mod identity;
mod line;
mod progress;
mod reader;
mod rejected;
mod send;
mod state;
#[cfg(test)]
mod tests;
mod window;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use http::{HeaderValue, Uri};
use indicatif::{HumanCount, HumanDuration};
use tokio::signal::unix::{SignalKind, signal};

use self::file::{Done, Import};
use self::rejected::FileId;
use self::send::Sender;
use self::state::{Destination, NEW, STATE};
use super::snippet::{Collector, parse_collector};
use crate::api_key::ApiKey;
use crate::clickhouse::Password;
use crate::config::{ConfigError, parse_duration};

/// Where a collector takes what backends send.
const PATH: &str = "/api/v1/events";

/// How the name of a file of rejected lines ends.
const REJECTED: &str = ".rejected.ndjson";

/// What stands at the end of `weir import --help`.
pub(super) const HELP: &str = r#"A line is an event:

  {"type": "purchase", "data": {"total": 49.9}, "timestamp": "2019-05-01T09:30:00Z",
   "metadata": {"export": 7}, "source": "shop", "source_id": "eu-1",
   "id": "67e55044-10b1-426f-9247-bb680e5fe0c8"}

It has a type (or event_type) and data, an object; it may have the others. Without a timestamp
the event's time is that of its import; without a source it is --source's. Other fields are
left out, and blank lines passed over. An id is a UUID; without one, it is made of the file's
content (not its name) and the line's number: the same file gives the same ids, and importing
it again changes nothing. Standard input makes an id of everything up to the line's end, so
that the same input gives the same ids.

A file is imported up to where it ends at the start; what it is given later, the next import
adds. How far it is done stands beside it in FILE.import.json: a stopped import goes on from
there, by the same command. A file that is another one now is imported by --restart. Standard
input starts over, which its ids make harmless.

Lines that are not taken go to FILE.rejected.ndjson (stdin.rejected.ndjson) with their numbers
and the reasons; the command then ends with 1. `jq -c 'select(.event) | .event'` makes lines of
them again, in which it may write large numbers differently. A file that lies there and is not
this import's is set aside as FILE.rejected.ndjson.old.

A key is made by `weir key create PROJECT`. Put it into WEIR_API_KEY, where other users cannot
read it."#;

#[allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]
#[derive(Args)]
pub(super) struct ImportArgs {
    /// Files of one JSON object a line; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The API key of the project; better given in the environment, where other users cannot read it
    #[arg(long, env = "WEIR_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: Password,

    /// Where the collector is
    #[arg(
        long,
        env = "WEIR_COLLECTOR_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        value_parser = parse_collector
    )]
    url: Collector,

    /// The source of events whose lines name none
    #[arg(long, value_name = "WORD", value_parser = NonEmptyStringValueParser::new())]
    source: Option<String>,

    /// Where lines that are not taken are written [default: FILE.rejected.ndjson]
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,

    /// Folder of the files that say how far each import is [default: beside each file]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,

    /// Begin at the first line, also of a file that is imported already; nothing is stored twice
    #[arg(long)]
    restart: bool,

    /// Give up when the collector has taken nothing for so long
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = parse_duration)]
    patience: Duration,
}

/// Something to be imported.
enum Input {
    /// Read from where its import was stopped.
    File(PathBuf),
    /// Read once: a pipe, with the name that its rejected lines are filed under.
    Stream(Option<PathBuf>),
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let inputs = args.inputs()?;
    let sender = args.sender()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            done = import(args, &inputs, sender) => done,
            _ = terminate.recv() => bail!("stopped; the same command takes it up again"),
            _ = interrupt.recv() => bail!("stopped; the same command takes it up again"),
        }
    });
    // A read of standard input may never end.
    runtime.shutdown_background();
    done
}

async fn import(args: &ImportArgs, inputs: &[Input], mut sender: Sender) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut all = Vec::with_capacity(inputs.len());
    for input in inputs {
        let shown = input.name();
        let opened = match input {
            Input::File(path) => Import::open_file(args, path, &args.destination()).await,
            Input::Stream(path) => Import::open_stream(args, path.as_deref()).await,
        };
        let done = match opened.with_context(|| format!("cannot import {shown}"))? {
            None => continue,
            Some(import) => import.run(&mut sender).await.with_context(|| format!("{shown} is not done"))?,
        };
        if inputs.len() > 1 {
            eprintln!("weir: {shown}: {}", summary(std::slice::from_ref(&done)));
        }
        all.push(done);
    }
    println!("{}, in {}", summary(&all), HumanDuration(begun.elapsed()));
    let rejected: Vec<_> = all.iter().filter(|done| done.rejected > 0).collect();
    if !rejected.is_empty() {
        let files: Vec<_> = rejected.iter().map(|done| done.rejected_lines.display().to_string()).collect();
        bail!("not every line was taken: {} has the others, and why", files.join(", "));
    }
    Ok(())
}

fn summary(all: &[Done]) -> String {
    let sum = |count: fn(&Done) -> u64| all.iter().map(count).sum::<u64>();
    let (sent, before, rejected) =
        (sum(|done| done.sent), sum(|done| done.sent_before), sum(|done| done.rejected));
    let before = match before {
        0 => String::new(),
        before => format!(" ({} of them before)", HumanCount(before)),
    };
    format!("{} sent{before}, {} rejected", counted(sent, "event"), counted(rejected, "line"))
}

/// A number of things: `1 line`, `2,000 lines`.
fn counted(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

impl ImportArgs {
    /// What is to be imported, every file of it there.
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        if self.rejected.is_some() && self.files.len() > 1 {
            let problem = format!("it is one file, and there are {} to import", self.files.len());
            return Err(ConfigError::new("--rejected", problem).into());
        }
        let mut inputs = Vec::with_capacity(self.files.len());
        for path in &self.files {
            let rejected = self.rejected.as_ref();
            let is_same =
                |rejected: &PathBuf| FileId::at(rejected).is_some_and(|id| FileId::at(path) == Some(id));
            if rejected == Some(path) || rejected.is_some_and(is_same) {
                let problem = "it is the file to import; the lines that are not taken go to another";
                return Err(ConfigError::new("--rejected", problem).into());
            }
            if path == Path::new("-") {
                if inputs.iter().any(|input| matches!(input, Input::Stream(None))) {
                    return Err(ConfigError::new("FILE", "standard input is given twice").into());
                }
                inputs.push(Input::Stream(None));
                continue;
            }
            // Among many, as folder/* gives them, it is there by accident.
            if self.files.len() > 1 && is_of_an_import(path) {
                eprintln!("weir: {} is left out: an import has written it", path.display());
                continue;
            }
            let kind = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
            if kind.is_dir() {
                bail!("{} is a folder; expected files of one JSON object a line", path.display());
            }
            inputs.push(if kind.is_file() {
                Input::File(path.clone())
            } else {
                Input::Stream(Some(path.clone()))
            });
        }
        Ok(inputs)
    }

    fn sender(&self) -> anyhow::Result<Sender> {
        // Not while arguments are parsed, where what is wrong is repeated.
        let problem = "it is no API key, or mistyped; expected one as `weir key create` prints it";
        let key = ApiKey::parse(self.key.reveal().trim())
            .and_then(|key| HeaderValue::try_from(key.expose()).ok())
            .ok_or_else(|| ConfigError::new("--key (WEIR_API_KEY)", problem))?;
        let url: Uri = format!("{}{PATH}", self.url.url)
            .parse()
            .map_err(|error| ConfigError::new("--url (WEIR_COLLECTOR_URL)", format!("{error}")))?;
        let host = url.host().unwrap_or_default();
        if url.scheme_str() == Some("http") && !is_here(host) {
            eprintln!("weir: the key travels to {host} unencrypted; an https URL would protect it");
        }
        Ok(Sender::new(url, key, self.patience))
    }

    fn destination(&self) -> Destination {
        Destination::new(&self.url.url, self.key.reveal().trim())
    }
}

/// Whether a file has, by its name, an import's rejected lines or how far it is.
fn is_of_an_import(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_state = name.ends_with(STATE) || name.strip_suffix(NEW).is_some_and(|name| name.ends_with(STATE));
    let aside = name.rsplit_once(REJECTED).map(|(_, ending)| ending);
    is_state || aside.is_some_and(|ending| ending.is_empty() || ending.starts_with(".old"))
}

/// Whether a URL's host is this machine.
fn is_here(host: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

impl Input {
    fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Stream(Some(path)) => path.display().to_string(),
            Self::Stream(None) => "standard input".to_owned(),
        }
    }
}
