//! `/metrics`, read as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

/// Figures by name and labels, as `weir_events_total{outcome="accepted"}`.
pub struct Figures {
    values: BTreeMap<String, String>,
    /// Families that have a `# TYPE` line.
    pub families: BTreeSet<String>,
}

impl Figures {
    /// Reads the text format, strictly: each line is a comment of a known kind or a sample of a family whose type
    /// has been told.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut figures = Self { values: BTreeMap::new(), families: BTreeSet::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                figures.comment(comment);
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            value.parse::<f64>().unwrap_or_else(|error| panic!("{error}: {line}"));
            let name = sample.split('{').next().unwrap();
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(!name.is_empty() && name.chars().all(is_name), "no name: {line}");
            let labels = &sample[name.len()..];
            assert!(
                labels.is_empty() || (labels.starts_with('{') && labels.ends_with("\"}")),
                "labels: {line}"
            );
            let family = figures.family(name);
            assert!(figures.families.contains(family), "a sample before its type: {line}");
            assert!(figures.values.insert(sample.to_owned(), value.to_owned()).is_none(), "twice: {line}");
        }
        figures
    }

    #[track_caller]
    fn comment(&mut self, comment: &str) {
        let mut words = comment.splitn(3, ' ');
        let (kind, name, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
        match kind {
            Some("HELP") => assert!(!rest.is_empty(), "no help: {comment}"),
            Some("TYPE") => {
                assert!(["counter", "gauge", "histogram"].contains(&rest), "{comment}");
                self.families.insert(name.unwrap().to_owned());
            }
            _ => panic!("not a comment of the format: {comment}"),
        }
    }

    /// The family that a sample of this name belongs to.
    pub fn family<'a>(&self, name: &'a str) -> &'a str {
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending).filter(|name| self.families.contains(*name)));
        of_histogram.unwrap_or(name)
    }

    /// Every sample, by name and labels.
    pub fn samples(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A figure that measures something.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        self.values.get(sample).unwrap_or_else(|| panic!("{sample} is not shown")).parse().unwrap()
    }

    /// A figure that counts something.
    #[track_caller]
    pub fn count(&self, sample: &str) -> u64 {
        let value = self.values.get(sample).unwrap_or_else(|| panic!("{sample} is not shown"));
        value.parse().unwrap_or_else(|error| panic!("{error}: {sample} {value}"))
    }
}
