//! Google's consent signals, which its APIs spell in different ways.

use std::collections::BTreeMap;

use crate::conversions::ConsentSignals;

/// The signals that are known, as one of the APIs wants them.
pub(super) type Consent = BTreeMap<&'static str, &'static str>;

/// How an API spells them.
pub(super) struct Spelling {
    pub(super) ad_user_data: &'static str,
    pub(super) ad_personalization: &'static str,
    pub(super) granted: &'static str,
    pub(super) denied: &'static str,
}

impl Spelling {
    /// The signals as they were given. Data that is to be used in a limited way is for no personal ads, whatever was
    /// agreed to.
    pub(super) fn spell(&self, signals: ConsentSignals) -> Consent {
        let personalization = if signals.limited_use { Some(false) } else { signals.ad_personalization };
        let spelt = |name: &'static str, signal: Option<bool>| {
            signal.map(|granted| (name, if granted { self.granted } else { self.denied }))
        };
        let known =
            [spelt(self.ad_user_data, signals.ad_user_data), spelt(self.ad_personalization, personalization)];
        known.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPELLING: Spelling =
        Spelling { ad_user_data: "data", ad_personalization: "person", granted: "yes", denied: "no" };

    #[test]
    fn signals_are_spelt_and_limited_use_denies_personal_ads() {
        for (ad_user_data, ad_personalization, limited_use, expected) in [
            (None, None, false, vec![]),
            (Some(true), Some(false), false, vec![("data", "yes"), ("person", "no")]),
            (Some(false), Some(true), false, vec![("data", "no"), ("person", "yes")]),
            (Some(true), Some(true), true, vec![("data", "yes"), ("person", "no")]),
            (None, None, true, vec![("person", "no")]),
        ] {
            let signals = ConsentSignals { ad_user_data, ad_personalization, limited_use };
            assert_eq!(SPELLING.spell(signals), expected.into_iter().collect(), "{signals:?}");
        }
    }
}
