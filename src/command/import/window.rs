//! A stretch of an input under way: its lines in their order, what has become of each, and the requests they make.
//!
//! A request says `source` and `source_id` once for all of its events. So that lines of several sources that take
//! turns do not make a request each, a window's lines are parted by them, each part in its order. Lines are settled in
//! any order, and leave the window only from its front: what stands before the front never has to be sent again.

use std::collections::HashMap;

use super::line::{Entry, Origin};
use super::reader::Line;
use super::state::Unended;

/// Lines of a window at most: ten full requests.
const LINES: usize = 10_000;

/// Bytes of a window's lines at which it takes no more.
const BYTES: usize = 8 * 1024 * 1024;

/// How much goes into a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimits {
    /// Events at most.
    pub(super) events: usize,
    /// Bytes of JSON at most, as long as that is more than one event.
    pub(super) bytes: usize,
}

/// Lines that are not all settled.
#[derive(Default)]
pub(super) struct Window {
    lines: Vec<Pending>,
    bytes: usize,
    /// Lines that have left.
    front: usize,
    /// Where the line behind the window's last one begins, and its number.
    end: Option<Position>,
}

/// How far an input is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Lines.
    pub(super) line: u64,
    /// Bytes.
    pub(super) offset: u64,
}

struct Pending {
    line: Line,
    entry: Option<Entry>,
    outcome: Option<Outcome>,
}

/// What has become of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Sent,
    /// With the reason.
    Rejected(String),
}

/// Lines of a window that go out together, by their places in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) origin: Origin,
    pub(super) places: Vec<usize>,
}

/// What has left a window.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) sent: u64,
    pub(super) rejected: Vec<(Line, String)>,
    /// How many of those have no line end: the position is before them.
    pub(super) unended: Unended,
    /// How far the input is done; none if no further than before.
    pub(super) position: Option<Position>,
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= LINES || self.bytes >= BYTES
    }

    /// Adds the next line and what it was read as; a line that is blank holds nothing.
    pub(super) fn push(&mut self, line: Line, read: Option<Result<Entry, String>>) {
        if line.is_ended {
            self.end = Some(Position { line: line.number, offset: line.end });
        } else {
            // More of it may be written yet, and then it begins where the line before has ended.
            let before = Position { line: line.number - 1, offset: line.end - unended_length(&line) };
            self.end = self.end.or(Some(before));
        }
        let (entry, outcome) = match read {
            None => return,
            Some(Ok(entry)) => (Some(entry), None),
            Some(Err(reason)) => (None, Some(Outcome::Rejected(reason))),
        };
        self.bytes += line.text.len() + entry.as_ref().map_or(0, |entry| entry.event.len());
        self.lines.push(Pending { line, entry, outcome });
    }

    /// What is to be sent, in parts no larger than a request may be.
    pub(super) fn parts(&self, limits: RequestLimits) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        // The part of an origin that has room, and its bytes.
        let mut open: HashMap<&Origin, (usize, usize)> = HashMap::new();
        for (place, pending) in self.lines.iter().enumerate() {
            let (Some(entry), None) = (&pending.entry, &pending.outcome) else { continue };
            let length = entry.event.len() + 1;
            let part = open.get_mut(&entry.origin).filter(|(part, bytes)| {
                parts[*part].places.len() < limits.events && *bytes + length <= limits.bytes
            });
            if let Some((part, bytes)) = part {
                parts[*part].places.push(place);
                *bytes += length;
            } else {
                open.insert(&entry.origin, (parts.len(), length));
                parts.push(Part { origin: entry.origin.clone(), places: vec![place] });
            }
        }
        parts
    }

    /// The JSON of the events at these places.
    pub(super) fn events<'a>(&'a self, places: &'a [usize]) -> impl Iterator<Item = &'a str> {
        places.iter().filter_map(|place| Some(self.lines.get(*place)?.entry.as_ref()?.event.as_str()))
    }

    /// Notes what has become of the line at a place.
    pub(super) fn settle(&mut self, place: usize, outcome: Outcome) {
        if let Some(pending) = self.lines.get_mut(place) {
            pending.outcome = Some(outcome);
        }
    }

    /// Takes out the settled lines at the front.
    pub(super) fn advance(&mut self) -> Settled {
        let mut settled = Settled::default();
        while let Some(pending) = self.lines.get_mut(self.front) {
            match pending.outcome.take() {
                None => return settled,
                Some(Outcome::Sent) => {
                    settled.sent += 1;
                    settled.unended.sent += u64::from(!pending.line.is_ended);
                }
                Some(Outcome::Rejected(reason)) => {
                    settled.rejected.push((pending.line.clone(), reason));
                    settled.unended.rejected += u64::from(!pending.line.is_ended);
                }
            }
            if pending.line.is_ended {
                settled.position = Some(Position { line: pending.line.number, offset: pending.line.end });
            }
            self.front += 1;
        }
        // Blank lines behind the last one.
        settled.position = self.end.or(settled.position);
        settled
    }
}

