//! What a caller can do about an error. Every error enum of this crate says, for each of its variants, a stable
//! code and one of these classes; `http/rejection.rs` alone turns them into statuses.

use std::time::Duration;

/// Whether the same call can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again: the caller has to change it.
    Never,
    /// The cause lies with us or behind us and passes: try again after about this long.
    After(Duration),
}
