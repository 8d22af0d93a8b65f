#![allow(clippy::doc_markdown, reason = "some comments are the text of --help, where backticks are noise")]

//! `weir.toml`: what flags cannot say. It holds the integrations that conversions are forwarded to, a block
//! `[[integration]]` each; `README.md` shows one for each platform.
//!
//! It is read at start and again on SIGHUP. What is wrong with it is said with the number of the block, its platform and
//! project, and the key. A platform's own settings may be literals, `env:NAME` or `file:PATH`; no message shows one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use toml::{Table, Value};
use url::Url;

use super::ConfigError;
use super::block::Block;
use super::values::parse_duration;
use crate::conversions::consent::LimitedUse;
use crate::conversions::consent::{ConsentPolicy, Matching};
use crate::conversions::platform::{self, Platform, Rate};
use crate::conversions::queue::QueueSettings;
use crate::conversions::wire::event_type;
use crate::conversions::{EnrichPolicy, Integration, Secret};

/// Read from the working folder unless another file is named.
const DEFAULT_FILE: &str = "weir.toml";

/// Events whose value may be looked up unless a block names others: a unit price is no order's total.
const ENRICHED: [&str; 2] = ["view_content", "add_to_cart"];

/// More integrations than anybody has; each has a task of its own.
const MOST: usize = 1_000;

/// Conversions: where they go, and how long they are tried.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Conversions")]
pub struct ConversionArgs {
    /// File with the integrations that conversions are forwarded to [default: weir.toml, if there is one]
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Conversions waiting for their platforms at which requests are answered 503
    #[arg(
        long,
        env = "WEIR_CONVERSIONS_MAX",
        default_value_t = 1_000_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    conversions_max: u64,

    /// How long a conversion is tried before it becomes a dead letter, and how long its id is remembered
    #[arg(
        long,
        env = "WEIR_CONVERSIONS_EXPIRE",
        default_value = "72h",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    conversions_expire: Duration,
}

/// What a collector does with conversions.
#[derive(Clone, Debug)]
pub struct ConversionSettings {
    /// Where they go, to begin with.
    pub integrations: Vec<Integration>,
    /// How they are kept.
    pub queue: QueueSettings,
    /// How long each is tried.
    pub expire_after: Duration,
}

impl ConversionArgs {
    pub(super) fn settings(&self) -> Result<ConversionSettings, ConfigError> {
        let remember = self.conversions_expire;
        let queue = QueueSettings { max_events: self.conversions_max, remember, ..QueueSettings::default() };
        Ok(ConversionSettings { integrations: self.integrations()?, queue, expire_after: remember })
    }

    /// The integrations that are enabled; none where there is no file and none was named.
    pub fn integrations(&self) -> Result<Vec<Integration>, ConfigError> {
        let path = self.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let setting = || path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => parse(&text).map_err(|problem| ConfigError::new(setting(), problem)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.config.is_none() => {
                Ok(Vec::new())
            }
            Err(error) => Err(ConfigError::new(setting(), format!("cannot be read: {error}"))),
        }
    }
}

/// Reads the file's text.
fn parse(text: &str) -> Result<Vec<Integration>, String> {
    let table: Table = text.parse().map_err(|error| syntax(text, &error))?;
    if let Some(key) = table.keys().find(|key| *key != "integration") {
        return Err(format!("{key}: no such key, expected blocks [[integration]]"));
    }
    let Some(blocks) = table.get("integration") else { return Ok(Vec::new()) };
    let expected = "integration: expected blocks [[integration]]";
    let blocks = blocks.as_array().ok_or(expected)?;
    if blocks.len() > MOST {
        return Err(format!("expected at most {MOST} blocks [[integration]]"));
    }
    let mut integrations: Vec<Integration> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let block = block.as_table().ok_or(expected)?.clone();
        let title = title(index + 1, &block);
        let read = read(Block::new(block)).map_err(|problem| format!("{title}: {problem}"))?;
        let Some(integration) = read else { continue };
        if integrations.iter().any(|other| other.name == integration.name) {
            return Err(format!(
                "{title}: there is another block of this project and platform; only webhooks may be several, with a name each"
            ));
        }
        integrations.push(integration);
    }
    Ok(integrations)
}

