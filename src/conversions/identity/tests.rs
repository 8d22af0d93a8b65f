use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const VECTORS: &str = include_str!("../../../tests/vectors/pii.json");

const ALL: [IdentityRules; 4] =
    [IdentityRules::META, IdentityRules::TIKTOK, IdentityRules::GOOGLE_ADS, IdentityRules::GA4];

#[derive(Deserialize)]
struct Vector {
    profile: String,
    input: String,
    normalized: Option<String>,
    sha256: String,
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Every digest that the rules make of one text.
fn digests(text: &str) -> Vec<Option<String>> {
    let of = |rules: &IdentityRules| {
        [rules.email(text), rules.phone(text, None), rules.phone(text, Some("49")), rules.name(text)]
    };
    let mut digests: Vec<_> = ALL.iter().flat_map(of).collect();
    digests.push(external_id(text));
    digests
}

#[test]
fn every_vector_is_met() {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors.len(), 16);
    for Vector { profile, input, normalized, sha256: expected } in vectors {
        let made = match profile.as_str() {
            "email" => vec![IdentityRules::META.email(&input), IdentityRules::TIKTOK.email(&input)],
            "phone_digits" => vec![IdentityRules::META.phone(&input, None)],
            "phone_e164" => {
                let of = |rules: IdentityRules| rules.phone(&input, None);
                vec![of(IdentityRules::TIKTOK), of(IdentityRules::GOOGLE_ADS), of(IdentityRules::GA4)]
            }
            "name_meta" => vec![IdentityRules::META.name(&input)],
            "ext_id" => vec![external_id(&input)],
            "*" => digests(&input),
            other => panic!("no rule of the name {other}"),
        };
        for digest in made {
            assert_eq!(digest.as_ref(), Some(&expected), "{profile} {input}");
        }
        if let Some(normal) = normalized {
            assert_eq!(sha256(&normal), expected, "{normal}");
        }
    }
}

#[test]
fn an_address_is_normalised_as_its_platform_compares_it() {
    for (given, plain, google) in [
        (" Jane.Doe@Gmail.COM\t", "jane.doe@gmail.com", "janedoe@gmail.com"),
        ("J.A.N.E.@googlemail.com", "j.a.n.e.@googlemail.com", "jane@googlemail.com"),
        ("jane.doe+tag@gmail.com", "jane.doe+tag@gmail.com", "janedoe+tag@gmail.com"),
        ("jane.doe@example.com", "jane.doe@example.com", "jane.doe@example.com"),
        ("j.d@mail.gmail.com", "j.d@mail.gmail.com", "j.d@mail.gmail.com"),
        ("j.d@gmail.com.example", "j.d@gmail.com.example", "j.d@gmail.com.example"),
        ("jane doe@example.com", "jane doe@example.com", "janedoe@example.com"),
        ("j.d@gmail. com", "j.d@gmail. com", "jd@gmail.com"),
        ("\u{feff}JÜRGEN@example.com\u{a0}", "jürgen@example.com", "jürgen@example.com"),
        ("no.address", "no.address", "no.address"),
    ] {
        assert_eq!(IdentityRules::META.email(given), Some(sha256(plain)), "{given}");
        assert_eq!(IdentityRules::TIKTOK.email(given), Some(sha256(plain)), "{given}");
        assert_eq!(IdentityRules::GOOGLE_ADS.email(given), Some(sha256(google)), "{given}");
        assert_eq!(IdentityRules::GA4.email(given), Some(sha256(google)), "{given}");
    }
}

#[test]
fn a_phone_number_is_normalised_as_its_platform_compares_it() {
    for (given, code, digits, e164) in [
        ("+1 (650) 555-1212", None, "16505551212", "+16505551212"),
        ("001 650 555 1212", None, "16505551212", "+16505551212"),
        // It names its country: none is added.
        ("+1 (650) 555-1212", Some("49"), "16505551212", "+16505551212"),
        ("0049 30 123456", Some("1"), "4930123456", "+4930123456"),
        ("(+49) 30 123456", Some("1"), "4930123456", "+4930123456"),
        ("+0049 30 123456", None, "4930123456", "+4930123456"),
        // It does not.
        ("030 123456", Some("49"), "4930123456", "+4930123456"),
        ("(650) 555-1212", Some("1"), "16505551212", "+16505551212"),
        // Ten digits that begin with the code are a number without it, eleven are one with it.
        ("1505551212", Some("1"), "11505551212", "+11505551212"),
        ("1 650 555 1212", Some("1"), "16505551212", "+16505551212"),
        ("01 650 555 1212", Some("1"), "16505551212", "+16505551212"),
        ("20 650 555 1212", Some("1"), "120650 555 1212", "+1206505551212"),
        // Nothing is known of it.
        ("030 123456", None, "30123456", "+030123456"),
        ("16161729102", None, "16161729102", "+16161729102"),
        // In other scripts.
        ("٠٣٠ ١٢٣٤٥٦", Some("49"), "4930123456", "+4930123456"),
        ("＋４９ ３０ １２３４５６", Some("1"), "4930123456", "+4930123456"),
        ("۰۰۴۹ ३० ১২৩456", None, "4930123456", "+4930123456"),
    ] {
        let digits = digits.replace(' ', "");
        assert_eq!(IdentityRules::META.phone(given, code), Some(sha256(&digits)), "{given} {code:?}");
        for rules in [IdentityRules::TIKTOK, IdentityRules::GOOGLE_ADS, IdentityRules::GA4] {
            assert_eq!(rules.phone(given, code), Some(sha256(e164)), "{given} {code:?}");
        }
    }
}

