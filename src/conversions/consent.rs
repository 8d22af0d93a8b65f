//! Whether somebody has agreed to being told of; if in doubt, they have not.

/// When a conversion may be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentPolicy {
    /// Whether an event without any word of consent is denied.
    pub required: bool,
    /// What has to be agreed to.
    pub categories: Vec<String>,
    /// Whether one of the categories is enough.
    pub matching: Matching,
}

/// How many of the categories have to be agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// One of them.
    Any,
    /// Every one.
    All,
}