/// The bytes of a line without a line end; a byte order mark is not among its text.
fn unended_length(line: &Line) -> u64 {
    if line.number == 1 { line.end } else { line.too_long.unwrap_or(line.text.len() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits { events: 3, bytes: 1_000 };

    fn line(number: u64, is_ended: bool) -> Line {
        let text = b"1234".to_vec();
        let end = number * 5 - u64::from(!is_ended);
        Line { number, text, too_long: None, end, is_ended, digest: None }
    }

    fn entry(source: &str, event: &str) -> Entry {
        let origin = Origin { source: source.to_owned(), source_id: None };
        Entry { origin, event: event.to_owned() }
    }

    fn window(sources: &str) -> Window {
        let mut window = Window::default();
        for (number, source) in (1..).zip(sources.chars()) {
            let read = match source {
                '-' => None,
                '!' => Some(Err("bad".to_owned())),
                source => Some(Ok(entry(&source.to_string(), &number.to_string()))),
            };
            window.push(line(number, true), read);
        }
        window
    }

    fn places(window: &Window, limits: RequestLimits) -> Vec<(String, Vec<usize>)> {
        let parts = window.parts(limits).into_iter();
        parts.map(|Part { origin, places }| (origin.source, places)).collect()
    }

    #[test]
    fn lines_are_parted_by_their_source_and_keep_their_order() {
        for (sources, expected) in [
            ("", vec![]),
            ("aaa", vec![("a", vec![0, 1, 2])]),
            ("aaaaaaa", vec![("a", vec![0, 1, 2]), ("a", vec![3, 4, 5]), ("a", vec![6])]),
            ("abababab", vec![("a", vec![0, 2, 4]), ("b", vec![1, 3, 5]), ("a", vec![6]), ("b", vec![7])]),
            ("a!-a", vec![("a", vec![0, 2])]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(source, places)| (source.to_owned(), places)).collect();
            assert_eq!(places(&window(sources), LIMITS), expected, "{sources}");
        }
        let narrow = RequestLimits { events: 3, bytes: 4 };
        assert_eq!(places(&window("aaa"), narrow)[0].1, [0, 1]);
        let narrower = RequestLimits { events: 3, bytes: 1 };
        assert_eq!(places(&window("aaa"), narrower).len(), 3, "one event goes out however long it is");
    }

    #[test]
    fn lines_leave_from_the_front_and_in_their_order() {
        let mut window = window("ab!a-");
        for place in [0, 3] {
            window.settle(place, Outcome::Sent);
        }
        let settled = window.advance();
        assert_eq!(settled, Settled { sent: 1, position: Some(at(1, 5)), ..Settled::default() });
        assert_eq!(window.advance(), Settled::default());
        window.settle(1, Outcome::Rejected("later".to_owned()));
        let settled = window.advance();
        let rejected: Vec<_> =
            settled.rejected.iter().map(|(line, reason)| (line.number, reason.as_str())).collect();
        assert_eq!(rejected, [(2, "later"), (3, "bad")]);
        assert_eq!((settled.sent, settled.position), (1, Some(at(5, 25))), "the blank line is done, too");
    }

    #[test]
    fn a_last_line_without_an_end_is_sent_and_not_left_behind() {
        let mut window = window("a");
        window.push(line(2, false), Some(Ok(entry("a", "2"))));
        for place in [0, 1] {
            window.settle(place, Outcome::Sent);
        }
        let settled = window.advance();
        assert_eq!((settled.sent, settled.position), (2, Some(at(1, 5))));
        assert_eq!(settled.unended, Unended { sent: 1, rejected: 0 });

        let mut alone = Window::default();
        alone.push(line(3, false), Some(Ok(entry("a", "3"))));
        alone.settle(0, Outcome::Sent);
        assert_eq!(alone.advance().position, Some(at(2, 10)));
    }

    #[test]
    fn a_window_is_full_by_lines_or_by_bytes() {
        let mut window = window(&"a".repeat(LINES - 1));
        assert!(!window.is_full() && !window.is_empty());
        window.push(line(LINES as u64, true), Some(Ok(entry("a", "x"))));
        assert!(window.is_full());
        let mut window = Window::default();
        assert!(window.is_empty());
        window.push(line(1, true), Some(Ok(entry("a", &"x".repeat(BYTES)))));
        assert!(window.is_full());
    }

    fn at(line: u64, offset: u64) -> Position {
        Position { line, offset }
    }
}
