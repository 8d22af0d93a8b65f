//! `weir journal status`: how much waits in a journal, in which state, and why.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use http::Method;

use crate::command::ask::ask;
use crate::config::{DataArgs, journal_folder};
use crate::http::{JournalReport, SegmentReport};
use crate::journal::{FoundFile, FoundState, look_through};

/// The states, in the order of a segment's life.
const STATES: [&str; 6] = ["open", "waiting", "loading", "parted", "parked", "damaged"];

/// One file, as it is shown.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    file: String,
    state: &'static str,
    bytes: u64,
    /// In RFC 3339; nothing where the head cannot be read.
    oldest: Option<String>,
    reason: Option<String>,
}

pub(super) async fn show(
    data: &DataArgs,
    operations: SocketAddr,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let folder = journal_folder(&data.data_dir);
    let folder = folder.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow!(
                "there is no journal in {} (--data-dir): no collector was started there",
                folder.display()
            )
        }
        _ => anyhow!("cannot read the journal {}: {error}", folder.display()),
    })?;
    // Asked first: what is sealed after that is shown as open, which it was.
    let collector = ask_collector(operations, &folder).await;
    let found =
        look_through(&folder).with_context(|| format!("cannot read the journal {}", folder.display()))?;
    let report = collector.as_ref().ok();
    print(&lines(found, report.map(|report| report.segments.as_slice())), out)?;
    match collector {
        Ok(report) => print_reasons(&report.readiness.reasons, out)?,
        Err(why) => writeln!(out, "\n{why}; what is open or parked, and why, only the running one knows")?,
    }
    Ok(())
}

/// What the collector that holds this journal says of it; or a sentence why nobody says anything.
async fn ask_collector(operations: SocketAddr, folder: &Path) -> Result<JournalReport, String> {
    let report: JournalReport = ask(operations, Method::GET, "/journal")
        .await
        .map_err(|error| format!("no collector can be asked on {operations} (--ops-listen): {error}"))?;
    if report.folder != folder {
        let other = report.folder.display();
        return Err(format!("the collector on {operations} (--ops-listen) has another journal, {other}"));
    }
    Ok(report)
}

/// Brings together what lies on disk and what the collector says of its sealed segments, if one does.
fn lines(found: Vec<FoundFile>, sealed: Option<&[SegmentReport]>) -> Vec<Line> {
    let known: BTreeMap<&str, &SegmentReport> =
        sealed.unwrap_or_default().iter().map(|segment| (number(&segment.file), segment)).collect();
    let last_whole = found.iter().rfind(|file| file.state == FoundState::Whole).map(|file| file.name.clone());
    let line = |file: FoundFile| {
        let segment = known.get(number(&file.name));
        let is_open = sealed.is_some() && segment.is_none() && Some(&file.name) == last_whole.as_ref();
        let said = segment.map(|segment| segment.state.as_str());
        let state = match (file.state, said) {
            (FoundState::Damaged, _) => "damaged",
            (_, Some("parked")) => "parked",
            (FoundState::Parted, _) => "parted",
            (FoundState::Whole, _) if is_open => "open",
            (FoundState::Whole, Some("loading")) => "loading",
            (FoundState::Whole, _) => "waiting",
        };
        let reason = match state {
            "damaged" => Some("its head cannot be read; `weir journal inspect` shows what can".to_owned()),
            _ => segment.and_then(|segment| segment.reason.clone()),
        };
        let oldest = segment.map(|segment| segment.oldest.clone());
        let oldest = oldest.or_else(|| file.made_at.map(|moment| moment.to_string()));
        Line { file: file.name, state, bytes: file.bytes, oldest, reason }
    };
    found.into_iter().map(line).collect()
}

/// What stays of a file's name when its segment is parted.
fn number(file: &str) -> &str {
    file.split('.').next().unwrap_or(file)
}

