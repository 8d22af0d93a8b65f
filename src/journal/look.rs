//! Looking into a journal's files beside the collector that holds them: without its lock, and changing nothing.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::reader::SegmentReader;
use super::segment::{DAMAGED, SegmentState, file_name, parse_file_name};
use crate::event::Timestamp;

/// What a file's name says of the segment in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundState {
    /// Being written, waiting or under way: its name does not tell which.
    Whole,
    /// Some of its rows may be stored already.
    Parted,
    /// Set aside.
    Damaged,
}

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its name.
    pub name: String,
    /// What the name says.
    pub state: FoundState,
    /// Its length.
    pub bytes: u64,
    /// When the segment was made; `None` when its head cannot be read.
    pub made_at: Option<Timestamp>,
}

/// Lists a journal's segment files, in the order of their making; what is no segment is left out.
///
/// # Errors
/// When the folder, or one of the files, cannot be read.
pub fn look_through(folder: &Path) -> io::Result<Vec<FoundFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let look = match look_by_name(folder, &name)? {
            // It may have been parted since it was listed.
            None => match parse_file_name(&name) {
                Some((number, _)) => look_by_name(folder, &file_name(number, SegmentState::Parted))?,
                None => None,
            },
            look => look,
        };
        // Otherwise it is no segment, or ClickHouse has just confirmed it.
        found.extend(look);
    }
    // Numbers have a fixed length.
    found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    // One that was listed under both of its names.
    found.dedup_by(|one, other| one.name == other.name);
    Ok(found)
}

/// `None` when it is no segment's file, or gone.
fn look_by_name(folder: &Path, name: &str) -> io::Result<Option<FoundFile>> {
    let Some(state) = state_of(name) else { return Ok(None) };
    match look_into(&folder.join(name)) {
        Ok(look) => {
            let made_at = look.has_head.then(|| look.reader.head().created_at);
            Ok(Some(FoundFile { name: name.to_owned(), state, bytes: look.bytes, made_at }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
    }
}

fn state_of(name: &str) -> Option<FoundState> {
    match parse_file_name(name) {
        Some((_, SegmentState::Whole)) => Some(FoundState::Whole),
        Some((_, SegmentState::Parted)) => Some(FoundState::Parted),
        None => name.ends_with(&format!(".{DAMAGED}")).then_some(FoundState::Damaged),
    }
}

/// A segment's file, open for reading.
pub struct Look {
    /// Gives its records.
    pub reader: SegmentReader,
    /// Whether its head is sound; otherwise the records are [salvaged](SegmentReader::salvage).
    pub has_head: bool,
    /// How long the file is.
    pub bytes: u64,
}

/// Opens a segment's file, whatever its name and state.
///
/// # Errors
/// When it cannot be read.
pub fn look_into(path: &Path) -> io::Result<Look> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok(match SegmentReader::open(Box::new(file.try_clone()?), bytes)? {
        Some(reader) => Look { reader, has_head: true, bytes },
        None => Look { reader: SegmentReader::salvage(Box::new(file), bytes), has_head: false, bytes },
    })
}
