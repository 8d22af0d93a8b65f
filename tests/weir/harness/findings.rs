//! Tables of cases: all that is wrong is told at once, not only the first of it.

use std::fmt::{Debug, Display, Write as _};

/// What a table of cases found wrong.
#[derive(Default)]
#[must_use = "what was found has to be reported"]
pub struct Findings {
    wrong: Vec<String>,
    checks: usize,
}

impl Findings {
    /// Compares what was found with what the contract says.
    #[allow(clippy::needless_pass_by_value, reason = "tables are easier to read without references")]
    pub fn check<T, E>(&mut self, case: impl Display, found: T, expected: E)
    where
        T: PartialEq<E> + Debug,
        E: Debug,
    {
        self.checks += 1;
        if found != expected {
            self.wrong.push(format!("{case}\n      found {found:?}\n   expected {expected:?}"));
        }
    }

    /// Notes what has to hold.
    pub fn holds(&mut self, case: impl Display, holds: bool) {
        self.checks += 1;
        if !holds {
            self.wrong.push(case.to_string());
        }
    }

    /// Fails if anything was wrong, or nothing was looked at.
    #[track_caller]
    pub fn report(self) {
        assert!(self.checks > 0, "no case was looked at");
        let mut list = String::new();
        for wrong in &self.wrong {
            write!(list, "\n - {wrong}").unwrap();
        }
        assert!(self.wrong.is_empty(), "{} of {} checks failed:{list}", self.wrong.len(), self.checks);
    }
}
