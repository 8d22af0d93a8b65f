//! What a user agent says of a browser, an operating system and a kind of device, and whether it is a bot's.
//!
//! Browser and operating system come from uap-core's patterns (`regexes.yaml`; REGEXES.md says whence), the kind
//! of device from a few words in the text, bots from isbot's list. All of it is remembered for each text: a
//! product's visitors share some thousands of them.
//!
//! Every pattern is matched in linear time, whatever the text, and only the first 512 bytes are read. Measured
//! with optimisation on: 0.2 µs for a text seen before, 10 µs for a browser's never seen before, 50 µs for
//! 512 bytes made to be slow. The patterns take 55 ms and 12 MB to compile, and 13 MB more once they are used.

use std::cell::RefCell;
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;
use ua_parser::{os, user_agent};

use crate::metrics::figures;
use crate::near::{Edition, Near};
use crate::retry::Retry;

const REGEXES: &str = include_str!("regexes.yaml");

/// Bytes of a user agent that are stored.
const STORED_BYTES: usize = 1024;

/// Bytes of a user agent that are read. What browsers say of themselves ends before; the time for text never seen
/// before grows with its length.
const READ_BYTES: usize = 512;

/// Bytes of a name or version that are stored: some patterns take them from the text as they stand there.
const NAME_BYTES: usize = 64;

thread_local! {
    static NEAR: RefCell<Near<Arc<Agent>>> = RefCell::default();
}

/// Why user agents cannot be read: a defect of the patterns that the program was built with.
#[derive(Debug, Error)]
pub enum UserAgentError {
    /// They are no YAML, or not of the expected shape.
    #[error("the patterns for user agents cannot be read")]
    Unreadable(#[from] yaml_serde::Error),
    /// One of them does not compile.
    #[error("the patterns for user agents cannot be compiled")]
    Broken(#[from] ua_parser::Error),
}

impl UserAgentError {
    /// The stable name of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "user_agent_patterns_unreadable",
            Self::Broken(_) => "user_agent_patterns_broken",
        }
    }

    /// Never: the program has to be built with other patterns.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// What a user agent says. Texts are empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// `Chrome`, `Mobile Safari`, … as uap-core names it.
    pub browser: String,
    /// `120`, `17.4`: major, and minor unless it is 0.
    pub browser_version: String,
    /// `Windows`, `iOS`, … as uap-core names it.
    pub os: String,
    /// `desktop`, `mobile`, `tablet` or nothing.
    pub device: &'static str,
    /// Whether it is a known crawler, monitor, library or headless browser.
    pub bot: bool,
}

/// Reads user agents, and remembers what it has read.
pub struct UserAgents {
    seen: moka::sync::Cache<Box<str>, Arc<Agent>>,
    /// That of `seen`: always the same one, since a text says the same thing for ever.
    edition: Edition,
    reader: Arc<Reader>,
}

struct Reader {
    browsers: user_agent::Extractor<'static>,
    systems: os::Extractor<'static>,
    bots: isbot::Bots,
}

/// The part of `regexes.yaml` that is used.
#[derive(Deserialize)]
struct Patterns {
    user_agent_parsers: Vec<user_agent::Parser<'static>>,
    os_parsers: Vec<os::Parser<'static>>,
}

impl UserAgents {
    /// Compiles the patterns; `capacity` is how many user agents are remembered, each with up to about 1 KiB.
    ///
    /// # Errors
    /// When the patterns that the program was built with are broken.
    pub fn new(capacity: u64) -> Result<Self, UserAgentError> {
        let reader = Reader::compile(yaml_serde::from_str(REGEXES)?)?;
        Ok(Self::over(Arc::new(reader), capacity))
    }

    fn over(reader: Arc<Reader>, capacity: u64) -> Self {
        Self { seen: moka::sync::Cache::new(capacity), edition: Edition::new(), reader }
    }

    /// Another one with the same patterns, that remembers what it reads for itself: whoever sends made-up user agents
    /// to the one pushes nothing out of the other.
    pub fn apart(&self, capacity: u64) -> Self {
        Self::over(Arc::clone(&self.reader), capacity)
    }

    /// What `user_agent` says, of which the first 512 bytes are read.
    pub fn parse(&self, user_agent: &str) -> Arc<Agent> {
        self.known(user_agent).unwrap_or_else(|| self.learn(user_agent))
    }

