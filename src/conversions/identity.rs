//! Who somebody is, normalised and hashed as a platform wants it, before anything is written.

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
    /// The same without digits and symbols.
    LettersOnly,
}
