//! The script that pages include: how it is served, and what `weir snippet` says about it.

use std::io::Read as _;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Answer, Client, Collector, Findings, Setup, weir};

const HOUR: &str = "public, max-age=3600, stale-while-revalidate=86400";
const YEAR: &str = "public, max-age=31536000, immutable";
const BROWSER: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br, zstd");

/// The script as its build has left it.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/snippet/dist/weir.js");

/// Path of the script that names its bytes, and their integrity: as the log says at the start.
fn pinned(collector: &Collector) -> (String, String) {
    let line = collector.await_log("pages may include the script");
    let field = |name: &str| line[name].as_str().unwrap().to_owned();
    (field("pinned"), field("integrity"))
}

#[track_caller]
fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> (Answer, Vec<u8>) {
    client.fetch(path, headers).unwrap()
}

/// A body as its `Content-Encoding` says it was.
#[track_caller]
fn decoded(answer: &Answer, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match answer.header("content-encoding") {
        None => plain.extend_from_slice(body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap()),
        Some("br") => brotli::BrotliDecompress(&mut &*body, &mut plain).unwrap(),
        Some(other) => panic!("nobody asked for {other}"),
    }
    plain
}

/// What every answer with the script says, whoever asks.
fn check_headers(findings: &mut Findings, case: &str, answer: &Answer, cache_control: &str) {
    for (name, expected) in [
        ("cache-control", Some(cache_control)),
        ("vary", Some("Accept-Encoding")),
        ("access-control-allow-origin", Some("*")),
        ("access-control-allow-credentials", None),
        ("access-control-expose-headers", None),
        ("cross-origin-resource-policy", Some("cross-origin")),
        ("x-content-type-options", Some("nosniff")),
        ("set-cookie", None),
        ("connection", None),
    ] {
        let values: Vec<&str> =
            answer.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect();
        findings.check(format!("{case}: {name}"), values, expected.into_iter().collect::<Vec<_>>());
    }
    let etag = answer.header("etag").unwrap_or_default();
    let is_strong = etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"');
    findings.holds(format!("{case}: a strong tag: {etag}"), is_strong);
}

#[test]
fn the_script_is_served_in_the_coding_that_is_asked_for() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    let (pinned, _) = pinned(&collector);
    let script = std::fs::read(BUILT).unwrap();
    for (path, cache_control) in [("/weir.js", HOUR), ("/weir.js?v=1&x", HOUR), (&pinned, YEAR)] {
        for (accept, coding) in [
            (None, None),
            (Some("gzip, deflate, br, zstd"), Some("br")),
            (Some("gzip, deflate"), Some("gzip")),
            (Some("br;q=0, gzip;q=0.1"), Some("gzip")),
            (Some("br;q=0.5, gzip"), Some("gzip")),
            (Some("*"), Some("br")),
            (Some("identity"), None),
            (Some("deflate, zstd"), None),
            (Some("br;q=0"), None),
            (Some(""), None),
        ] {
            for origin in [None, Some("https://shop.example"), Some("null")] {
                let headers: Vec<_> = accept.map(|accept| ("Accept-Encoding", accept)).into_iter().collect();
                let headers =
                    [headers, origin.map(|origin| ("Origin", origin)).into_iter().collect()].concat();
                let (answer, body) = get(&mut client, path, &headers);
                let case = format!("{path} in {accept:?} from {origin:?}");
                findings.check(&case, answer.status, 200);
                findings.check(&case, answer.header("content-encoding"), coding);
                findings.check(&case, answer.header("content-type"), Some("text/javascript; charset=utf-8"));
                findings.check(&case, answer.header("content-length"), Some(&*body.len().to_string()));
                findings.holds(format!("{case}: its bytes"), decoded(&answer, &body) == script);
                check_headers(&mut findings, &case, &answer, cache_control);
            }
        }
    }
    findings.report();
}