fn print(lines: &[Line], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:<8} {:>8} {:>14}  oldest", "state", "segments", "bytes")?;
    for state in STATES.map(Some).into_iter().chain([None]) {
        let of_state = || lines.iter().filter(|line| state.is_none_or(|state| line.state == state));
        let bytes: u64 = of_state().map(|line| line.bytes).sum();
        let oldest = of_state().filter_map(|line| line.oldest.as_deref()).min().unwrap_or("-");
        writeln!(out, "{:<8} {:>8} {bytes:>14}  {oldest}", state.unwrap_or("all"), of_state().count())?;
    }
    let told: Vec<&Line> = lines.iter().filter(|line| line.reason.is_some()).collect();
    if !told.is_empty() {
        writeln!(out)?;
    }
    for Line { file, state, bytes, reason, .. } in told {
        writeln!(out, "{file}: {state}, {bytes} bytes: {}", reason.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// Prints what the collector says is wrong.
fn print_reasons(reasons: &[String], out: &mut impl Write) -> io::Result<()> {
    if !reasons.is_empty() {
        writeln!(out)?;
    }
    reasons.iter().try_for_each(|reason| writeln!(out, "/readyz: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    const MADE: Timestamp = Timestamp::from_millis(1_769_904_000_000);

    fn file(name: &str, state: FoundState) -> FoundFile {
        let made_at = (state != FoundState::Damaged).then_some(MADE);
        FoundFile { name: name.to_owned(), state, bytes: 100, made_at }
    }

    fn sealed(file: &str, state: &str, reason: Option<&str>) -> SegmentReport {
        let oldest = "2026-01-31T23:00:00.000Z".to_owned();
        let reason = reason.map(str::to_owned);
        SegmentReport { file: file.to_owned(), state: state.to_owned(), oldest, reason }
    }

    fn journal() -> Vec<FoundFile> {
        vec![
            file("1.damaged", FoundState::Damaged),
            file("2.parted", FoundState::Parted),
            file("3.segment", FoundState::Whole),
            file("4.parted", FoundState::Parted),
            file("5.segment", FoundState::Whole),
            file("6.segment", FoundState::Whole),
        ]
    }

    fn states(lines: &[Line]) -> Vec<&'static str> {
        lines.iter().map(|line| line.state).collect()
    }

    #[test]
    fn a_running_collector_tells_what_names_do_not() {
        let said = [
            // It was parted since the collector took it up.
            sealed("2.segment", "loading", None),
            sealed("3.segment", "parked", Some("the table lacks a column")),
            sealed("4.parted", "parked", Some("every row is refused")),
            sealed("5.segment", "loading", None),
        ];
        let lines = lines(journal(), Some(&said));
        assert_eq!(states(&lines), ["damaged", "parted", "parked", "parked", "loading", "open"]);
        let mut shown = Vec::new();
        print(&lines, &mut shown).unwrap();
        let expected = "\
state    segments          bytes  oldest
open            1            100  2026-02-01T00:00:00.000Z
waiting         0              0  -
loading         1            100  2026-01-31T23:00:00.000Z
parted          1            100  2026-01-31T23:00:00.000Z
parked          2            200  2026-01-31T23:00:00.000Z
damaged         1            100  -
all             6            600  2026-01-31T23:00:00.000Z

1.damaged: damaged, 100 bytes: its head cannot be read; `weir journal inspect` shows what can
3.segment: parked, 100 bytes: the table lacks a column
4.parted: parked, 100 bytes: every row is refused
";
        assert_eq!(String::from_utf8(shown).unwrap(), expected);
    }

    #[test]
    fn without_a_collector_the_names_decide() {
        let lines = lines(journal(), None);
        assert_eq!(states(&lines), ["damaged", "parted", "waiting", "parted", "waiting", "waiting"]);
        assert!(lines.iter().skip(1).all(|line| line.oldest == Some(MADE.to_string())));
    }

    #[test]
    fn an_idle_collector_has_nothing_open_and_an_older_segment_is_never_open() {
        let said = [sealed("6.segment", "waiting", None)];
        assert_eq!(states(&lines(journal(), Some(&said)))[2..], ["waiting", "parted", "waiting", "waiting"]);
    }
}
