//! `weir.toml` and what is said of a wrong one.

use super::*;
use crate::conversions::platform::Setting;

/// A block for Meta, with these lines added to it.
fn meta(more: &str) -> String {
    format!(
        "[[integration]]\nproject = \"shop\"\nplatform = \"meta\"\npixel_id = \"123\"\naccess_token = \"s3cret\"\n{more}\n"
    )
}

#[track_caller]
fn one(text: &str) -> Integration {
    let mut integrations = parse(text).unwrap();
    assert_eq!(integrations.len(), 1);
    integrations.remove(0)
}

#[test]
fn a_block_is_read_as_the_contract_has_it() {
    let integration = one(&meta(
        r#"
        enabled = true
        base_url = "http://127.0.0.1:9999/"
        default_country_code = "+1"
        limited_data_use = true
        consent = { required = true, categories = ["marketing", "ads"], match = "all" }
        event_names = { Purchase = "Kauf" }
        rate = { per_second = 10, batch = 5 }
        enrich = { hosts = ["shop.example", "*.shop.example"], events = ["view_content"] }
        "#,
    ));
    assert_eq!((integration.name.as_str(), integration.project.as_str()), ("shop/meta", "shop"));
    assert_eq!(integration.platform.name(), "meta");
    assert_eq!(integration.base_url, "http://127.0.0.1:9999");
    assert_eq!(integration.setting("access_token"), "s3cret");
    assert_eq!(integration.default_country_code.as_deref(), Some("1"));
    assert!(integration.limited_data_use);
    let categories = vec!["marketing".to_owned(), "ads".to_owned()];
    assert_eq!(integration.consent, ConsentPolicy { required: true, categories, matching: Matching::All });
    assert_eq!(integration.event_names["purchase"], "Kauf");
    assert_eq!(integration.rate(), Rate { per_second: 10, batch: 5 });
    assert_eq!(integration.enrich.hosts, ["shop.example", "*.shop.example"]);
    assert_eq!(integration.enrich.events, ["view_content"]);
    assert!(!format!("{integration:?}").contains("s3cret"));
}

#[test]
fn what_a_block_leaves_out_is_the_platforms_own() {
    let integration = one(&meta(""));
    assert_eq!(integration.base_url, "https://graph.facebook.com");
    assert_eq!(integration.rate(), Rate { per_second: 1_000, batch: 1_000 });
    assert!(!integration.consent.required && integration.consent.categories == ["marketing"]);
    assert!(integration.enrich.hosts.is_empty());
    assert!(one(&meta("consent = {}")).consent.required);
    assert_eq!(one(&meta("rate = { batch = 7 }")).rate(), Rate { per_second: 1_000, batch: 7 });
    assert_eq!(one(&meta("enrich = { hosts = [\"a.example\"] }")).enrich.events, ENRICHED);
    assert!(parse("").unwrap().is_empty());
    // Its secrets need not be there.
    assert!(parse(&meta("enabled = false").replace("s3cret", "env:WEIR_TEST_NO_SUCH")).unwrap().is_empty());
    assert!(
        parse("[[integration]]\nproject = \"shop\"\nplatform = \"meta\"\nenabled = false")
            .unwrap()
            .is_empty()
    );
}

const README: &str = include_str!("../../../README.md");

/// The block that the README shows for a platform, with a literal in each place of a secret.
fn shown(platform: &str) -> Option<String> {
    let mut blocks = README.split("```toml\n").skip(1).filter_map(|block| block.split("```").next());
    let line = format!("\nplatform = \"{platform}\"\n");
    let block = blocks.find(|block| block.contains(&line))?;
    let literal = |line: &str| match line.split_once(" = ") {
        Some((key, value)) if value.starts_with("\"env:") || value.starts_with("\"file:") => {
            format!("{key} = \"c2VjcmV0\"\n")
        }
        _ => format!("{line}\n"),
    };
    Some(block.lines().map(literal).collect())
}

#[test]
fn every_platform_is_set_up_as_the_readme_shows() {
    for platform in platform::ALL {
        let name = platform.name();
        let block = shown(name).unwrap_or_else(|| panic!("README shows no block for {name}"));
        assert!(README.contains(&format!("\n| `{name}`")), "README has no row for {name}");
        let integration = one(&block);
        assert_eq!((integration.platform.name(), integration.project.as_str()), (name, "shop"));
        for Setting { key, secret, .. } in platform.settings() {
            assert!(
                !secret || ["", "c2VjcmV0"].contains(&integration.setting(key)),
                "{name}: {key} is shown"
            );
        }
    }
}

#[test]
fn where_it_goes_follows_from_what_is_set() {
    let block = |platform: &str, more: &str| format!("{}{more}\n", shown(platform).unwrap());
    let legacy = block("google_ads", "mode = \"legacy\"");
    let problem = parse(&legacy).unwrap_err();
    assert!(problem.starts_with("integration 1 (google_ads of shop): developer_token"), "{problem}");
    let legacy = format!("{legacy}developer_token = \"d\"\n");
    let base = "base_url = \"http://127.0.0.1:9999/\"";
    for (block, url) in [
        (block("google_ads", ""), "https://datamanager.googleapis.com"),
        (legacy, "https://googleads.googleapis.com"),
        (block("webhook", ""), "https://crm.example/hooks/weir"),
        (block("webhook", "").replace("/hooks/weir", "/hook/?a=1"), "https://crm.example/hook/?a=1"),
        (block("webhook", base), "http://127.0.0.1:9999"),
        (block("google_ads", base), "http://127.0.0.1:9999"),
    ] {
        assert_eq!(one(&block).base_url, url);
    }
}