#[test]
fn a_copy_that_is_known_is_not_sent_again() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    let (pinned, _) = pinned(&collector);
    let mut tags = Vec::new();
    for accept in ["br", "gzip", "identity"] {
        let (answer, _) = get(&mut client, "/weir.js", &[("Accept-Encoding", accept)]);
        tags.push((accept, answer.header("etag").unwrap().to_owned()));
    }
    for (path, cache_control) in [("/weir.js", HOUR), (&pinned, YEAR)] {
        for (accept, own) in &tags {
            let others: Vec<&str> =
                tags.iter().filter(|(_, tag)| tag != own).map(|(_, tag)| &**tag).collect();
            findings.check("a tag for each coding", others.len(), 2);
            for (known, status) in [
                (own.clone(), 304),
                (format!("W/{own}"), 304),
                (format!("\"x\", {own},\"y\""), 304),
                ("*".to_owned(), 304),
                (others.join(", "), 200),
                (own.trim_matches('"').to_owned(), 200),
                ("\"0123456789abcdef\"".to_owned(), 200),
            ] {
                let (answer, body) =
                    get(&mut client, path, &[("Accept-Encoding", accept), ("If-None-Match", &known)]);
                let case = format!("{path} in {accept}, known {known}");
                findings.check(&case, answer.status, status);
                findings.check(&case, body.is_empty(), status == 304);
                findings.check(&case, answer.header("etag"), Some(&**own));
                findings.check(&case, answer.header("content-type").is_some(), status == 200);
                check_headers(&mut findings, &case, &answer, cache_control);
            }
        }
    }
    findings.check("counted", collector.figures().count("weir_requests_total{status=\"304\"}"), 24);
    findings.report();
}

#[test]
fn head_is_get_without_a_body() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    let (pinned, _) = pinned(&collector);
    for path in ["/weir.js", &pinned] {
        for headers in [&[][..], &[BROWSER], &[BROWSER, ("If-None-Match", "*")]] {
            let (get, _) = get(&mut client, path, headers);
            let head = client.send("HEAD", path, headers, b"").unwrap();
            // Had a body come, the next answer would not be read.
            let without_date = |answer: &Answer| {
                answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect::<Vec<_>>()
            };
            let case = format!("{path} {headers:?}");
            findings.check(&case, (head.status, without_date(&head)), (get.status, without_date(&get)));
        }
    }
    findings.report();
}

#[test]
fn other_paths_and_methods_are_refused_as_everywhere() {
    let collector = Collector::start();
    let (pinned, _) = pinned(&collector);
    let mut findings = Findings::default();
    let mut client = collector.client();
    let origin = ("Origin", "https://shop.example");
    for path in [
        "/weir.0123456789abcdef.js",
        "/weir..js",
        "/weir.js/",
        "/Weir.js",
        "/weir.js.br",
        "/weir.js.gz",
        "/weir",
        &pinned.to_uppercase(),
        &pinned.replace(".js", ""),
    ] {
        let answer = client.send("GET", path, &[BROWSER, origin], b"").unwrap();
        findings.check(path, answer.gist(), "404 not_found");
        findings.check(path, answer.header("cache-control"), None);
    }
    for path in ["/weir.js", &pinned] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = client.send(method, path, &[BROWSER, origin], b"").unwrap();
            let case = format!("{method} {path}");
            findings.check(&case, answer.gist(), "405 method_not_allowed");
            findings.check(&case, answer.header("allow"), Some("GET, HEAD"));
            findings.check(&case, answer.header("access-control-allow-origin"), Some(origin.1));
        }
    }
    let asked = [origin, ("Access-Control-Request-Method", "GET")];
    let preflight = client.send("OPTIONS", "/weir.js", &asked, b"").unwrap();
    findings.check("a preflight", preflight.status, 200);
    findings.check("what it grants", preflight.header("access-control-allow-origin"), Some(origin.1));
    findings.report();
}

#[test]
fn a_body_that_nobody_asked_for_does_no_harm() {
    let collector = Collector::start();
    let mut client = collector.client();
    let answer = client.send("GET", "/weir.js", &[], b"abc").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(client.is_closed());
}

#[test]
fn script_and_events_move_where_the_settings_say() {
    let paths = ["--script-path", "/a/b.min.js", "--events-path", "/a/e"];
    let collector = Setup::new().with(&paths).start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    let (pinned, _) = pinned(&collector);
    let hash = pinned.strip_prefix("/a/b.min.").and_then(|rest| rest.strip_suffix(".js"));
    findings.check(&pinned, hash.map(str::len), Some(16));
    let event =
        r#"{"type":"a","visitorId":"v_1","projectKey":"pk_live_demo","url":"https://a.test/"}"#.as_bytes();
    for (method, path, status) in [
        ("GET", "/a/b.min.js", 200),
        ("GET", &pinned, 200),
        ("POST", "/a/e", 200),
        ("POST", "/a/e?x", 200),
        ("GET", "/weir.js", 404),
        ("GET", "/a/e", 405),
        ("POST", "/api/events", 404),
    ] {
        let body = if method == "POST" { event } else { &[] };
        let answer = client.send(method, path, &[], body).unwrap();
        findings.check(format!("{method} {path}"), answer.status, status);
    }
    findings.report();
}

