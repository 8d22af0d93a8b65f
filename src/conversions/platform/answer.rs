//! What is kept of a platform's own words: enough for an operator, nothing of an event's identity, no secret.

use std::net::IpAddr;

use http::StatusCode;

use super::{Reply, Verdict, by_status};

/// The longest text that is kept of an answer, in characters.
const LONGEST_TEXT: usize = 300;

/// A run of letters and digits as long as this is no word: a digest, a token, an id.
const SHORTEST_DIGEST: usize = 24;

/// A platform's code and message for an operator. Words that look like an address, a digest or a token are left out:
/// platforms repeat what they object to.
pub(super) fn told(code: &str, message: &str) -> String {
    let mut text = String::from(code);
    for (index, word) in message.split_whitespace().enumerate() {
        text.push_str(if index == 0 && !code.is_empty() { ": " } else { " " });
        text.push_str(if is_private(word) { "…" } else { word });
    }
    text.trim_start().chars().take(LONGEST_TEXT).collect()
}

/// What an answer means whose body is not the platform's. A success that does not say so is none: sent again under the
/// same id, the event does no harm.
pub(super) fn unreadable(answer: &Reply<'_>) -> Verdict {
    if answer.status.is_success() {
        return Verdict::Retry(format!("answered {} with an unexpected body", answer.status.as_u16()));
    }
    by_status(answer.status)
}

/// What a success means that counts the events. Which of them it lacks is found by bisection, those that it has it knows
/// again; of one alone it says that it does not want it.
pub(super) fn counted(taken: usize, events: usize) -> Verdict {
    if taken >= events { Verdict::Taken } else { Verdict::Refused(format!("took {taken} of {events}")) }
}

/// A refusal by the body, unless the status says that it is for the credentials or for now.
pub(super) fn refused(status: StatusCode, said: String) -> Verdict {
    match by_status(status) {
        Verdict::Taken => Verdict::Refused(said),
        verdict => saying(verdict, said),
    }
}

/// Whether the body is a page, which comes from something in front of the platform.
pub(super) fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// The verdict's kind with the platform's words in it, where its kind takes any.
pub(super) fn saying(verdict: Verdict, text: String) -> Verdict {
    match verdict {
        Verdict::Retry(_) => Verdict::Retry(text),
        Verdict::Throttled(_) => Verdict::Throttled(text),
        Verdict::Refused(_) => Verdict::Refused(text),
        // What is said of a token often repeats it.
        Verdict::Taken | Verdict::Each(_) | Verdict::Unauthorized(_) | Verdict::Gone(_) => verdict,
    }
}

fn is_private(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| c.is_ascii_punctuation() && c != ':');
    let longest_run = word.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max().unwrap_or(0);
    word.contains('@')
        || word.contains("%40")
        || bare.parse::<IpAddr>().is_ok()
        || longest_run >= SHORTEST_DIGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_code_and_the_words_and_nothing_of_anybody() {
        let digest = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b";
        let cases = [
            ("code 100", "Invalid parameter", "code 100: Invalid parameter"),
            ("code 100", "", "code 100"),
            ("", "two\nlines", "two lines"),
            ("400", "no such user 'a@example.com'!", "400: no such user …"),
            ("400", "no such user a%40example.com", "400: no such user …"),
            ("400", "bad address (203.0.113.7).", "400: bad address …"),
            ("400", "bad address \"2001:db8::1\",", "400: bad address …"),
            ("400", "client_user_agent at 12:30, v1.3", "400: client_user_agent at 12:30, v1.3"),
        ];
        for (code, message, expected) in cases {
            assert_eq!(told(code, message), expected, "{message}");
        }
        for message in [format!("bad em {digest}"), format!("bad em=[\"{digest}\"]")] {
            assert!(!told("100", &message).contains("973d"), "{message}");
        }
    }

    #[test]
    fn a_text_has_at_most_three_hundred_characters() {
        let text = told("code 1", &"ä ".repeat(1_000));
        assert_eq!(text.chars().count(), 300);
        assert!(text.starts_with("code 1: ä ä"));
    }

    #[test]
    fn a_success_in_other_words_is_none() {
        let reply = |status| unreadable(&Reply { status, body: b"<html>" });
        assert_eq!(reply(StatusCode::OK), Verdict::Retry("answered 200 with an unexpected body".into()));
        assert_eq!(reply(StatusCode::FORBIDDEN), Verdict::Unauthorized("answered 403".into()));
        assert_eq!(reply(StatusCode::BAD_GATEWAY), Verdict::Retry("answered 502".into()));
    }

    #[test]
    fn what_is_not_counted_is_refused() {
        assert_eq!((counted(2, 2), counted(3, 2)), (Verdict::Taken, Verdict::Taken));
        assert_eq!(counted(1, 2), Verdict::Refused("took 1 of 2".into()));
    }

    #[test]
    fn a_refusal_is_none_for_the_credentials_or_for_now() {
        let said = || String::from("code 7");
        for (status, expected) in [
            (200, Verdict::Refused(said())),
            (400, Verdict::Refused(said())),
            (401, Verdict::Unauthorized("answered 401".into())),
            (429, Verdict::Throttled(said())),
            (503, Verdict::Retry(said())),
        ] {
            assert_eq!(refused(StatusCode::from_u16(status).unwrap(), said()), expected, "{status}");
        }
    }

    #[test]
    fn words_on_a_token_are_not_repeated() {
        let unauthorized = Verdict::Unauthorized("answered 401".into());
        assert_eq!(saying(unauthorized.clone(), "malformed token s3cret".into()), unauthorized);
        assert_eq!(
            saying(Verdict::Refused("answered 400".into()), "400: no".into()),
            Verdict::Refused("400: no".into())
        );
    }

    #[test]
    fn a_page_begins_with_a_tag() {
        assert!(is_html(b"\r\n <!DOCTYPE html>") && is_html(b"<html>"));
        assert!(!is_html(b"{\"a\":\"<html>\"}") && !is_html(b""));
    }
}