/// What toml says of a file that it cannot read, with the number of the block and the key, but without the line itself:
/// it may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let lines = before.matches('\n').count();
    let begun = before.lines().filter(|line| line.trim_start().starts_with("[[integration]]")).count();
    let block = if begun == 0 { String::new() } else { format!("integration {begun}: ") };
    let is_bare = |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let key = text.lines().nth(lines).and_then(|line| line.split_once('=')).and_then(|(key, value)| {
        // A secret alone on its line may end in equals signs.
        let value = value.trim();
        let is_key = is_bare(key.trim()) && !value.is_empty() && !value.starts_with('=');
        is_key.then(|| format!("{}: ", key.trim()))
    });
    format!("line {}: {block}{}{}", lines + 1, key.unwrap_or_default(), error.message())
}

/// What a block is called in a message.
fn title(number: usize, block: &Table) -> String {
    let text = |key| block.get(key).and_then(Value::as_str);
    match (text("platform"), text("project")) {
        (Some(platform), Some(project)) => format!("integration {number} ({platform} of {project})"),
        _ => format!("integration {number}"),
    }
}

/// Reads a block; `None` if it is not enabled, in which case its settings and secrets need not be there.
fn read(mut block: Block) -> Result<Option<Integration>, String> {
    let project = block.text("project")?.ok_or("project: is missing, expected the project's name")?;
    let platform = read_platform(&mut block)?;
    let enabled = block.flag("enabled")?.unwrap_or(true);
    let base_url = block.text("base_url")?;
    let default_country_code =
        block.text("default_country_code")?.as_deref().map(country_code).transpose()?;
    let limited_data_use = block.flag("limited_data_use")?.unwrap_or(false);
    if limited_data_use && platform.limited_use() == LimitedUse::Unknown {
        return Err(format!("limited_data_use: {} knows no limited use, expected false", platform.name()));
    }
    let consent = read_consent(&mut block)?;
    let event_names = read_event_names(&mut block, platform)?;
    let rate = block.table("rate")?;
    let enrich = read_enrich(&mut block)?;
    let texts = read_settings(&mut block, platform, enabled)?;
    block.finish()?;
    if !enabled {
        return Ok(None);
    }
    let mut settings = BTreeMap::new();
    for (key, text) in texts {
        settings.insert(key, Secret::new(resolve(&text).map_err(|problem| format!("{key}: {problem}"))?));
    }
    let setting = |key: &str| settings.get(key).map(|value: &Secret| value.reveal().to_owned());
    platform.check_settings(&setting)?;
    let (key, url) = match (base_url, platform.url_setting()) {
        (Some(url), _) => ("base_url", url),
        (None, Some(key)) => (key, setting(key).unwrap_or_default()),
        (None, None) => ("base_url", platform.base_url(&setting).to_owned()),
    };
    let base_url = check_url(&url, key).map_err(|problem| format!("{key}: {problem}"))?;
    let name = match settings.get("name") {
        Some(name) => format!("{project}/{}/{}", platform.name(), name.reveal()),
        None => format!("{project}/{}", platform.name()),
    };
    let mut integration = Integration {
        name,
        project,
        platform,
        base_url,
        settings,
        default_country_code,
        limited_data_use,
        consent,
        event_names,
        rate: None,
        enrich,
    };
    integration.rate = rate.map(|rate| read_rate(rate, platform.rate(&integration))).transpose()?;
    Ok(Some(integration))
}

fn read_platform(block: &mut Block) -> Result<&'static dyn Platform, String> {
    let expected = |is: &str| format!("platform: {is}, expected one of {}", platform::names());
    let name = block.text("platform")?.ok_or_else(|| expected("is missing"))?;
    platform::find(&name).ok_or_else(|| expected(&format!("{name:?} is none")))
}

fn read_settings(
    block: &mut Block,
    platform: &dyn Platform,
    enabled: bool,
) -> Result<BTreeMap<&'static str, String>, String> {
    let mut settings = BTreeMap::new();
    for setting in platform.settings() {
        match block.text(setting.key)? {
            Some(text) => drop(settings.insert(setting.key, text)),
            None if setting.required && enabled => {
                return Err(format!("{}: is missing, {} needs it", setting.key, platform.name()));
            }
            None => {}
        }
    }
    Ok(settings)
}

/// A literal, or what `env:NAME` or `file:PATH` stand for.
fn resolve(text: &str) -> Result<String, String> {
    let value = if let Some(name) = text.strip_prefix("env:") {
        std::env::var(name).map_err(|_| format!("the environment has no {name}"))?
    } else if let Some(path) = text.strip_prefix("file:") {
        std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {error}"))?
            .trim()
            .to_owned()
    } else {
        text.to_owned()
    };
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err("expected a text of one line that is not empty".to_owned());
    }
    Ok(value)
}

