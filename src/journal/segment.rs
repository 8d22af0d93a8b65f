//! A segment as it is handed from the writer to the loader, and the names of its file.

use crate::event::Timestamp;

/// What has become of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// To be sent as it is.
    Whole,
    /// A part of its rows may be stored already, under other tokens: what is not is sent in parts.
    Parted,
}

/// What tells where a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was written in this life: its length is known.
    Known,
    /// Found at start-up: its seal. A failing disk may have kept it from being sealed.
    Seal,
    /// The last one begun before the start: nothing, if it was still open. Its tail may be torn, which nobody was
    /// promised.
    Open,
}

/// A sealed segment. It stays as it is until it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its place in the order.
    pub number: u64,
    /// How it has to be sent.
    pub state: SegmentState,
    /// Where it ends, in bytes from the start of its file.
    pub bytes: u64,
    /// When its first event came; for a segment found at start-up, when it was made.
    pub oldest: Timestamp,
    /// Found at start-up, or left behind by a failed write: it has to be [settled](Backlog::settle) before it is
    /// sent.
    pub unsettled: bool,
    /// What tells where it ends.
    pub ending: Ending,
    /// ClickHouse has confirmed all of it: it may be deleted, or be so already.
    pub confirmed: bool,
    /// Log and figures have been told what of it is damaged, if anything is.
    pub damage_told: bool,
}

impl Segment {
    /// The name of its file.
    pub fn file_name(&self) -> String {
        file_name(self.number, self.state)
    }
}

pub(super) fn file_name(number: u64, state: SegmentState) -> String {
    let ending = match state {
        SegmentState::Whole => WHOLE,
        SegmentState::Parted => PARTED,
    };
    format!("{number:016}.{ending}")
}

pub(super) fn parse_file_name(name: &str) -> Option<(u64, SegmentState)> {
    let (number, ending) = name.split_once('.')?;
    let number = number.parse().ok()?;
    let state = match ending {
        WHOLE => SegmentState::Whole,
        PARTED => SegmentState::Parted,
        _ => return None,
    };
    // A number written in another way would not lead back to this file.
    (file_name(number, state) == name).then_some((number, state))
}

const WHOLE: &str = "segment";
const PARTED: &str = "parted";
pub(super) const DAMAGED: &str = "damaged";
