//! Prices and currencies as pages write them. What could be read in two ways is not read at all.

use serde_json::{Number, Value};

use crate::conversions::wire::currency;

/// Digits before the decimal separator.
const MOST_DIGITS: usize = 12;

/// What one of something costs.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Offer {
    /// Over zero, in units of the currency.
    pub(in super::super) price: Number,
    /// ISO 4217, in capitals.
    pub(in super::super) currency: String,
}

impl Offer {
    /// The offer of a price and a currency that were found together.
    pub(super) fn read(price: &Value, currency: &Value) -> Option<Self> {
        let price = match price {
            Value::String(text) => read_price(text)?,
            Value::Number(number) => read_price(&number.to_string())?,
            _ => return None,
        };
        Some(Self { price, currency: currency::code(currency.as_str()?.trim())? })
    }
}

/// Reads digits, with groups of three and decimals where it is plain which is which. `1.234` may be a thousand or
/// one, by who wrote it, and is nothing; so is zero, which stands for a price that is not shown.
fn read_price(text: &str) -> Option<Number> {
    let text = text.trim();
    let (whole, decimals) = match (text.rfind(['.', ',']), text.matches(['.', ',']).count()) {
        (None, _) => (text.to_owned(), ""),
        (Some(at), 1) => (text.get(..at)?.to_owned(), unambiguous(text.get(at + 1..)?)?),
        (Some(at), _) => {
            let (last, group) = (text.get(at..=at)?, text.find(['.', ',']).and_then(|at| text.get(at..=at))?);
            if last == group {
                (join(text, group)?, "")
            } else {
                (join(text.get(..at)?, group)?, unambiguous(text.get(at + 1..)?)?)
            }
        }
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > MOST_DIGITS || !digits(&whole) || !digits(decimals) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let decimals = decimals.trim_end_matches('0');
    let plain = if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") };
    plain.parse().ok().filter(|price: &Number| price.as_f64().is_some_and(|price| price > 0.0))
}

/// Decimals that are no group of three digits.
fn unambiguous(decimals: &str) -> Option<&str> {
    (!decimals.is_empty() && decimals.len() != 3).then_some(decimals)
}

/// The digits of groups of three.
fn join(text: &str, separator: &str) -> Option<String> {
    let (first, groups) = text.split_once(separator)?;
    let sound = (1..=3).contains(&first.len()) && groups.split(separator).all(|group| group.len() == 3);
    sound.then(|| text.replace(separator, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_price_is_read_where_it_can_be_read_in_one_way() {
        let cases = [
            ("19.99", Some("19.99")),
            (" 19.99\n", Some("19.99")),
            ("19,99", Some("19.99")),
            ("19,9", Some("19.9")),
            ("1999", Some("1999")),
            ("19.00", Some("19")),
            // As Magento writes it.
            ("19.9900", Some("19.99")),
            ("0.5", Some("0.5")),
            ("007", Some("7")),
            ("1,234.56", Some("1234.56")),
            ("1.234,56", Some("1234.56")),
            ("1,234,567", Some("1234567")),
            ("1.234.567,8", Some("1234567.8")),
            ("1.234", None),
            ("1,234", None),
            ("0.999", None),
            ("1,234.567", None),
            ("1,234.5.6", None),
            ("1.234,5,6", None),
            ("12,34.56", None),
            ("1234,567.89", None),
            (",234,567", None),
            ("1,234,", None),
            ("10-20", None),
            ("10 - 20", None),
            ("1 234,56", None),
            ("1'234.56", None),
            ("$19.99", None),
            ("19.99 EUR", None),
            ("-5", None),
            ("+5", None),
            ("1e3", None),
            ("1.2e1", None),
            ("NaN", None),
            (".99", None),
            ("19.", None),
            ("", None),
            ("0", None),
            ("0.00", None),
            ("٣", None),
            ("999999999999", Some("999999999999")),
            ("1000000000000", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|number| number.parse::<Number>().expect("a number"));
            assert_eq!(read_price(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_offer_has_a_price_and_a_currency() {
        let offer = |price: &str, currency: &str| {
            Some(Offer { price: price.parse().expect("a number"), currency: currency.to_owned() })
        };
        let cases = [
            (json!("19.99"), json!("EUR"), offer("19.99", "EUR")),
            (json!(19.99), json!(" eur "), offer("19.99", "EUR")),
            (json!(20), json!("USD"), offer("20", "USD")),
            (json!(1.234), json!("EUR"), None),
            (json!(-3), json!("EUR"), None),
            (json!(1e30), json!("EUR"), None),
            (json!(null), json!("EUR"), None),
            (json!(["19.99"]), json!("EUR"), None),
            (json!("19.99"), json!("€"), None),
            (json!("19.99"), json!("EURO"), None),
            (json!("19.99"), json!("E1R"), None),
            (json!("19.99"), json!(978), None),
            (json!("19.99"), json!(null), None),
        ];
        for (price, currency, expected) in cases {
            assert_eq!(Offer::read(&price, &currency), expected, "{price} {currency}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[0-9.,é -]{0,12}") {
            read_price(&text);
        }

        #[test]
        fn cents_are_read_as_they_are_written(cents in 1_u64..100_000_000) {
            let read = read_price(&format!("{}.{:02}", cents / 100, cents % 100)).and_then(|price| price.as_f64());
            #[allow(clippy::cast_precision_loss, reason = "they are few")]
            let expected = cents as f64 / 100.0;
            prop_assert_eq!(read, Some(expected));
        }
    }
}
