//! The pages that may send events for a project.
//!
//! A project key is public, so this list is no secret's substitute: it keeps other people's pages, which a browser
//! makes name themselves, from filling a project. Callers that are no browser send no `Origin` and pass.

use std::net::Ipv6Addr;

use thiserror::Error;

use crate::retry::Retry;

/// An entry that no list of allowed origins may hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the allowed origin {entry:?} {fault}; expected scheme://host or scheme://host:port, \
     with *. before the host for its subdomains, such as https://example.com or *.example.com"
)]
pub struct OriginError {
    entry: String,
    fault: &'static str,
}

impl OriginError {
    /// The stable name of this error.
    pub const fn code(&self) -> &'static str {
        "invalid_allowed_origin"
    }

    /// Never: the list has to be changed.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// The origins a project allows; an empty list allows any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    entries: Box<[Entry]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    text: String,
    /// `None` where the text is no origin: such an entry matches nothing.
    pattern: Option<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Any, if absent.
    scheme: Option<String>,
    host: Host,
    /// The scheme's own, if absent.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Exactly(String),
    /// With the leading dot, so that the bare domain is no match.
    Below(String),
}

impl AllowedOrigins {
    /// Reads a list that somebody is about to store.
    ///
    /// # Errors
    /// At the first entry that is no origin.
    pub fn parse(list: &[String]) -> Result<Self, OriginError> {
        list.iter()
            .map(|text| Ok(Entry { text: text.clone(), pattern: Some(Pattern::parse(text)?) }))
            .collect::<Result<_, _>>()
            .map(|entries| Self { entries })
    }

    /// Takes a list as it is stored. An entry that is no origin matches nothing and is shown by
    /// [`faults`](Self::faults): leaving it out instead could empty the list, and an empty list allows any.
    pub fn stored(list: Vec<String>) -> Self {
        let entry = |text: String| Entry { pattern: Pattern::parse(&text).ok(), text };
        Self { entries: list.into_iter().map(entry).collect() }
    }

    /// Whether every page may pass, whatever its `Origin`.
    pub fn allow_any(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a request with this `Origin` header may pass; one without the header always does.
    pub fn allow(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        if self.allow_any() {
            return true;
        }
        // What browsers send is nearly always written just like the entry; taking it apart costs 1,100 instructions.
        let has_scheme = |pattern: &Pattern| pattern.scheme.is_some();
        if self
            .entries
            .iter()
            .any(|entry| entry.text == origin && entry.pattern.as_ref().is_some_and(has_scheme))
        {
            return true;
        }
        let Some((scheme, host, port)) = split(origin) else { return false };
        self.entries.iter().filter_map(|entry| entry.pattern.as_ref()).any(|pattern| {
            let default = default_port(scheme);
            pattern.scheme.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(scheme))
                && pattern.port.or(default) == port.or(default)
                && pattern.host.matches(host)
        })
    }

    /// The list as it was written.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.text.as_str())
    }

    /// What is wrong with the entries that match nothing.
    pub fn faults(&self) -> impl Iterator<Item = OriginError> {
        let bad = self.entries.iter().filter(|entry| entry.pattern.is_none());
        bad.filter_map(|entry| Pattern::parse(&entry.text).err())
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, OriginError> {
        let fault = |fault| OriginError { entry: text.to_owned(), fault };
        if !text.contains("://") && !text.starts_with("*.") {
            return Err(fault("has no scheme"));
        }
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme, authority)) => (Some(scheme), authority),
            None => (None, text),
        };
        let first = |scheme: &str| scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_some_and(|scheme| !first(scheme) || !scheme.chars().all(rest)) {
            return Err(fault("has a malformed scheme"));
        }
        if authority.contains(['/', '?', '#', '@']) {
            return Err(fault("holds more than scheme, host and port"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| fault("has a malformed port"))?;
        let host = Host::parse(host).ok_or_else(|| fault("has a malformed host"))?;
        Ok(Self { scheme: scheme.map(str::to_ascii_lowercase), host, port })
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = address.parse().ok()?;
            return Some(Self::Exactly(format!("[{address}]")));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let name = name.split('.').all(label).then(|| name.to_ascii_lowercase())?;
        Some(if below { Self::Below(format!(".{name}")) } else { Self::Exactly(name) })
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => name.eq_ignore_ascii_case(host),
            Self::Below(suffix) => {
                let start = host.len().checked_sub(suffix.len()).filter(|start| *start > 0);
                start.and_then(|start| host.get(start..)).is_some_and(|end| suffix.eq_ignore_ascii_case(end))
            }
        }
    }
}

fn split(origin: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, authority) = origin.split_once("://")?;
    let (host, port) = split_port(authority)?;
    Some((scheme, host, port))
}

