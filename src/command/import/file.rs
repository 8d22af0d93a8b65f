//! One input from its beginning, or from where it was stopped, to its end.

use std::fs::{File, TryLockError};
use std::io::{self, Seek as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::HumanCount;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::identity::{Identity, know, stream_event_id};
use super::line::{self, Origin};
use super::progress::Progress;
use super::reader::{Line, Lines};
use super::rejected::{FileId, RejectedLines};
use super::send::{Refusal, Sender, Verdict, encode};
use super::state::{Beginning, Destination, NEW, State, state_path, with_ending};
use super::window::{Outcome, Part, Settled, Window};
use super::{ImportArgs, REJECTED};

/// The longest line. A collector takes events of 64 KiB unless it is told otherwise.
const LONGEST_LINE: usize = 1024 * 1024;

/// A collector takes bodies of 1 MiB, in gzip.
const BODY: usize = 1000 * 1024;

/// An input that pauses for so long has what it has given sent.
const PAUSE: Duration = Duration::from_secs(1);

/// When so many lines are rejected and none is taken, the whole input is not what it is thought to be.
const HOPELESS: u64 = 1_000;

/// What has come of an import.
pub(super) struct Done {
    /// Events that the collector has, those of earlier runs included.
    pub(super) sent: u64,
    pub(super) sent_before: u64,
    pub(super) rejected: u64,
    /// The file that has the rejected ones.
    pub(super) rejected_lines: PathBuf,
}

/// An import under way.
pub(super) struct Import {
    input: Lines<Box<dyn AsyncRead + Unpin>>,
    /// None of a stream, whose lines have ids of their own kind.
    identity: Option<Identity>,
    source: Option<String>,
    /// Where a file's state is kept, and the state.
    state: Option<(PathBuf, State)>,
    rejected_lines: RejectedLines,
    progress: Progress,
    sent: u64,
    sent_before: u64,
    rejected: u64,
    /// Why the first rejected line was.
    first_reason: Option<String>,
    /// The origin of an event that was rejected alone without being named, and what was said of it: the origin is
    /// likely at fault.
    suspect: Option<(Origin, String)>,
}

impl Import {
    /// Opens a file; none if all of it is imported already.
    pub(super) async fn open_file(
        args: &ImportArgs,
        path: &Path,
        destination: &Destination,
    ) -> anyhow::Result<Option<Self>> {
        let name = path.display().to_string();
        let mut file = File::open(path)?;
        // Where the filesystem knows no locks it is done without.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("another import of it is under way");
        }
        let state_path = state_path(path, args.state.as_deref())?;
        let left = load(&state_path, args.restart)?;
        let found = file.metadata()?;
        let (size, id) = (found.len(), FileId::of(&found));
        if [&state_path, &with_ending(&state_path, NEW)].into_iter().any(|path| FileId::at(path) == Some(id))
        {
            bail!("what says how far it is would be written into it (--state names another folder)");
        }
        let earlier = left.as_ref().map(|left| left.size);
        // It may take a while, in which signals have to be heard.
        let (mut file, known) = tokio::task::spawn_blocking(move || {
            let known = know(&mut file, size, earlier);
            known.map(|known| (file, known))
        })
        .await??;
        let Beginning { state, notice } = State::begin(left, destination, known, size, args.restart)?;
        if let Some(notice) = notice {
            eprintln!("weir: {name}: {notice}");
        }
        if state.is_done {
            eprintln!("weir: {name}: it is imported already; --restart would send it again");
            return Ok(None);
        }
        state.save(&state_path).with_context(|| {
            let shown = state_path.display();
            format!("cannot write {shown}, which says how far it is (--state names another folder)")
        })?;
        let rejected_path = args.rejected.clone().unwrap_or_else(|| with_ending(path, REJECTED));
        let rejected_lines = RejectedLines::new(
            rejected_path,
            name.clone(),
            state.rejected_file.clone(),
            state.rejected > 0,
            [Some(id), FileId::at(&state_path)].into_iter().flatten().collect(),
        )?;
        file.seek(io::SeekFrom::Start(state.offset))?;
        let rest = tokio::fs::File::from_std(file).take(size - state.offset);
        let rest: Box<dyn AsyncRead + Unpin> = Box::new(rest);
        Ok(Some(Self {
            input: Lines::new(rest, LONGEST_LINE, state.line, state.offset),
            identity: Some(state.identity.clone()),
            source: args.source.clone(),
            rejected_lines,
            progress: Progress::start(&name, Some(size), state.offset),
            sent: state.sent,
            sent_before: state.sent,
            rejected: state.rejected,
            first_reason: None,
            suspect: None,
            state: Some((state_path, state)),
        }))
    }

    /// Opens a pipe, or standard input.
    pub(super) async fn open_stream(args: &ImportArgs, path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let (input, name) = match path {
            None => {
                let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
                (tokio::fs::File::from_std(input), "stdin".to_owned())
            }
            Some(path) => (tokio::fs::File::open(path).await?, path.display().to_string()),
        };
        let id = FileId::of(&input.metadata().await?);
        let input: Box<dyn AsyncRead + Unpin> = Box::new(input);
        let last = path.and_then(Path::file_name).map_or(Path::new("stdin"), Path::new);
        let rejected_path = args.rejected.clone().unwrap_or_else(|| with_ending(last, REJECTED));
        Ok(Some(Self {
            input: Lines::new(input, LONGEST_LINE, 0, 0).with_digests(),
            identity: None,
            source: args.source.clone(),
            rejected_lines: RejectedLines::new(rejected_path, name.clone(), None, false, vec![id])?,
            progress: Progress::start(&name, None, 0),
            sent: 0,
            sent_before: 0,
            rejected: 0,
            first_reason: None,
            suspect: None,
            state: None,
        }))
    }

    /// Sends all of it.
    pub(super) async fn run(mut self, sender: &mut Sender) -> anyhow::Result<Done> {
        loop {
            let mut window = self.read_window().await?;
            if window.is_empty() {
                break;
            }
            self.advance(&mut window)?;
            for part in window.parts(sender.limits) {
                self.deliver(&mut window, part, sender).await?;
            }
            self.see_hope()?;
        }
        if let Some((path, state)) = &mut self.state {
            state.is_done = true;
            state.save(path)?;
        }
        self.progress.finish();
        let Self { sent, sent_before, rejected, rejected_lines, .. } = self;
        Ok(Done { sent, sent_before, rejected, rejected_lines: rejected_lines.path().to_owned() })
    }

    async fn read_window(&mut self) -> anyhow::Result<Window> {
        let mut window = Window::default();
        while !window.is_full() {
            let next = if window.is_empty() {
                self.input.next().await
            } else {
                let Ok(next) = timeout(PAUSE, self.input.next()).await else { break };
                next
            };
            let next = next.context("it cannot be read")?;
            if next.as_ref().is_none_or(|line| !line.is_ended) {
                self.check_end()?;
            }
            let Some(line) = next else { break };
            if line.number == 1 {
                check_beginning(&line.text)?;
            }
            let read = self.read_line(&line);
            window.push(line, read);
        }
        Ok(window)
    }

    /// Sees to it that a file's end is the one it had when it was opened.
    fn check_end(&self) -> anyhow::Result<()> {
        match &self.state {
            Some((_, state)) if self.input.position() < state.size => bail!("it became shorter meanwhile"),
            _ => Ok(()),
        }
    }

    fn read_line(&self, line: &Line) -> Option<Result<line::Entry, String>> {
        if let Some(length) = line.too_long {
            return Some(Err(format!("the line has {length} bytes; expected up to {LONGEST_LINE}")));
        }
        if line.text.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let make_id = || match &self.identity {
            Some(identity) => identity.event_id(line.number),
            None => stream_event_id(&line.digest.unwrap_or_default()),
        };
        Some(line::read(&line.text, self.source.as_deref(), make_id))
    }

    /// Sends a part of a window, in smaller ones where it has to be.
    async fn deliver(&mut self, window: &mut Window, part: Part, sender: &mut Sender) -> anyhow::Result<()> {
        let mut left = vec![part.places];
        while let Some(places) = left.pop() {
            // It may have become known since the window was parted.
            if places.len() > sender.limits.events {
                left.extend(places.chunks(sender.limits.events).rev().map(<[_]>::to_vec));
                continue;
            }
            let body = encode(&part.origin, window.events(&places))?;
            if body.len() > BODY && places.len() > 1 {
                halve(&places, &mut left);
                continue;
            }
            let progress = &mut self.progress;
            let verdict = sender.send(&body, places.len(), |problem| progress.waiting(problem)).await?;
            match verdict {
                Verdict::Taken => {
                    for place in places {
                        window.settle(place, Outcome::Sent);
                    }
                }
                Verdict::TooMany(limit) => {
                    sender.limits.events = limit;
                    left.push(places);
                }
                Verdict::TooLarge(_) if places.len() > 1 => {
                    let bytes: usize = window.events(&places).map(str::len).sum();
                    sender.limits.bytes = sender.limits.bytes.min(bytes / 2);
                    halve(&places, &mut left);
                }
                Verdict::TooLarge(reason) => {
                    for place in places {
                        window.settle(place, Outcome::Rejected(reason.clone()));
                    }
                }
                Verdict::Refused(refusal) => {
                    self.refuse(window, &part.origin, &places, refusal, &mut left);
                }
            }
            self.advance(window)?;
        }
        Ok(())
    }

    /// Settles the events that a refusal names, and leaves the others to be sent again. One that names none is parted
    /// until an event stands alone; where all of an origin's are rejected in the same words, it is not parted further.
    fn refuse(
        &mut self,
        window: &mut Window,
        origin: &Origin,
        places: &[usize],
        refusal: Refusal,
        left: &mut Vec<Vec<usize>>,
    ) {
        let Refusal { events, detail } = refusal;
        if !events.is_empty() {
            let named: Vec<usize> = events.iter().map(|(index, _)| *index).collect();
            for (index, reason) in events {
                window.settle(places[index], Outcome::Rejected(reason));
            }
            let others = places.iter().enumerate().filter(|(index, _)| !named.contains(index));
            let others: Vec<usize> = others.map(|(_, place)| *place).collect();
            if !others.is_empty() {
                left.push(others);
            }
            return;
        }
        let is_known = self.suspect.as_ref().is_some_and(|(known, said)| known == origin && *said == detail);
        if places.len() > 1 && !is_known {
            return halve(places, left);
        }
        for place in places {
            window.settle(*place, Outcome::Rejected(detail.clone()));
        }
        self.suspect = Some((origin.clone(), detail));
    }

    /// Writes down what is settled at the window's front.
    fn advance(&mut self, window: &mut Window) -> anyhow::Result<()> {
        let Settled { sent, rejected, unended, position } = window.advance();
        let (ended, last): (Vec<_>, Vec<_>) = rejected.into_iter().partition(|(line, _)| line.is_ended);
        self.reject(&ended)?;
        let written = self.rejected_lines.written().cloned();
        self.reject(&last)?;
        self.sent += sent;
        let Some(position) = position else { return Ok(()) };
        if let Some((path, state)) = &mut self.state {
            state.offset = position.offset;
            state.line = position.line;
            state.sent += sent - unended.sent;
            state.rejected += ended.len() as u64;
            state.unended.sent += unended.sent;
            state.unended.rejected += unended.rejected;
            if !ended.is_empty() {
                state.rejected_file = written;
            }
            state.save(path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.progress.moved(position.offset, sent, (ended.len() + last.len()) as u64);
        Ok(())
    }

    fn reject(&mut self, lines: &[(Line, String)]) -> anyhow::Result<()> {
        let Some((_, reason)) = lines.first() else { return Ok(()) };
        self.first_reason.get_or_insert_with(|| reason.clone());
        self.rejected += lines.len() as u64;
        let path = self.rejected_lines.path().display().to_string();
        self.rejected_lines.write(lines).with_context(|| format!("cannot write {path} (--rejected)"))
    }

    /// Gives up where nothing of all that came so far was taken.
    fn see_hope(&mut self) -> anyhow::Result<()> {
        if self.sent == 0 && self.rejected >= HOPELESS {
            // Another attempt, told something else, begins at the first line.
            if let Some((path, state)) = &mut self.state {
                state.rewind();
                state.save(path)?;
            }
            let (count, reason) =
                (HumanCount(self.rejected), self.first_reason.as_deref().unwrap_or_default());
            bail!("none of its first {count} lines was taken, the first of them because: {reason}");
        }
        Ok(())
    }
}

/// The state that an earlier import has left.
fn load(path: &Path, restart: bool) -> anyhow::Result<Option<State>> {
    match State::load(path) {
        Err(_) if restart => Ok(None),
        left => left.with_context(|| {
            let shown = path.display();
            format!("{shown}, which says how far it is, cannot be read (--restart begins anew)")
        }),
    }
}

/// Sees to it that files of other kinds are not rejected line by line.
fn check_beginning(text: &[u8]) -> anyhow::Result<()> {
    if text.trim_ascii_start().starts_with(b"[") {
        bail!("it is one JSON array, and not an object a line; `jq -c '.[]'` makes lines of it");
    }
    let packed: [(&[u8], &str); 2] = [(b"\x1f\x8b", "zcat"), (b"\x28\xb5\x2f\xfd", "zstdcat")];
    for (magic, command) in packed {
        if text.starts_with(magic) {
            bail!("it is compressed; `{command} FILE | weir import -` unpacks it on the way");
        }
    }
    Ok(())
}

/// Puts back both halves, the first of them to be taken first.
fn halve(places: &[usize], left: &mut Vec<Vec<usize>>) {
    let (first, second) = places.split_at(places.len() / 2);
    left.extend([second.to_vec(), first.to_vec()]);
}
