//! A change of a file in memory that is not durable yet.

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let start = usize::try_from(*offset).unwrap();
                content.resize(content.len().max(start + bytes.len()), 0);
                content[start..start + bytes.len()].copy_from_slice(bytes);
            }
            Self::Cut(length) => content.resize(usize::try_from(*length).unwrap(), 0),
        }
    }

    /// Leaves what is before `length`; `false` when nothing is.
    pub(super) fn cut(&mut self, length: u64) -> bool {
        match self {
            Self::Write(offset, bytes) => {
                bytes.truncate(usize::try_from(length.saturating_sub(*offset)).unwrap());
                !bytes.is_empty()
            }
            Self::Cut(_) => false,
        }
    }
}
