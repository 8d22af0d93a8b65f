//! Whether somebody has agreed to being told of; if in doubt, they have not.
//!
//! | said | required | not required |
//! | --- | --- | --- |
//! | nothing | denied, `missing` | allowed |
//! | `granted` or `raw` agrees to what is wanted | allowed | allowed |
//! | it does not | denied, `not_granted` | denied, `not_granted` |
//! | the two differ on what is wanted | denied, `contradiction` | denied, `contradiction` |
//! | `raw` cannot be read | denied, `malformed` | denied, `malformed` |
//!
//! `granted` and `raw` are the words on consent; `gpc` and `google` are none, they say how data may be used.
//!
//! # Global Privacy Control
//!
//! The signal asks that personal data be neither sold nor shared with third parties (W3C, Global Privacy Control), and
//! the law of California (Civil Code 1798.135, 11 CCR 7025) and of other states makes that binding, also against what a
//! site has been allowed otherwise. It is no objection to measurement by somebody who works for the site alone, and
//! platforms offer just that: under Meta's Limited Data Use and its kin they are service providers. So the conversion is
//! forwarded with [`limited_use`](ConsentSignals::limited_use) set, and with Google's `ad_personalization` denied
//! whatever `consent.google` says. Where a platform has no such flag it is denied, `opted_out`.

use thiserror::Error;

use super::ConsentSignals;
use crate::retry::Retry;

/// When a conversion may be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentPolicy {
    /// Whether an event without any word of consent is denied.
    pub required: bool,
    /// What has to be agreed to.
    pub categories: Vec<String>,
    /// Whether one of the categories is enough.
    pub matching: Matching,
}

/// How many of the categories have to be agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// One of them.
    Any,
    /// Every one.
    All,
}

/// Whether a platform can be asked to use what it is told in a limited way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedUse {
    /// It has a word for it.
    Possible,
    /// It has none.
    Unknown,
}

/// What an event says of consent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentConsent {
    /// The categories that were agreed to.
    pub granted: Option<Vec<String>>,
    /// The value of the cookie `_sw_consent`: the same, separated by commas and URL-encoded.
    pub raw: Option<String>,
    /// Global Privacy Control: neither sell nor share.
    pub gpc: Option<bool>,
    /// Google's own signals.
    pub google: GoogleConsent,
}

/// Google's consent signals; `None` where one was not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoogleConsent {
    /// Whether user data may be sent to Google for advertising.
    pub ad_user_data: Option<bool>,
    /// Whether advertising may be personalised.
    pub ad_personalization: Option<bool>,
}

/// Why a conversion is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// There is no word of consent, and one is required.
    #[error("nothing is said of consent, which is required")]
    Missing,
    /// It does not cover what is wanted.
    #[error("the consent does not cover what the integration wants")]
    NotGranted,
    /// The list and the cookie say different things.
    #[error("consent.granted and consent.raw contradict each other")]
    Contradiction,
    /// The cookie cannot be read.
    #[error("consent.raw is not URL-encoded text")]
    Malformed,
    /// The browser asks that nothing be shared, and the platform knows no limited use.
    #[error(
        "consent.gpc asks that nothing be shared, and the platform cannot be asked to use it in a limited way"
    )]
    OptedOut,
}

impl Denied {
    /// The stable word for it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotGranted => "not_granted",
            Self::Contradiction => "contradiction",
            Self::Malformed => "malformed",
            Self::OptedOut => "opted_out",
        }
    }

    /// The same event is denied again.
    pub const fn retry(self) -> Retry {
        Retry::Never
    }
}

impl ConsentPolicy {
    /// Decides whether a conversion may be told, and what its platform is told of the consent. A policy without
    /// categories wants what nobody can grant.
    pub fn decide(&self, consent: &SentConsent, platform: LimitedUse) -> Result<ConsentSignals, Denied> {
        let listed =
            consent.granted.as_deref().map(|granted| Granted::of(granted.iter().map(String::as_str)));
        let cookie = consent.raw.as_deref().map(Granted::read).transpose()?;
        match (&listed, &cookie) {
            (None, None) if self.required => return Err(Denied::Missing),
            (None, None) => {}
            (Some(listed), Some(cookie)) if self.wanted().any(|it| listed.has(&it) != cookie.has(&it)) => {
                return Err(Denied::Contradiction);
            }
            (Some(granted), _) | (None, Some(granted)) if self.is_satisfied(granted) => {}
            _ => return Err(Denied::NotGranted),
        }
        let opted_out = consent.gpc == Some(true);
        if opted_out && platform == LimitedUse::Unknown {
            return Err(Denied::OptedOut);
        }
        Ok(ConsentSignals {
            ad_user_data: consent.google.ad_user_data,
            ad_personalization: if opted_out { Some(false) } else { consent.google.ad_personalization },
            limited_use: opted_out,
        })
    }

    fn wanted(&self) -> impl Iterator<Item = String> {
        self.categories.iter().map(|category| comparable(category))
    }

    fn is_satisfied(&self, granted: &Granted) -> bool {
        match self.matching {
            Matching::Any => self.wanted().any(|it| granted.has(&it)),
            Matching::All => !self.categories.is_empty() && self.wanted().all(|it| granted.has(&it)),
        }
    }
}

/// The categories that were agreed to, as they are compared.
struct Granted(Vec<String>);

impl Granted {
    fn of<'a>(categories: impl Iterator<Item = &'a str>) -> Self {
        Self(categories.map(comparable).collect())
    }

    fn read(cookie: &str) -> Result<Self, Denied> {
        let text = url_decoded(cookie).ok_or(Denied::Malformed)?;
        Ok(Self::of(text.split(',')))
    }

    fn has(&self, category: &str) -> bool {
        self.0.iter().any(|granted| granted == category)
    }
}

fn comparable(category: &str) -> String {
    category.trim().to_lowercase()
}

/// Undoes `encodeURIComponent`, for which a plus sign is a plus sign; `None` where an escape is cut off or makes no
/// UTF-8.
fn url_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests;