#[test]
fn a_name_is_normalised_as_its_platform_compares_it() {
    for (given, meta, tiktok, google_ads, ga4) in [
        (" Mary Ann ", "maryann", "maryann", "mary ann", "mary ann"),
        ("O'Brien", "obrien", "o'brien", "o'brien", "o'brien"),
        ("Smith-Jones 3rd", "smithjones3rd", "smith-jones3rd", "smith-jones 3rd", "smithjones rd"),
        ("Vale\u{301}ry", "valéry", "valéry", "valéry", "valéry"),
        ("(7) Jane [x] 7", "7janex7", "(7)jane[x]7", "(7) jane [x] 7", "jane x"),
        ("ΑΛΈΞΗΣ", "αλέξης", "αλέξης", "αλέξης", "αλέξης"),
        ("ΑΛΈΞΗΣ Π", "αλέξησπ", "αλέξησπ", "αλέξης π", "αλέξης π"),
        ("정", "정", "정", "정", "정"),
        ("क्षितिज", "क्षितिज", "क्षितिज", "क्षितिज", "क्षितिज"),
    ] {
        assert_eq!(IdentityRules::META.name(given), Some(sha256(meta)), "{given}");
        assert_eq!(IdentityRules::TIKTOK.name(given), Some(sha256(tiktok)), "{given}");
        assert_eq!(IdentityRules::GOOGLE_ADS.name(given), Some(sha256(google_ads)), "{given}");
        assert_eq!(IdentityRules::GA4.name(given), Some(sha256(ga4)), "{given}");
    }
}

#[test]
fn of_nothing_there_is_no_digest() {
    for text in ["", " ", "\t\u{a0}\u{feff}\n"] {
        assert!(digests(text).iter().all(Option::is_none), "{text:?}");
    }
    for (rules, text) in ALL.iter().flat_map(|rules| [(rules, "ext."), (rules, "+"), (rules, "000")]) {
        assert_eq!(rules.phone(text, Some("49")), None, "{text}");
        assert_eq!(rules.phone(text, None), None, "{text}");
    }
    assert_eq!(IdentityRules::META.name(" .-' "), None);
    assert_eq!(IdentityRules::GA4.name("12 34"), None);
}

#[test]
fn only_64_hexadecimal_digits_and_nothing_else_are_a_digest() {
    let digest = "62A14E44F765419D10FEA99367361A727C12365E2520F32218D505ED9AA0F62F";
    for given in [digest.to_owned(), format!("  {digest}\n"), digest.to_lowercase()] {
        assert!(digests(&given).iter().all(|made| *made == Some(digest.to_lowercase())), "{given}");
    }
    let full_width = digest.replace('6', "６");
    for given in [
        &digest[1..],
        &format!("{digest}0"),
        &format!("sha256:{digest}"),
        &format!("{digest}\n{digest}"),
        &format!("{} {}", &digest[..32], &digest[32..]),
        &digest.replace('F', "G"),
        &full_width,
    ] {
        let lower = given.to_lowercase();
        assert_eq!(IdentityRules::META.email(given), Some(sha256(&lower)), "{given}");
        let made = digests(given);
        assert!(made.iter().flatten().all(|made| !lower.contains(made.as_str())), "{given}");
    }
}

proptest! {
    #[test]
    fn a_digest_is_64_lower_case_digits_and_is_never_hashed_again(text in "\\PC{0,40}|[ +0-9().-]{0,30}") {
        for digest in digests(&text).into_iter().flatten() {
            prop_assert_eq!(digest.len(), 64);
            prop_assert!(digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
            for again in digests(&format!(" {}\n", digest.to_uppercase())) {
                prop_assert_eq!(again.as_ref(), Some(&digest));
            }
        }
    }

    #[test]
    fn case_and_outer_space_make_no_difference(text in "[a-zA-Z0-9äÖéß'.@+ -]{0,40}", space in "[ \t\n\u{a0}\u{feff}]{0,4}") {
        let lower = text.to_lowercase();
        prop_assert_eq!(digests(&text), digests(&lower));
        prop_assert_eq!(digests(&text), digests(&format!("{space}{text}{space}")));
    }

    #[test]
    fn how_an_accent_is_written_makes_no_difference(text in "[a-zäöüéñçåŁệ가 ]{0,20}") {
        prop_assert_eq!(digests(&text), digests(&text.nfd().collect::<String>()));
    }

    #[test]
    fn what_stands_around_digits_makes_no_difference(digits in "[0-9]{1,15}", signs in "[ ().-]{1,15}", plus in any::<bool>()) {
        let plus = if plus { "+" } else { "" };
        let mut signs = signs.chars().cycle();
        let spread: String = digits.chars().flat_map(|digit| [digit, signs.next().unwrap_or(' ')]).collect();
        for (rules, code) in ALL.iter().flat_map(|rules| [(rules, None), (rules, Some("1"))]) {
            let (plain, spread) = (format!("{plus}{digits}"), format!("{plus}{spread}"));
            prop_assert_eq!(rules.phone(&plain, code), rules.phone(&spread, code));
        }
    }
}