    /// What `user_agent` says, if it is remembered: without the time that it takes to read one.
    pub fn known(&self, user_agent: &str) -> Option<Arc<Agent>> {
        let (text, edition) = (read_of(user_agent), self.edition.number());
        let near = NEAR.with_borrow(|near| near.get(text, edition));
        let agent = near.or_else(|| {
            let agent = self.seen.get(text)?;
            self.put_near(text, &agent);
            Some(agent)
        })?;
        figures().agent_hits.increment(1);
        Some(agent)
    }

    /// Reads `user_agent`, and remembers it.
    pub fn learn(&self, user_agent: &str) -> Arc<Agent> {
        figures().agent_misses.increment(1);
        let text = read_of(user_agent);
        let agent = Arc::new(self.reader.read(text));
        self.seen.insert(text.into(), Arc::clone(&agent));
        self.put_near(text, &agent);
        agent
    }

    fn put_near(&self, text: &str, agent: &Arc<Agent>) {
        NEAR.with_borrow_mut(|near| near.put(text, self.edition.number(), Arc::clone(agent)));
    }
}

impl Reader {
    fn compile(patterns: Patterns) -> Result<Self, ua_parser::Error> {
        let browsers = user_agent::Builder::new().push_all(patterns.user_agent_parsers)?.build()?;
        let systems = os::Builder::new().push_all(patterns.os_parsers)?.build()?;
        Ok(Self { browsers, systems, bots: isbot::Bots::default() })
    }

    fn read(&self, user_agent: &str) -> Agent {
        if user_agent.is_empty() {
            return Agent::default();
        }
        let mut agent =
            Agent { device: device(user_agent), bot: self.bots.is_bot(user_agent), ..Agent::default() };
        if let Some(browser) = self.browsers.extract(user_agent) {
            agent.browser_version = version(browser.major, browser.minor);
            agent.browser = name(&browser.family);
        }
        if let Some(system) = self.systems.extract(user_agent) {
            agent.os = name(&system.os);
        }
        agent
    }
}

/// As much of a user agent as is read.
fn read_of(user_agent: &str) -> &str {
    &user_agent[..user_agent.floor_char_boundary(READ_BYTES)]
}

/// As much of a user agent as is stored.
pub(super) fn cut(user_agent: &str) -> &str {
    &user_agent[..user_agent.floor_char_boundary(STORED_BYTES)]
}

/// uap-core's word for what it does not know is no name.
fn name(family: &str) -> String {
    let family = family.trim();
    if family == "Other" {
        String::new()
    } else {
        family[..family.floor_char_boundary(NAME_BYTES)].to_owned()
    }
}

fn version(major: Option<&str>, minor: Option<&str>) -> String {
    match (major.unwrap_or_default(), minor.unwrap_or_default()) {
        (major, "" | "0") => name(major),
        (major, minor) => name(&format!("{major}.{minor}")),
    }
}