/// Without a block somebody who says nothing has not been asked. With one, or with categories, consent is required
/// unless it says otherwise.
fn read_consent(block: &mut Block) -> Result<ConsentPolicy, String> {
    let consent = block.table("consent")?;
    let asked = consent.is_some();
    let mut consent = Block::new(consent.unwrap_or_default()).within("consent");
    let matching = match consent.text("match")?.as_deref() {
        None | Some("any") => Matching::Any,
        Some("all") => Matching::All,
        Some(_) => return Err("consent.match: expected \"any\" or \"all\"".to_owned()),
    };
    let categories = consent.texts("categories")?.unwrap_or_else(|| vec!["marketing".to_owned()]);
    let required = consent.flag("required")?.unwrap_or(asked);
    consent.finish()?;
    if categories.is_empty() {
        return Err("consent.categories: expected at least one category".to_owned());
    }
    Ok(ConsentPolicy { required, categories, matching })
}

fn read_event_names(block: &mut Block, platform: &dyn Platform) -> Result<BTreeMap<String, String>, String> {
    let mut names = BTreeMap::new();
    for (ours, theirs) in block.table("event_names")?.unwrap_or_default() {
        let Value::String(theirs) = theirs else {
            return Err(format!("event_names.{ours}: expected a text"));
        };
        platform.check_name(&theirs).map_err(|fault| format!("event_names.{ours}: {fault}"))?;
        if names.insert(event_type(&ours).to_lowercase(), theirs).is_some() {
            return Err(format!("event_names.{ours}: another key stands for the same event"));
        }
    }
    Ok(names)
}

fn read_enrich(block: &mut Block) -> Result<EnrichPolicy, String> {
    let Some(enrich) = block.table("enrich")? else { return Ok(EnrichPolicy::default()) };
    let mut enrich = Block::new(enrich).within("enrich");
    let hosts = enrich.texts("hosts")?.unwrap_or_default();
    let events = enrich.texts("events")?.unwrap_or_else(|| ENRICHED.map(str::to_owned).to_vec());
    enrich.finish()?;
    for host in &hosts {
        let bare = host.strip_prefix("*.").unwrap_or(host);
        // A name without a dot is one of a network of one's own, where nothing is fetched from.
        if !matches!(url::Host::parse(bare), Ok(url::Host::Domain(parsed)) if parsed == bare && bare.contains('.'))
        {
            return Err(format!(
                "enrich.hosts: {host:?} is no host name, expected one like shop.example or *.shop.example"
            ));
        }
    }
    if hosts.is_empty() {
        return Err("enrich.hosts: expected the hosts whose pages may be fetched".to_owned());
    }
    let events = events.iter().map(|event| event_type(event)).collect();
    Ok(EnrichPolicy { hosts, events })
}

/// What the block says, and what the platform takes where it says nothing.
fn read_rate(rate: Table, usual: Rate) -> Result<Rate, String> {
    let mut rate = Block::new(rate).within("rate");
    let per_second = rate.count("per_second", 100_000)?.unwrap_or(usual.per_second);
    let batch = rate.count("batch", usual.batch)?.unwrap_or(usual.batch);
    rate.finish()?;
    Ok(Rate { per_second, batch })
}

fn check_url(text: &str, key: &str) -> Result<String, String> {
    let expected =
        || "expected a URL like https://host or http://127.0.0.1:9999, without user and fragment".to_owned();
    let url = Url::parse(text).map_err(|_| expected())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    // A path is appended to a base URL, and nothing to one that is whole.
    let base = key == "base_url";
    if !matches!(url.scheme(), "http" | "https")
        || !url.has_host()
        || !plain
        || (base && url.query().is_some())
    {
        return Err(expected());
    }
    if url.as_str().parse::<http::Uri>().is_err() {
        return Err(expected());
    }
    Ok(if base { url.as_str().trim_end_matches('/').to_owned() } else { url.into() })
}

fn country_code(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !(1..=3).contains(&digits.len())
        || digits.starts_with('0')
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(
            "default_country_code: expected 1 to 3 digits without a leading zero, such as \"1\" or \"44\""
                .to_owned(),
        );
    }
    Ok(digits.to_owned())
}

#[cfg(test)]
mod tests;
