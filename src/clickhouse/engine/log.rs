//! What the engine says on its standard error, told on through `tracing`.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tracing::{debug, error, warn};

use super::super::error::server_code;

/// Longest line that is read as one, and as much of it as is told on; in bytes.
const LINE_BYTES: u64 = 64 * 1024;
const TOLD_BYTES: usize = 500;

/// The last error that the engine named by a code: the reason, when it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    /// The error's line.
    pub(super) fn text(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The error's number.
    pub(super) fn code(&self) -> Option<u32> {
        self.text().as_deref().and_then(server_code)
    }

    fn note(&self, line: &str) {
        if let Some(start) = line.find("Code: ")
            && server_code(&line[start..]).is_some()
        {
            let text = cut(&line[start..]).to_owned();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
    }
}

/// Tells on what `stderr` says until it closes.
pub(super) async fn relay(stderr: impl AsyncRead + Unpin, last: LastError) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tell(&String::from_utf8_lossy(&line), &last),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Weight {
    Error,
    Warning,
    Detail,
}

fn tell(line: &str, last: &LastError) {
    let line = line.trim_end();
    if line.is_empty() {
        return;
    }
    last.note(line);
    let told = cut(line);
    match weigh(line) {
        Weight::Error => error!(target: "weir::engine", "{told}"),
        Weight::Warning => warn!(target: "weir::engine", "{told}"),
        Weight::Detail => debug!(target: "weir::engine", "{told}"),
    }
}

/// A line is `2026.11.22 12:24:06.5 [ 9770 ] {query id} <Error> executeQuery: …`; what follows one, such as a
/// stack trace, has no level. An error of one query is the business of who asked it, and they are told.
fn weigh(line: &str) -> Weight {
    let Some((level, rest)) = line.split_once("} <").and_then(|(_, rest)| rest.split_once("> ")) else {
        return Weight::Detail;
    };
    match level {
        "Fatal" | "Critical" => Weight::Error,
        "Error" if rest.starts_with("executeQuery:") || rest.starts_with("DynamicQueryHandler:") => {
            Weight::Detail
        }
        "Error" | "Warning" => Weight::Warning,
        _ => Weight::Detail,
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TOLD_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_code_is_the_reason() {
        let last = LastError::default();
        let said = "starting\nCode: 60. DB::Exception: no table\n0. ? @ 0x1\n\
            2026.11.22 12:00:00.1 [ 1 ] {} <Error> Application: Code: 76. DB::Exception: Cannot lock\nbye";
        relay(said.as_bytes(), last.clone()).await;
        assert_eq!(last.code(), Some(76));
        assert_eq!(last.text().as_deref(), Some("Code: 76. DB::Exception: Cannot lock"));
    }

    #[test]
    fn a_query_that_failed_is_not_the_operators_trouble() {
        let line = |level: &str, what: &str| format!("2026.11.22 12:00:00.1 [ 1 ] {{id}} <{level}> {what}");
        for (said, weight) in [
            (line("Error", "executeQuery: Code: 62. DB::Exception: Syntax error"), Weight::Detail),
            (line("Error", "MergeTreeBackgroundExecutor: Code: 33."), Weight::Warning),
            (line("Warning", "Context: low memory"), Weight::Warning),
            (line("Fatal", "BaseDaemon: signal 11"), Weight::Error),
            ("5. ? @ 0x0000000012d6a957".to_owned(), Weight::Detail),
        ] {
            assert_eq!(weigh(&said), weight, "{said}");
        }
    }
}