fn snippet(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = weir();
    command.arg("snippet").args(arguments).envs(environment.iter().copied()).output().unwrap()
}

#[track_caller]
fn printed(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = snippet(arguments, environment);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The value of the first attribute with this name.
#[track_caller]
fn attribute<'a>(html: &'a str, name: &str) -> &'a str {
    let start = html.find(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in {html}"));
    html[start..].split('"').nth(1).unwrap()
}

#[test]
fn the_tag_is_that_of_the_documents_and_leads_to_the_script() {
    // Without a collector, an engine or a folder.
    let html = printed(&["--project", "pk_live_xyz", "--collector", "https://collect.example.com"], &[]);
    let tag = r#"<script>window.weir=window.weir||function(){(weir.q=weir.q||[]).push([+new Date,location.href,arguments])}</script>
<script async src="https://collect.example.com/weir.js" data-project-key="pk_live_xyz"></script>

<!-- "#;
    assert!(html.starts_with(tag), "{html}");

    let collector = Setup::new().env("WEIR_EVENTS_PATH", "/e").env("WEIR_SCRIPT_PATH", "/s.js").start();
    let address = format!("http://{}", collector.listen);
    let moved = [("WEIR_EVENTS_PATH", "/e"), ("WEIR_SCRIPT_PATH", "/s.js")];
    let html = printed(&["--project", "a\"b", "--collector", &address], &moved);
    let (tag, pinned_tag) = html.split_once("<!--").unwrap();
    for html in [tag, pinned_tag] {
        assert_eq!(attribute(html, "data-endpoint"), format!("{address}/e"), "{html}");
        assert_eq!(attribute(html, "data-project-key"), "a&quot;b", "{html}");
    }
    assert_eq!(attribute(tag, "src"), format!("{address}/s.js"));
    assert!(!tag.contains("integrity") && !tag.contains("crossorigin"), "{tag}");
    let (path, integrity) = pinned(&collector);
    assert_eq!(attribute(pinned_tag, "src"), format!("{address}{path}"));
    assert_eq!(attribute(pinned_tag, "integrity"), integrity);
    assert_eq!(attribute(pinned_tag, "crossorigin"), "anonymous");
    let (answer, _) = get(&mut collector.client(), &path, &[]);
    assert_eq!(answer.status, 200);
}

/// The script's checksum as a tool of the system has it.
#[track_caller]
fn checksum(tool: &str) -> String {
    let output = Command::new(tool).arg(BUILT).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn the_integrity_is_the_one_that_browsers_compute() {
    let html = printed(&["--project", "pk"], &[]);
    let digest = checksum("sha384sum");
    let byte = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).unwrap();
    let digest: Vec<u8> = (0..digest.len()).step_by(2).map(byte).collect();
    assert_eq!(attribute(&html, "integrity"), format!("sha384-{}", STANDARD.encode(digest)));
    let digest = checksum("sha256sum");
    let pinned = html.rsplit("src=").next().unwrap();
    assert!(pinned.starts_with(&format!("\"http://localhost:8080/weir.{}.js\"", &digest[..16])), "{pinned}");
}

#[test]
fn a_tag_that_cannot_be_is_refused_with_a_sentence() {
    for (arguments, environment, named) in [
        (&[][..], &[][..], "--project"),
        (&["--project", ""], &[], "--project"),
        (&["--project", "pk", "--collector", "collect.example.com"], &[], "--collector"),
        (&["--project", "pk", "--collector", "https://a.example/?x"], &[], "--collector"),
        (&["--project", "pk", "--script-path", "x.js"], &[], "--script-path"),
        (&["--project", "pk"], &[("WEIR_EVENTS_PATH", "/weir.js")], "WEIR_EVENTS_PATH"),
    ] {
        let output = snippet(arguments, environment);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(named) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}
