use proptest::prelude::*;

use super::*;

/// What `granted` and `raw` say, and what follows.
type Case = (Option<&'static [&'static str]>, Option<&'static str>, Result<(), Denied>);

fn policy(required: bool, categories: &[&str], matching: Matching) -> ConsentPolicy {
    ConsentPolicy { required, categories: categories.iter().map(|&it| it.to_owned()).collect(), matching }
}

fn marketing(required: bool) -> ConsentPolicy {
    policy(required, &["marketing"], Matching::Any)
}

fn said(granted: Option<&[&str]>, raw: Option<&str>) -> SentConsent {
    SentConsent {
        granted: granted.map(|granted| granted.iter().map(|&it| it.to_owned()).collect()),
        raw: raw.map(str::to_owned),
        ..SentConsent::default()
    }
}

#[test]
fn only_silence_depends_on_whether_consent_is_required() {
    assert_eq!(marketing(true).decide(&SentConsent::default(), LimitedUse::Possible), Err(Denied::Missing));
    assert_eq!(
        marketing(false).decide(&SentConsent::default(), LimitedUse::Possible),
        Ok(ConsentSignals::default())
    );
    let cases: [Case; 18] = [
        (Some(&["marketing"]), None, Ok(())),
        (None, Some("marketing"), Ok(())),
        (Some(&["marketing"]), Some("marketing"), Ok(())),
        (Some(&["analytics", " Marketing "]), None, Ok(())),
        (None, Some("analytics%2C%20MARKETING"), Ok(())),
        (None, Some("analytics, marketing"), Ok(())),
        // They differ, but not on what is wanted.
        (Some(&["marketing", "analytics"]), Some("marketing"), Ok(())),
        (Some(&[]), None, Err(Denied::NotGranted)),
        (None, Some(""), Err(Denied::NotGranted)),
        (Some(&["analytics"]), None, Err(Denied::NotGranted)),
        (None, Some("analytics"), Err(Denied::NotGranted)),
        (None, Some("marketing+analytics"), Err(Denied::NotGranted)),
        (None, Some("no-marketing,marketing2"), Err(Denied::NotGranted)),
        (Some(&["marketing"]), Some("analytics"), Err(Denied::Contradiction)),
        (Some(&[]), Some("marketing"), Err(Denied::Contradiction)),
        (None, Some("marketing%2"), Err(Denied::Malformed)),
        (None, Some("marketing,%ff"), Err(Denied::Malformed)),
        (Some(&["marketing"]), Some("marketing%,"), Err(Denied::Malformed)),
    ];
    for (granted, raw, expected) in cases {
        for required in [true, false] {
            let decided = marketing(required).decide(&said(granted, raw), LimitedUse::Possible).map(drop);
            assert_eq!(decided, expected, "{granted:?} {raw:?} {required}");
        }
    }
}

#[test]
fn one_category_is_enough_or_all_are_needed() {
    let (one, both) = (said(Some(&["ads"]), None), said(Some(&["marketing", "ads"]), None));
    let categories = ["Marketing ", "ads"];
    assert!(policy(true, &categories, Matching::Any).decide(&one, LimitedUse::Possible).is_ok());
    assert_eq!(
        policy(true, &categories, Matching::All).decide(&one, LimitedUse::Possible),
        Err(Denied::NotGranted)
    );
    assert!(policy(true, &categories, Matching::All).decide(&both, LimitedUse::Possible).is_ok());
    // A contradiction on one of two is one, even where the other would do.
    let differing = said(Some(&["ads"]), Some("marketing,ads"));
    assert_eq!(
        policy(true, &categories, Matching::Any).decide(&differing, LimitedUse::Possible),
        Err(Denied::Contradiction)
    );
}

#[test]
fn nobody_grants_what_has_no_name() {
    for matching in [Matching::Any, Matching::All] {
        let nothing = policy(false, &[], matching);
        assert_eq!(
            nothing.decide(&said(Some(&["marketing"]), None), LimitedUse::Possible),
            Err(Denied::NotGranted)
        );
        assert!(nothing.decide(&SentConsent::default(), LimitedUse::Possible).is_ok());
    }
}

#[test]
fn signals_are_passed_on_and_an_opt_out_wins() {
    let google = GoogleConsent { ad_user_data: Some(true), ad_personalization: Some(true) };
    let mut consent = SentConsent { google, ..said(Some(&["marketing"]), None) };
    let mut expected =
        ConsentSignals { ad_user_data: Some(true), ad_personalization: Some(true), limited_use: false };
    assert_eq!(marketing(true).decide(&consent, LimitedUse::Possible), Ok(expected));
    consent.gpc = Some(false);
    assert_eq!(marketing(true).decide(&consent, LimitedUse::Possible), Ok(expected));
    consent.gpc = Some(true);
    (expected.ad_personalization, expected.limited_use) = (Some(false), true);
    assert_eq!(marketing(true).decide(&consent, LimitedUse::Possible), Ok(expected));
    assert_eq!(marketing(true).decide(&consent, LimitedUse::Unknown), Err(Denied::OptedOut));
    // Neither is a word of consent.
    consent.granted = None;
    assert_eq!(marketing(true).decide(&consent, LimitedUse::Possible), Err(Denied::Missing));
    assert_eq!(marketing(false).decide(&consent, LimitedUse::Possible), Ok(expected));
}

#[test]
fn codes_are_distinct() {
    let all =
        [Denied::Missing, Denied::NotGranted, Denied::Contradiction, Denied::Malformed, Denied::OptedOut];
    assert_eq!(all.map(Denied::code), ["missing", "not_granted", "contradiction", "malformed", "opted_out"]);
}

proptest! {
    /// Whatever is said, only the wanted word lets a conversion through.
    #[test]
    fn nothing_but_the_wanted_word_grants(
        granted in prop::option::of(prop::collection::vec("[a-z, %]{0,10}", 0..4)),
        raw in prop::option::of("[a-z,%0-9A-F ]{0,30}"),
    ) {
        let consent = SentConsent { granted, raw, ..SentConsent::default() };
        prop_assert!(marketing(true).decide(&consent, LimitedUse::Possible).is_err());
    }

    #[test]
    fn an_encoded_list_is_read_as_the_list(names in prop::collection::vec("[a-zé ß%&=+]{1,8}", 1..5)) {
        let encode = |byte: u8| format!("%{byte:02X}");
        let raw: String = names.join(",").bytes().map(encode).collect();
        let read = Granted::read(&raw).expect("well-formed");
        for name in &names {
            prop_assert!(read.has(&comparable(name)));
        }
    }
}
