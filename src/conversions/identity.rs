//! Who somebody is, normalised and hashed as a platform wants it, before anything is written.
//!
//! ```text
//! text ─► NFC ─► trim ─► 64 hexadecimal digits? ─ yes ─► in lower case
//!                                 └─ no ─► normalise ─► SHA-256 ─► 64 hexadecimal digits
//! ```
//!
//! Platforms find somebody by comparing digests, so a text that is normalised in another way than theirs finds nobody.
//! What somebody else has hashed is not hashed again. A text of which nothing is left gives no digest: that of nothing
//! would be the same for everybody.
//!
//! White space is what Unicode calls so, and U+FEFF, which JavaScript trims as well. In phone numbers the decimal digits
//! of every script count, as keyboards of Arabic, Persian or full-width Japanese write them.

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// Where Gmail delivers alike with and without dots.
const GMAIL: [&str; 2] = ["gmail.com", "googlemail.com"];

/// Digits of a phone number from which on it may begin with the code of its country although nothing says so.
const LONGEST_NATIONAL: usize = 10;

/// What Google's own script removes from names besides digits. Apostrophes and quotation marks stay: `o'brien` is found
/// only by a digest that has one.
const SYMBOLS: &str = "`~!@#$%^&*()_-+=:;<>,.?|/\\[]";

/// The zeros of the Basic Multilingual Plane's decimal digits but for ASCII's own; nine more follow on each.
const ZEROS: [u32; 36] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// How a platform wants identifiers normalised before they are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityRules {
    /// For e-mail addresses.
    pub email: EmailRule,
    /// For phone numbers.
    pub phone: PhoneRule,
    /// For first and last names.
    pub names: NameRule,
}

/// How an e-mail address is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailRule {
    /// Trimmed, in lower case.
    Plain,
    /// The same without white space, and without dots before `@gmail.com` and `@googlemail.com`.
    Google,
}

/// How a phone number is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhoneRule {
    /// Digits, without leading zeros.
    Digits,
    /// A plus sign and digits.
    E164,
}

/// How a name is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Lower case without white space and ASCII punctuation, accents kept.
    NoPunctuation,
    /// Lower case without white space.
    NoSpace,
    /// Trimmed, in lower case.
    Trimmed,
    /// The same without digits and the symbols that Google's own script removes; apostrophes stay.
    LettersOnly,
}

impl IdentityRules {
    /// Those of meta, snapchat and pinterest.
    pub const META: Self =
        Self { email: EmailRule::Plain, phone: PhoneRule::Digits, names: NameRule::NoPunctuation };
    /// Those of tiktok and twitter.
    pub const TIKTOK: Self =
        Self { email: EmailRule::Plain, phone: PhoneRule::E164, names: NameRule::NoSpace };
    /// Those of `google_ads`.
    pub const GOOGLE_ADS: Self =
        Self { email: EmailRule::Google, phone: PhoneRule::E164, names: NameRule::Trimmed };
    /// Those of ga4.
    pub const GA4: Self =
        Self { email: EmailRule::Google, phone: PhoneRule::E164, names: NameRule::LettersOnly };

    /// The digest of an e-mail address.
    pub fn email(&self, text: &str) -> Option<String> {
        digest(text, |text| match self.email {
            EmailRule::Plain => text.to_lowercase(),
            EmailRule::Google => google_email(&without_space(text).to_lowercase()),
        })
    }

    /// The digest of a phone number. One that begins with `+` or `00` names its country; to any other that of
    /// `default_country_code`, which is digits, is added, unless it seems to be there already.
    pub fn phone(&self, text: &str, default_country_code: Option<&str>) -> Option<String> {
        digest(text, |text| {
            let number = Phone::read(text).with_country(default_country_code);
            let significant = number.digits.trim_start_matches('0');
            match self.phone {
                _ if significant.is_empty() => String::new(),
                PhoneRule::Digits => significant.to_owned(),
                PhoneRule::E164 => format!("+{}", number.digits),
            }
        })
    }

    /// The digest of a first or a last name.
    pub fn name(&self, text: &str) -> Option<String> {
        // What is removed goes first: which sigma ends a word is seen when it is put in lower case.
        digest(text, |text| match self.names {
            NameRule::NoPunctuation => {
                without_space(text).replace(|c: char| c.is_ascii_punctuation(), "").to_lowercase()
            }
            NameRule::NoSpace => without_space(text).to_lowercase(),
            NameRule::Trimmed => text.to_lowercase(),
            NameRule::LettersOnly => {
                let removed = |c: char| c.is_ascii_digit() || SYMBOLS.contains(c);
                trimmed(&text.replace(removed, "")).to_lowercase()
            }
        })
    }
}

/// The digest of an external id, the same for every platform that takes one.
pub fn external_id(text: &str) -> Option<String> {
    digest(text, |text| without_space(text).to_lowercase())
}

/// The digest of what `normalise` leaves of a text, or the one that the text already is.
fn digest(text: &str, normalise: impl FnOnce(&str) -> String) -> Option<String> {
    let text: String = text.nfc().collect();
    let text = trimmed(&text);
    if is_digest(text) {
        return Some(text.to_ascii_lowercase());
    }
    let normal = normalise(text);
    (!normal.is_empty()).then(|| hex(&Sha256::digest(normal)))
}

/// Whether a text is what somebody else has hashed.
pub(super) fn is_digest(text: &str) -> bool {
    let text = trimmed(text);
    text.len() == DIGEST_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(is_space)
}

pub(super) fn without_space(text: &str) -> String {
    text.replace(is_space, "")
}

/// An address in lower case without white space, as Google compares it.
fn google_email(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) if GMAIL.contains(&domain) => format!("{}@{domain}", local.replace('.', "")),
        _ => address.to_owned(),
    }
}

/// A phone number without all that is written around its digits.
struct Phone {
    digits: String,
    names_country: bool,
}

impl Phone {
    fn read(text: &str) -> Self {
        let digits: String = text.chars().filter_map(decimal).collect();
        // Brackets and words may stand before the plus sign, as in `(+49) 30 123456`.
        let first = text.chars().find(|c| is_plus(*c) || decimal(*c).is_some());
        let names_country = first.is_some_and(is_plus) || digits.starts_with("00");
        // No country's code begins with a zero.
        let digits = if names_country { digits.trim_start_matches('0').to_owned() } else { digits };
        Self { digits, names_country }
    }

    fn with_country(self, code: Option<&str>) -> Self {
        let Some(code) = code.filter(|_| !self.names_country) else { return self };
        let national = self.digits.trim_start_matches('0');
        let has_it = national.len() > LONGEST_NATIONAL && national.starts_with(code);
        let digits = match national {
            "" => String::new(),
            _ if has_it => national.to_owned(),
            _ => format!("{code}{national}"),
        };
        Self { digits, names_country: true }
    }
}

fn is_plus(c: char) -> bool {
    matches!(c, '+' | '＋')
}

/// The ASCII digit that stands for the same number.
pub(super) fn decimal(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    let above = ZEROS.iter().filter_map(|zero| u32::from(c).checked_sub(*zero)).min()?;
    char::from_digit(above, 10)
}

#[cfg(test)]
mod tests;
