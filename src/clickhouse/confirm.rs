//! Whether an answer is ClickHouse's word that an INSERT is stored.
//!
//! A 200 alone is not: load balancers answer 200 with a page of their own while their ClickHouse is away. ClickHouse
//! names in every answer the query that it is for, by the id that was sent with it, which no other page does; and
//! the body of a finished INSERT is empty. `wait_end_of_query=1` has it answer only then, with the status of an error
//! where there was one; without it, an error could follow behind the head of a 200.

use std::error::Error;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;

use super::ClickHouseError;
use super::error::{cut, sentence, server_code};

/// As much of an answer's body as is read, in bytes: of an error the first sentence counts.
const BODY_BYTES: usize = 16 * 1024;

/// `query_id` in an answer.
const QUERY_ID: &str = "x-clickhouse-query-id";
/// The number of the error, in the answer of one.
const EXCEPTION_CODE: &str = "x-clickhouse-exception-code";

/// Reads the answer to an INSERT. `Ok` if it confirms the one with this id; `whole` is whether that one's rows had all
/// been sent when the answer came.
pub(super) async fn read<B>(answer: Response<B>, query_id: &str, whole: bool) -> Result<(), ClickHouseError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error,
{
    let (head, mut body) = answer.into_parts();
    let mut read = Vec::new();
    let mut broken = None;
    while read.len() < BODY_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                read.extend_from_slice(&data[..data.len().min(BODY_BYTES - read.len())]);
            }
            Some(Err(error)) => {
                broken = Some(error);
                break;
            }
            None => break,
        }
    }
    let verdict = judge(&head, &String::from_utf8_lossy(&read), query_id, whole);
    match broken {
        Some(error) if verdict.is_ok() => Err(ClickHouseError::Network(cut(&sentence(&error)))),
        _ => verdict,
    }
}

fn judge(head: &Parts, text: &str, query_id: &str, whole: bool) -> Result<(), ClickHouseError> {
    let text = text.trim();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let said_code = header(EXCEPTION_CODE).and_then(|code| code.parse().ok());
    let named = header(QUERY_ID);
    if !head.status.is_success() || said_code.is_some() {
        let server_code = server_code(text).or(said_code);
        let message = match server_code {
            _ if !text.is_empty() => cut(text),
            Some(code) => format!("Code: {code}"),
            None => head.status.to_string(),
        };
        return Err(ClickHouseError::Server { server_code, message });
    }
    let wrong = if named != Some(query_id) {
        match named {
            None => "it names no query in X-ClickHouse-Query-Id".to_owned(),
            Some(other) => format!("it is for query {}, and {query_id} was sent", cut(other)),
        }
    } else if !text.is_empty() {
        // Behind the head of a 200 an error comes after a line that announces it.
        if let Some(code) = text.lines().find_map(server_code) {
            return Err(ClickHouseError::Server { server_code: Some(code), message: cut(text) });
        }
        "a confirmation says nothing".to_owned()
    } else if !whole {
        "it came before all rows were sent".to_owned()
    } else if head.status != StatusCode::OK {
        "a confirmation has the status 200".to_owned()
    } else {
        return Ok(());
    };
    let status = head.status;
    Err(ClickHouseError::Unreadable(cut(&format!("an INSERT was answered {status}, but {wrong}: {text:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::Class;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    const OURS: Headers<'_> =
        &[("X-ClickHouse-Query-Id", "weir-1"), ("X-ClickHouse-Exception-Tag", "abcdef")];

    async fn verdict(
        status: u16,
        headers: Headers<'_>,
        body: &str,
        whole: bool,
    ) -> Result<(), ClickHouseError> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        read(answer.body(body.to_owned()).unwrap(), "weir-1", whole).await
    }

    #[tokio::test]
    async fn only_an_empty_200_that_names_the_query_confirms() {
        verdict(200, OURS, "", true).await.expect("a confirmation");
        let other: Headers<'_> = &[("X-ClickHouse-Query-Id", "weir-10")];
        let page = "<html><h1>maintenance</h1></html>";
        for (status, headers, body, whole) in [
            (200, &[][..], "", true),
            (200, &[], page, true),
            (200, &[], "Code: 6. DB::Exception: not from ClickHouse", true),
            (200, other, "", true),
            (200, OURS, page, true),
            (200, OURS, "", false),
            (202, OURS, "", true),
            (204, OURS, "", true),
        ] {
            let case = format!("{status} {headers:?} {body:?} {whole}");
            let error = verdict(status, headers, body, whole).await.expect_err(&case);
            assert_eq!(
                (error.code(), error.class()),
                ("clickhouse_unreadable", Class::Retry),
                "{case}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn errors_have_the_code_of_the_text_or_else_of_the_head() {
        let coded: Headers<'_> =
            &[("X-ClickHouse-Query-Id", "weir-1"), ("X-ClickHouse-Exception-Code", "60")];
        let announced = "__exception__\r\nabcdef\r\nCode: 159. DB::Exception: Timeout exceeded\r\n";
        for (status, headers, body, code) in [
            (404, coded, "Code: 60. DB::Exception: Table", Some(60)),
            (404, coded, "", Some(60)),
            (200, coded, "", Some(60)),
            (500, &[][..], "Code: 241. DB::Exception: Memory", Some(241)),
            (200, OURS, "Code: 241. DB::Exception: Memory", Some(241)),
            (200, OURS, announced, Some(159)),
            (502, &[], "<h1>Bad Gateway</h1> Code: 60.", None),
            (502, &[], "", None),
            (301, &[], "", None),
        ] {
            let error = verdict(status, headers, body, true).await.expect_err("an error");
            assert!(matches!(error, ClickHouseError::Server { .. }), "{status} {body:?}: {error}");
            assert_eq!(error.server_code(), code, "{status} {headers:?} {body:?}: {error}");
        }
        let error = verdict(502, &[], "", true).await.expect_err("an error");
        assert_eq!(error.to_string(), "clickhouse refused: 502 Bad Gateway");
    }

    #[tokio::test]
    async fn of_a_body_without_end_only_its_beginning_is_read() {
        /// Ends the test if it is read for ever: by the machine's memory.
        struct Endless;
        impl Body for Endless {
            type Data = Bytes;
            type Error = std::convert::Infallible;

            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from(vec![b'x'; 1_000])))))
            }
        }
        for status in [200, 500] {
            let answer = Response::builder().status(status).header(QUERY_ID, "q").body(Endless).unwrap();
            let error = read(answer, "q", true).await.expect_err("no confirmation");
            assert!(error.to_string().len() < 1_000, "{error}");
        }
    }
}
