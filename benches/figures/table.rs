//! The table that is printed, and the statistics in it.

use std::fmt;

/// What was measured in the rounds of one figure.
#[derive(Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The value in the middle.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// The smallest value that so many hundredths of all do not exceed.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place among some thousand values"
    )]
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let place = (self.0.len() as f64 * percent / 100.0).ceil() as usize;
        self.0.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sample = Self::default();
        for value in values {
            sample.push(value);
        }
        sample
    }
}

/// What a figure has to be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// It is told, and nothing is asked of it.
    Told,
}

/// A line of the table.
pub(crate) struct Row {
    pub(crate) work: String,
    /// The figure to reach in words.
    pub(crate) goal: String,
    pub(crate) target: Target,
    pub(crate) sample: Sample,
    /// Whether the servers had what they need to show what they can; if not, nothing is said with certainty.
    pub(crate) sound: bool,
    /// What stands behind the figure.
    pub(crate) unit: &'static str,
    /// What the figure is made of, in absolute terms.
    pub(crate) absolute: String,
}

impl Row {
    fn reached(&self) -> &'static str {
        let median = self.sample.median();
        let reached = match self.target {
            Target::AtLeast(floor) => median >= floor,
            Target::AtMost(cap) => median <= cap,
            Target::Told => return "",
        };
        match (reached, self.sound) {
            (true, true) => "yes",
            (false, true) => "**no**",
            (true, false) => "yes?",
            (false, false) => "no?",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, goal, sample, unit, absolute, .. } = self;
        let shown = |value: f64| if value >= 20.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let (median, min, max) = (shown(sample.median()), shown(sample.min()), shown(sample.max()));
        let behind = if absolute.is_empty() { String::new() } else { format!(" ({absolute})") };
        write!(f, "| {work} | {goal} | {median}{unit}{behind} | {min}..{max} | {} |", self.reached())
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "\
| work | figure to reach | measured (absolute) | min..max | reached |
|---|---|---|---|---|";

/// Thousands, as `12.3 k`.
pub(crate) fn thousands(value: f64) -> String {
    format!("{:.1} k", value / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_told_by_its_order() {
        let mut sample: Sample = [3.0, 1.0, 2.0].into_iter().collect();
        let told = |sample: &Sample| format!("{} {} {}", sample.min(), sample.median(), sample.max());
        assert_eq!(told(&sample), "1 2 3");
        sample.push(10.0);
        assert_eq!(told(&sample), "1 2.5 10");
        assert_eq!(format!("{} {}", sample.percentile(50.0), sample.percentile(99.0)), "2 10");
    }

    #[test]
    fn a_figure_is_reached_by_its_median() {
        let sample: Sample = [0.6].into_iter().collect();
        let reached = |target, sound| {
            let (work, goal, absolute) = (String::new(), String::new(), String::new());
            Row { work, goal, target, sample: sample.clone(), sound, unit: "", absolute }.reached()
        };
        assert_eq!(reached(Target::AtLeast(0.6), true), "yes");
        assert_eq!(reached(Target::AtLeast(0.61), true), "**no**");
        assert_eq!(reached(Target::AtMost(0.5), true), "**no**");
        assert_eq!(reached(Target::AtMost(0.5), false), "no?");
        assert_eq!(reached(Target::Told, true), "");
    }
}