/// The kind of device, from the words that browsers agree on. An iPad that asks for desktop pages, as they do by
/// default, says nothing that a Mac would not.
fn device(user_agent: &str) -> &'static str {
    const TELEVISIONS: &[&str] = &[
        "SmartTV",
        "SMART-TV",
        "Smart-TV",
        "AppleTV",
        "Apple TV",
        "GoogleTV",
        "Android TV",
        "HbbTV",
        "Web0S",
        "NetCast",
        "BRAVIA",
        "CrKey",
        "Roku",
        "; AFT",
        "PlayStation",
        "Xbox",
        "Nintendo",
    ];
    const TABLETS: &[&str] = &["iPad", "Tablet", "PlayBook", "Kindle", "Silk/"];
    const MOBILES: &[&str] =
        &["Mobi", "iPhone", "iPod", "Windows Phone", "Opera Mini", "BlackBerry", "BB10", "Symbian", "MIDP"];
    const DESKTOPS: &[&str] = &["Windows", "Macintosh", "X11", "CrOS", "Linux"];
    let says = |words: &[&str]| words.iter().any(|word| user_agent.contains(word));
    if says(TELEVISIONS) {
        ""
    } else if says(TABLETS) {
        "tablet"
    } else if says(MOBILES) {
        "mobile"
    } else if user_agent.contains("Android") {
        // Android phones say "Mobile".
        "tablet"
    } else if says(DESKTOPS) {
        "desktop"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static AGENTS: LazyLock<UserAgents> = LazyLock::new(|| UserAgents::new(100).unwrap());

    /// Browser, version, operating system, device, bot.
    type Said = (&'static str, &'static str, &'static str, &'static str, bool);

    const COMMON: &[(&str, Said)] = &[
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Safari/537.36",
            ("Chrome", "120", "Windows", "desktop", false),
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Version/17.4 Safari/605.1.15",
            ("Safari", "17.4", "Mac OS X", "desktop", false),
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
            ("Firefox", "121", "Linux", "desktop", false),
        ),
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Safari/537.36 Edg/120.0.2210.91",
            ("Edge", "120", "Chrome OS", "desktop", false),
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
             Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
            ("Mobile Safari", "17.4", "iOS", "mobile", false),
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Version/12.1.2 Mobile/15E148 Safari/604.1",
            ("Mobile Safari", "12.1", "iOS", "tablet", false),
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Mobile Safari/537.36",
            ("Chrome Mobile", "120", "Android", "mobile", false),
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Safari/537.36",
            ("Chrome", "120", "Android", "tablet", false),
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; AFTMM) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Mobile Safari/537.36",
            ("Chrome Mobile", "120", "Android", "", false),
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            ("Googlebot", "2.1", "", "", true),
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             HeadlessChrome/120.0.0.0 Safari/537.36",
            ("HeadlessChrome", "120", "Linux", "desktop", true),
        ),
        ("curl/8.5.0", ("curl", "8.5", "", "", true)),
        ("", ("", "", "", "", false)),
        ("nonsense", ("", "", "", "", false)),
    ];

    #[test]
    fn common_user_agents_are_read() {
        for (text, expected) in COMMON {
            for agent in [AGENTS.parse(text), AGENTS.parse(text)] {
                let Agent { browser, browser_version, os, device, bot } = &*agent;
                assert_eq!((&**browser, &**browser_version, &**os, *device, *bot), *expected, "{text}");
            }
        }
    }

    #[test]
    fn a_user_agent_is_read_once() {
        let agents = UserAgents::new(10).unwrap();
        let first = agents.parse("Firefox/1.0");
        assert!(Arc::ptr_eq(&first, &agents.parse("Firefox/1.0")));
        let elsewhere =
            std::thread::scope(|scope| scope.spawn(|| agents.parse("Firefox/1.0")).join().unwrap());
        assert!(Arc::ptr_eq(&first, &elsewhere), "by all threads");
        assert!(!Arc::ptr_eq(&first, &agents.parse("Firefox/2.0")));
        let long = "é".repeat(READ_BYTES);
        assert!(Arc::ptr_eq(&agents.parse(&long), &agents.parse(&format!("{long}, but longer"))));
    }

    #[test]
    fn what_is_read_apart_pushes_nothing_out() {
        let pages = UserAgents::new(10).unwrap();
        let backends = pages.apart(10);
        let first = pages.parse("Firefox/1.0");
        assert_eq!(backends.known("Firefox/1.0"), None, "nothing is known of the other one");
        let flood = || {
            for number in 0..10_000 {
                backends.parse(&format!("Firefox/{number}.0"));
            }
            pages.known("Firefox/1.0")
        };
        assert!(Arc::ptr_eq(&first, &flood().expect("it is still remembered")));
        let count = |agents: &UserAgents| {
            agents.seen.run_pending_tasks();
            agents.seen.entry_count()
        };
        assert_eq!((count(&pages), count(&backends)), (1, 10));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut(&"x".repeat(1_024)).len(), 1_024);
        assert_eq!(cut(&"x".repeat(1_025)).len(), 1_024);
        assert_eq!(cut(&format!("x{}", "é".repeat(600))).len(), 1_023);
        let agent = AGENTS.reader.read(&format!(
            "Mozilla/5.0 (Linux; Android {}) {}/1",
            "9".repeat(200),
            "B".repeat(200)
        ));
        for text in [agent.browser, agent.browser_version, agent.os] {
            assert!(text.len() <= NAME_BYTES, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            AGENTS.parse(&text);
            AGENTS.parse(&format!("Mozilla/5.0 ({text}) Version/{text} Safari/{text}"));
        }
    }
}