/// Parts `host:port`, minding the colons within `[…]`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let within = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority.get(within..)?.find(':').map(|at| within + at) else {
        return Some((authority, None));
    };
    let port = authority.get(colon + 1..)?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    Some((authority.get(..colon)?, Some(port.parse().ok().filter(|_| digits)?)))
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn a_listed_origin_passes_and_no_other() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&[], "https://anywhere.test", true),
            (&[], "null", true),
            (&[], "", true),
            (&["https://example.com"], "https://example.com", true),
            (&["https://Example.COM"], "HTTPS://example.com", true),
            (&["https://example.com"], "https://example.com:443", true),
            (&["https://example.com:443"], "https://example.com", true),
            (&["http://example.com:80"], "http://example.com", true),
            (&["https://example.com"], "https://example.com:80", false),
            (&["https://example.com:8443"], "https://example.com:8443", true),
            (&["https://example.com:8443"], "https://example.com", false),
            (&["https://example.com"], "http://example.com", false),
            (&["https://example.com"], "https://example.com.evil.test", false),
            (&["https://example.com"], "https://www.example.com", false),
            (&["https://example.com"], "null", false),
            (&["https://example.com"], "", false),
            (&["https://example.com"], "example.com", false),
            (&["https://example.com"], "https://example.com:", false),
            (&["https://example.com"], "https://example.com:99999", false),
            (&["https://*.example.com"], "https://www.example.com", true),
            (&["https://*.example.com"], "https://a.b.Example.com", true),
            (&["https://*.example.com"], "https://example.com", false),
            (&["https://*.example.com"], "https://.example.com", false),
            (&["https://*.example.com"], "https://badexample.com", false),
            (&["https://*.example.com"], "http://www.example.com", false),
            (&["*.example.com"], "http://www.example.com", true),
            (&["*.example.com"], "https://www.example.com:443", true),
            (&["*.example.com"], "https://www.example.com:8443", false),
            (&["*.example.com"], "https://example.com", false),
            (&["*.example.com:8443"], "https://www.example.com:8443", true),
            (&["*.example.com", "https://example.com"], "https://example.com", true),
            (&["http://[2001:DB8::0:1]:8080"], "http://[2001:db8::1]:8080", true),
            (&["http://[::1]"], "http://[::1]:80", true),
            (&["http://[::1]"], "http://[::2]", false),
            (&["http://127.0.0.1:3000"], "http://127.0.0.1:3000", true),
            (&["capacitor://localhost"], "capacitor://localhost", true),
            (&["https://example.com"], "https://ééééééé", false),
            (&["https://*.example.com"], "https://éééééééé", false),
        ];
        for (entries, origin, expected) in cases {
            let origins = AllowedOrigins::parse(&list(entries)).unwrap();
            assert_eq!(origins.allow(Some(origin)), *expected, "{origin} against {entries:?}");
            assert!(origins.allow(None), "no header against {entries:?}");
        }
    }

    #[test]
    fn an_entry_that_is_no_origin_is_refused_and_when_stored_matches_nothing() {
        let bad = [
            ("", "no scheme"),
            ("*", "no scheme"),
            ("null", "no scheme"),
            ("example.com", "no scheme"),
            ("https://", "malformed host"),
            ("https://*", "malformed host"),
            ("https://*.", "malformed host"),
            ("https://a.*.com", "malformed host"),
            ("https://exämple.com", "malformed host"),
            ("https://[::1", "malformed port"),
            ("https://[1.2.3.4]", "malformed host"),
            ("://example.com", "malformed scheme"),
            ("*.ex://example.com", "malformed scheme"),
            ("https://example.com/", "more than scheme"),
            ("https://user@example.com", "more than scheme"),
            ("https://example.com:", "malformed port"),
            ("https://example.com:+80", "malformed port"),
            ("https://example.com:65536", "malformed port"),
        ];
        for (entry, fault) in bad {
            let error = AllowedOrigins::parse(&list(&[entry])).unwrap_err();
            assert!(error.to_string().contains(fault), "{entry:?}: {error}");

            let stored = AllowedOrigins::stored(list(&[entry]));
            assert_eq!(stored.faults().collect::<Vec<_>>(), [error]);
            for origin in [entry, "https://example.com", "null", ""] {
                assert!(!stored.allow(Some(origin)), "{origin:?} against {entry:?}");
            }
            assert!(stored.allow(None));
        }
        let mixed = AllowedOrigins::stored(list(&["nonsense", "https://example.com"]));
        assert!(mixed.allow(Some("https://example.com")));
        assert_eq!(mixed.entries().collect::<Vec<_>>(), ["nonsense", "https://example.com"]);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(entry in "\\PC{0,40}", origin in "\\PC{0,40}") {
            let stored = AllowedOrigins::stored(vec![entry.clone(), format!("https://{entry}")]);
            stored.allow(Some(&origin));
            stored.allow(Some(&format!("https://{origin}")));
        }

        #[test]
        fn a_host_allows_itself(host in "[a-z][a-z0-9-]{0,10}(\\.[a-z]{2,5}){0,2}", port in any::<u16>()) {
            let origin = format!("https://{host}:{port}");
            let origins = AllowedOrigins::parse(std::slice::from_ref(&origin)).unwrap();
            prop_assert!(origins.allow(Some(&origin)));
            let foreign = format!("https://x{host}:{port}");
            prop_assert!(!origins.allow(Some(&foreign)));
        }
    }
}
