//! The README's runbook is whole: every figure that the binary shows and every reason that it can give has its entry
//! there, and nothing else has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{Findings, Setup, eventually};
use crate::readme::{ROOT, readme};

/// What stands in backticks in the first column of the README's tables, where that column is called this.
fn entries(column: &str) -> Vec<String> {
    let text = readme();
    let mut lines = text.lines();
    let mut entries = Vec::new();
    while let Some(line) = lines.next() {
        if !line.starts_with(&format!("| {column} |")) {
            continue;
        }
        for row in lines.by_ref().skip(1).take_while(|row| row.starts_with('|')) {
            let first = row.split('|').nth(1).unwrap();
            entries.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    entries
}

fn source(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join("src").join(file)).unwrap()
}

/// A part of a source file: from the first of these words on, up to the second.
fn excerpt(file: &str, from: &str, to: &str) -> String {
    let text = source(file);
    let start = text.find(from).unwrap_or_else(|| panic!("src/{file} has no {from:?} any more"));
    let end = text[start..].find(to).unwrap_or_else(|| panic!("src/{file}: no {to:?} behind {from:?}"));
    text[start..start + end].to_owned()
}

/// The sentences among the string literals of some code, with `…` for what is put into them.
fn sentences(code: &str) -> Vec<String> {
    let is_code = |line: &&str| !["//", "#[allow"].iter().any(|start| line.trim_start().starts_with(start));
    let code: String = code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    // None of them holds an escape.
    let literals = code.split('"').skip(1).step_by(2).map(|literal| {
        let pieces = literal.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, rest)| rest));
        pieces.collect::<Vec<_>>().join("…")
    });
    literals.filter(|text| text.contains(' ') && text.contains(char::is_alphabetic)).collect()
}

/// Where the code says why it is not ready.
const SAID: &[(&str, &str, &str)] = &[
    ("readiness.rs", "fn unavailable", "fn backlog_age"),
    ("collector.rs", "let reason = format!(", ";"),
    ("clickhouse/schema.rs", "for DegradedTable", "\n}"),
    ("loader/status.rs", "pub fn reasons", "\n    }\n"),
    ("loader/mod.rs", "pub async fn run", "\n    }\n"),
    ("conversions/forwarder.rs", "pub fn reasons", "\n    }\n"),
    ("conversions/queue/mod.rs", "enum QueueError", "\n}"),
    // Why a segment is parked, or has to wait; and why the tables are not ready.
    ("loader/mod.rs", "async fn load(", "\n    }\n"),
    ("loader/mod.rs", "enum LoadError", "\n}"),
    ("clickhouse/error.rs", "enum ClickHouseError", "\n}"),
    ("clickhouse/schema.rs", "for SchemaDrift", "\n}"),
    ("clickhouse/migrate.rs", "enum MigrationError", "\n}"),
];

/// Those of the journal's errors that readiness asks for.
fn said_of_the_journal() -> Vec<String> {
    let check = excerpt("journal/mod.rs", "pub fn check(", "\n    }\n");
    let errors = excerpt("journal/mod.rs", "enum JournalError", "\n}");
    let is_word = |c: char| c.is_alphanumeric();
    let named = check.split("JournalError::").skip(1);
    let variants: BTreeSet<&str> = named.map(|rest| rest.split(|c| !is_word(c)).next().unwrap()).collect();
    assert!(variants.len() >= 3, "{variants:?}");
    let text = |variant: &str| {
        let before = errors.split(&format!("\n    {variant},")).next().unwrap();
        sentences(before).pop().unwrap()
    };
    variants.into_iter().map(text).collect()
}

/// Every sentence that can stand among the reasons of `/readyz`, or at the end of one.
fn reasons() -> Vec<String> {
    let mut reasons = said_of_the_journal();
    for (file, from, to) in SAID {
        let said = sentences(&excerpt(file, from, to));
        assert!(!said.is_empty(), "src/{file} says nothing behind {from:?}");
        reasons.extend(said);
    }
    reasons
}

/// Whether an entry, in which `…` stands for anything, is about this text.
fn is_about(entry: &str, text: &str) -> bool {
    let mut rest = text;
    let pieces: Vec<&str> = entry.split('…').collect();
    for (index, piece) in pieces.iter().enumerate() {
        let found = if index == 0 {
            rest.strip_prefix(piece)
        } else if index + 1 == pieces.len() {
            return rest.ends_with(piece);
        } else {
            rest.split_once(piece).map(|(_, rest)| rest)
        };
        let Some(behind) = found else { return false };
        rest = behind;
    }
    rest.is_empty()
}

#[test]
fn every_reason_of_the_code_is_explained_and_no_other() {
    let entries: Vec<String> = ["reason", "error"].iter().flat_map(|column| entries(column)).collect();
    let reasons = reasons();
    assert!(entries.len() > 20 && reasons.len() > 20, "{entries:#?}\n{reasons:#?}");
    let mut findings = Findings::default();
    for reason in &reasons {
        let told = entries.iter().any(|entry| is_about(entry, reason));
        findings.holds(format!("the README does not say what to do about {reason:?}"), told);
    }
    for entry in &entries {
        let real = reasons.iter().any(|reason| is_about(entry, reason));
        findings.holds(format!("nothing in the code says {entry:?} any more"), real);
    }
    findings.report();
}

/// An integration whose platform cannot be reached.
const INTEGRATION: &str = r#"
[[integration]]
project = "demo"
platform = "webhook"
url = "http://127.0.0.1:9"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"#;

#[test]
fn every_figure_of_the_binary_is_explained_and_no_other() {
    let setup = Setup::new();
    let file = setup.data_dir().join("weir.toml");
    fs::write(&file, INTEGRATION).unwrap();
    let collector = setup.with(&["--config", file.to_str().unwrap()]).start();
    // Shown from the first one on.
    assert_eq!(collector.post("{}").status, 400);
    let bearer = format!("Bearer {}", collector.weir(&["key", "create", "demo", "--scope", "conversions"]));
    let body = r#"{"events":[{"platform":"webhook","eventType":"lead"}]}"#;
    let headers = [("Authorization", bearer.as_str())];
    let answer = collector.client().send("POST", "/tracking/ingest", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let figures = eventually("the answer of the platform", || {
        let figures = collector.figures();
        figures.families.contains("weir_platform_seconds").then_some(figures)
    });
    let text = source("metrics.rs");
    let registered: BTreeSet<&str> = text.split('"').filter(|word| word.starts_with("weir_")).collect();
    let shown: BTreeSet<&str> = figures.families.iter().map(String::as_str).collect();
    assert_eq!(shown, registered, "what is shown, and what src/metrics.rs registers");

    // Outcomes have an entry each; statuses and codes are many.
    let name = |sample: &str| match sample.split_once('{') {
        Some((name, labels)) if labels.starts_with("outcome=") => format!("{name}{{{labels}"),
        Some((name, labels)) => match labels.split('=').next() {
            Some(label @ ("status" | "reason" | "limit")) => format!("{name}{{{label}}}"),
            _ => figures.family(name).to_owned(),
        },
        None => figures.family(sample).to_owned(),
    };
    let shown: BTreeSet<String> = figures.samples().map(name).collect();
    let told: BTreeSet<String> = entries("figure").into_iter().collect();
    let missing: Vec<_> = shown.difference(&told).collect();
    let wrong: Vec<_> = told.difference(&shown).filter(|entry| !entry.starts_with("--")).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "missing: {missing:#?}\nnot shown: {wrong:#?}");
}
