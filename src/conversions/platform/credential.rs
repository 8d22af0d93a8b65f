//! Settings in the path and the headers of a request.

use http::header::HeaderValue;

/// The text for a place in a path or query: what is not a letter, a digit or one of `*-._` is escaped.
pub(super) fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A header's value that no log shows. Empty where the secret holds what no header may: the platform then refuses it,
/// and the integration waits for a better one.
pub(super) fn secret_header(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The value of `Authorization` for a bearer token.
pub(super) fn bearer(token: &str) -> HeaderValue {
    secret_header(&format!("Bearer {token}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_setting_changes_the_address_around_it() {
        assert_eq!(escaped("EAAB-c_d.9"), "EAAB-c_d.9");
        assert_eq!(escaped("1|a b+c/../d?e&f=#ä"), "1%7Ca%20b%2Bc%2F..%2Fd%3Fe%26f%3D%23%C3%A4");
    }

    #[test]
    fn a_secret_is_sent_and_not_shown() {
        let value = bearer("s3cret");
        assert_eq!(value, "Bearer s3cret");
        assert!(!format!("{value:?}").contains("s3cret"));
        assert_eq!(secret_header("line\nbreak"), "");
    }
}
