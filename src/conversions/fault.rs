//! What is wrong with an event, said to who sent it.

use std::borrow::Cow;
use std::fmt;

/// What is wrong with one event of a request: where, and what was expected. Never a value of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path within the event, such as `customData.currency`; empty where it is the event as a whole.
    pub field: Cow<'static, str>,
    /// What was expected.
    pub problem: Cow<'static, str>,
}

impl Fault {
    /// A fault of a field.
    pub fn at(field: impl Into<Cow<'static, str>>, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.problem);
        }
        write!(f, "{}: {}", self.field, self.problem)
    }
}