#[test]
fn several_webhooks_differ_by_name() {
    let hook = |name: &str| {
        format!(
            "[[integration]]\nproject = \"shop\"\nplatform = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n{name}\n"
        )
    };
    let two = parse(&[hook("name = \"crm\""), hook("name = \"mail\"")].concat()).unwrap();
    assert_eq!(
        two.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["shop/webhook/crm", "shop/webhook/mail"]
    );
    let problem = parse(&[hook(""), hook("")].concat()).unwrap_err();
    assert!(problem.starts_with("integration 2 (webhook of shop): there is another block"), "{problem}");
}

#[test]
fn secrets_come_from_the_environment_or_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file\n").unwrap();
    let path = format!("file:{}", file.path().display());
    assert_eq!(one(&meta("").replace("s3cret", &path)).setting("access_token"), "from a file");
    // Cargo sets it for tests.
    let name = one(&meta("").replace("s3cret", "env:CARGO_PKG_NAME"));
    assert_eq!(name.setting("access_token"), "weir");
    std::fs::write(file.path(), "\n").unwrap();
    for (value, part) in [
        ("env:WEIR_TEST_NO_SUCH", "access_token: the environment has no WEIR_TEST_NO_SUCH"),
        ("file:/no/such", "access_token: cannot read /no/such"),
        (&path, "access_token: expected a text of one line"),
    ] {
        let problem = parse(&meta("").replace("s3cret", value)).unwrap_err();
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn what_is_wrong_is_said_with_block_and_key_and_without_a_secret() {
    let whole = |text: &str| text.to_owned();
    let cases = [
        (whole("integrations = 1"), "integrations: no such key, expected blocks [[integration]]"),
        (whole("integration = 1"), "integration: expected blocks [[integration]]"),
        (
            whole("[[integration]]\nproject = \"shop\"\naccess_token = s3cret"),
            "line 3: integration 1: access_token: ",
        ),
        (whole("# [[integration]]\n[[integration]]\ns3cret== # mine"), "line 3: integration 1: "),
        (meta("enabled = true\nenabled = \"s3cret\""), "integration 1: enabled: duplicate key"),
        (whole("[[integration]]\nplatform = \"meta\""), "integration 1: project: is missing"),
        (
            whole("[[integration]]\nproject = \"shop\""),
            "integration 1: platform: is missing, expected one of meta, tiktok",
        ),
        (
            meta("").replace("\"meta\"", "\"myspace\""),
            "integration 1 (myspace of shop): platform: \"myspace\" is none",
        ),
        (
            meta("").replace("pixel_id", "pixle_id"),
            "integration 1 (meta of shop): pixel_id: is missing, meta needs it",
        ),
        (meta("pixle_id = \"1\""), "pixle_id: no such key, expected one of project, platform"),
        (meta("").replace("\"123\"", "123"), "pixel_id: expected a text that is not empty"),
        (meta("enabled = \"yes\""), "enabled: expected true or false"),
        (meta("base_url = \"graph.facebook.com\""), "base_url: expected a URL like https://host"),
        (meta("base_url = \"https://u:s3cret@a.example\""), "base_url: expected a URL"),
        (meta("base_url = \"https://a.example/?s3cret\""), "base_url: expected a URL"),
        (meta("default_country_code = \"USA\""), "default_country_code: expected 1 to 3 digits"),
        (meta("consent = { required = 1 }"), "consent.required: expected true or false"),
        (meta("consent = { match = \"some\" }"), "consent.match: expected \"any\" or \"all\""),
        (meta("consent = { categories = [] }"), "consent.categories: expected at least one"),
        (meta("consent = { category = \"a\" }"), "consent.category: no such key, expected one of match"),
        (meta("rate = { per_second = 0 }"), "rate.per_second: expected a whole number from 1 to"),
        (meta("rate = { batch = 1001 }"), "rate.batch: expected a whole number from 1 to 1000"),
        (meta("").replace("s3cret", "s3cret\\nX-Own: 1"), "access_token: expected a text of one line"),
        (meta("rate = 5"), "rate: expected a table"),
        (meta("event_names = { purchase = 1 }"), "event_names.purchase: expected a text"),
        (
            meta("enrich = { hosts = [\"https://a.example\"] }"),
            "enrich.hosts: \"https://a.example\" is no host name",
        ),
        (meta("enrich = { hosts = [\"*\"] }"), "enrich.hosts: \"*\" is no host name"),
        (meta("enrich = { hosts = [\"localhost\"] }"), "enrich.hosts: \"localhost\" is no host name"),
        (meta("enrich = { hosts = [\"127.0.0.1\"] }"), "enrich.hosts: \"127.0.0.1\" is no host name"),
    ];
    for (text, part) in cases {
        let problem = parse(&text).unwrap_err();
        assert!(problem.contains(part), "{problem:?} does not say {part:?}");
        assert!(!problem.contains("s3cret"), "{problem}");
    }
}
