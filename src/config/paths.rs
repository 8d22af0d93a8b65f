//! The paths of the public listener that are settings.

#![allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]

use clap::Args;

use super::ConfigError;
use crate::http::{BACKEND_EVENTS, CONVERSIONS, PublicPaths};
use crate::snippet::script;

/// Paths that stand for another API.
const TAKEN: [&str; 2] = [BACKEND_EVENTS, CONVERSIONS];

/// Longest path, in characters.
const LONGEST: usize = 200;

const SCRIPT_PATH: &str = "--script-path (WEIR_SCRIPT_PATH)";
const EVENTS_PATH: &str = "--events-path (WEIR_EVENTS_PATH)";

/// Where pages find the collector's script, and where it sends events.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub struct PathArgs {
    /// Path of the script that pages include; blockers list common ones
    #[arg(
        long,
        env = "WEIR_SCRIPT_PATH",
        default_value = "/weir.js",
        value_name = "PATH",
        value_parser = parse_path
    )]
    script_path: String,

    /// Path that pages and servers post events to; blockers list common ones
    #[arg(
        long,
        env = "WEIR_EVENTS_PATH",
        default_value = "/api/events",
        value_name = "PATH",
        value_parser = parse_path
    )]
    events_path: String,
}

impl PathArgs {
    /// The paths, no two of which are the same.
    pub fn paths(&self) -> Result<PublicPaths, ConfigError> {
        let Self { script_path, events_path } = self;
        for (setting, path) in [(SCRIPT_PATH, script_path), (EVENTS_PATH, events_path)] {
            if TAKEN.contains(&path.as_str()) {
                let problem = format!("{path} is the path of another API, expected one that is free");
                return Err(ConfigError::new(setting, problem));
            }
        }
        if script_path.starts_with("/api/") {
            let problem = format!("{script_path} is among the APIs, expected a path that is not below /api/");
            return Err(ConfigError::new(SCRIPT_PATH, problem));
        }
        if events_path == script_path || *events_path == script().pinned_path(script_path) {
            let problem = format!("{events_path} is where the script is, expected a path of its own");
            return Err(ConfigError::new(EVENTS_PATH, problem));
        }
        Ok(PublicPaths { script: script_path.clone(), events: events_path.clone() })
    }
}

/// A path as browsers send it on, without anything for them to encode or to resolve.
fn parse_path(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain);
    let segments = text.strip_prefix('/').filter(|_| text.len() <= LONGEST);
    if segments.is_some_and(|segments| segments.split('/').all(is_segment)) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected a path like /weir.js: it begins with a slash, does not end with one, and has up to {LONGEST} \
         letters, digits, and - _ . ~ between them, without a query"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_that_browsers_leave_as_it_is() {
        for path in ["/weir.js", "/e", "/a/b-c_d.e~f/G7", "/.well-known/e", "/..."] {
            assert_eq!(parse_path(path), Ok(path.to_owned()));
        }
        let long = format!("/{}", "x".repeat(LONGEST));
        for path in [
            "",
            "weir.js",
            "/",
            "//",
            "//a.example/x",
            "/a/",
            "/a//b",
            "/.",
            "/../a",
            "/a/./b",
            "/a?b",
            "/a#b",
            "/a b",
            "/a%20b",
            "/ä",
            "/a:b",
            "http://a.example/weir.js",
            "/a\n",
            &long,
        ] {
            let error = parse_path(path).unwrap_err();
            assert!(error.contains("expected a path like /weir.js"), "{path}: {error}");
        }
    }

    #[test]
    fn each_path_has_one_meaning() {
        let paths = |script: &str, events: &str| {
            PathArgs { script_path: script.to_owned(), events_path: events.to_owned() }.paths()
        };
        let pinned = script().pinned_path("/x.js");
        for (script, events) in [("/weir.js", "/api/events"), ("/x.js", "/x"), ("/api", "/api/e")] {
            let expected = PublicPaths { script: script.to_owned(), events: events.to_owned() };
            assert_eq!(paths(script, events), Ok(expected));
        }
        for (script, events, setting) in [
            ("/x", "/x", EVENTS_PATH),
            ("/x.js", &pinned, EVENTS_PATH),
            ("/weir.js", "/api/v1/events", EVENTS_PATH),
            ("/weir.js", "/tracking/ingest", EVENTS_PATH),
            ("/tracking/ingest", "/e", SCRIPT_PATH),
            ("/api/v1/events", "/e", SCRIPT_PATH),
            ("/api/events", "/e", SCRIPT_PATH),
            ("/api/weir.js", "/e", SCRIPT_PATH),
        ] {
            let error = paths(script, events).unwrap_err();
            assert_eq!(error.setting, setting, "{script} {events}: {error}");
            assert!(error.problem.contains("expected"), "{error}");
        }
    }
}
