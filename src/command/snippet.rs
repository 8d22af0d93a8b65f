//! `weir snippet`: the tag to paste. It asks nobody: what it says follows from the binary and its settings.

use std::io::Write as _;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use http::Uri;

use crate::config::PathArgs;
use crate::http::PublicPaths;
use crate::snippet::Tag;

#[allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]
#[derive(Args)]
pub(super) struct SnippetArgs {
    /// The project's public key, as `weir project create` has printed it
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    project: String,

    /// Where browsers reach the collector
    #[arg(long, default_value = "http://localhost:8080", value_name = "URL", value_parser = parse_collector)]
    collector: Collector,

    #[command(flatten)]
    paths: PathArgs,
}

/// Where browsers reach a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collector {
    /// Without a slash at its end.
    pub(super) url: String,
    /// Whether it stands below a path, which a proxy takes off.
    below_path: bool,
}

pub(super) fn parse_collector(text: &str) -> Result<Collector, String> {
    let expected = "expected a URL like https://collect.example.com, without a query";
    let uri: Uri = text.parse().map_err(|error| format!("{error}; {expected}"))?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if !is_web || !has_host || text.contains(['@', '?', '#']) {
        return Err(expected.to_owned());
    }
    Ok(Collector { url: text.trim_end_matches('/').to_owned(), below_path: uri.path() != "/" })
}

pub(super) fn run(args: &SnippetArgs) -> anyhow::Result<()> {
    let paths = args.paths.paths()?;
    write!(std::io::stdout().lock(), "{}", text(&args.project, &args.collector, &paths))?;
    Ok(())
}

/// All of it may be pasted: what is not the tag is a comment.
fn text(project: &str, collector: &Collector, paths: &PublicPaths) -> String {
    // The script sends to the default path beside its own origin unless it is told otherwise.
    let is_elsewhere = collector.below_path || paths.events != PublicPaths::default().events;
    let tag = Tag {
        collector: &collector.url,
        script_path: &paths.script,
        endpoint: is_elsewhere.then(|| format!("{}{}", collector.url, paths.events)),
        project,
    };
    let (html, pinned) = (tag.html(), tag.pinned_html());
    format!(
        "{html}
<!-- Or, in place of the second line, the script of this very build and no other. Another version of Weir does not
     have it: print and paste this again with each update.
{pinned}-->
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_url_that_paths_can_be_appended_to() {
        for (text, url, below_path) in [
            ("https://collect.example.com", "https://collect.example.com", false),
            ("https://collect.example.com/", "https://collect.example.com", false),
            ("http://localhost:8080", "http://localhost:8080", false),
            ("http://[::1]:8080/", "http://[::1]:8080", false),
            ("https://example.com/stats/", "https://example.com/stats", true),
        ] {
            assert_eq!(parse_collector(text), Ok(Collector { url: url.to_owned(), below_path }), "{text}");
        }
        for text in [
            "",
            "collect.example.com",
            "/x",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://a.example/?b",
            "https://a.example/#b",
            "https://user@a.example",
            "https://a b",
            "javascript:alert(1)",
        ] {
            let error = parse_collector(text).unwrap_err();
            assert!(error.contains("expected a URL like"), "{text}: {error}");
        }
    }

    #[test]
    fn an_endpoint_is_named_where_the_script_would_not_find_it() {
        let default = PublicPaths::default();
        let moved = PublicPaths { events: "/e".to_owned(), ..PublicPaths::default() };
        for (collector, paths, endpoint) in [
            ("https://a.example", &default, None),
            ("https://a.example", &moved, Some("https://a.example/e")),
            ("https://a.example/x", &default, Some("https://a.example/x/api/events")),
        ] {
            let printed = text("pk", &parse_collector(collector).unwrap(), paths);
            let expected = endpoint.map(|endpoint| format!("data-endpoint=\"{endpoint}\"></script>\n"));
            let named = expected.map_or(0, |expected| printed.matches(&expected).count());
            assert_eq!(named, if endpoint.is_some() { 2 } else { 0 }, "{printed}");
            assert_eq!(printed.matches("data-endpoint").count(), named, "{printed}");
        }
    }

    #[test]
    fn pasted_whole_it_includes_the_script_once() {
        let collector = parse_collector("https://a.example").unwrap();
        let printed = text("-->", &collector, &PublicPaths::default());
        let (tag, rest) = printed.split_once("<!--").unwrap();
        assert_eq!((tag.lines().count(), tag.matches("src=").count()), (3, 1), "{printed}");
        assert_eq!(rest.find("-->"), Some(rest.len() - "-->\n".len()), "{printed}");
    }
}
