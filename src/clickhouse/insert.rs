//! One insert: rows that are already encoded, streamed as they are.

use std::future::Future;
use std::io;
use std::pin::pin;

use bytes::Bytes;
use tokio::time::timeout;

use super::connection::Pieces;
use super::error::{cut, sentence};
use super::{ClickHouseError, Store, block, confirm};
use crate::failpoint;

/// What an insert is and how ClickHouse recognises it.
#[derive(Clone, Copy, Debug)]
pub struct Insert<'a> {
    /// The table, a name of ours.
    pub table: &'a str,
    /// The deduplication token: the same for the same bytes, another for others. ClickHouse drops rows under a
    /// token it knows without an error, whatever they are.
    pub token: &'a str,
    /// The name the query runs under, for [`Store::end_queries`], and by which its answer is known; one for each
    /// attempt.
    pub query_id: &'a str,
}

/// Where an insert's bytes come from, piece by piece: first the `RowBinaryWithNamesAndTypes` header, then rows.
/// Pieces of 256 KiB to 1 MiB serve best, since each is compressed at once on the calling thread.
pub trait RowSource: Send {
    /// The next piece, `None` at the end. An error abandons the insert: nothing of it is stored.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

impl RowSource for std::vec::IntoIter<Bytes> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(Iterator::next(self))
    }
}

/// Rows that one insert keeps as one block, and so stores whole or not at all: over a segment's 500,000.
const BLOCK_ROWS: &str = "2000000";

const SETTINGS: &[(&str, &str)] = &[
    // Confirmed when stored, not when queued; the token counts.
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("wait_end_of_query", "1"),
    // A Distributed table forwards before it confirms.
    ("distributed_foreground_insert", "1"),
    // One block.
    ("max_insert_block_size", BLOCK_ROWS),
    ("min_insert_block_size_rows", BLOCK_ROWS),
    ("min_insert_block_size_bytes", "0"),
    ("max_insert_threads", "1"),
    // A column that the table has lost is an error; the default drops its values in silence.
    ("input_format_skip_unknown_fields", "0"),
    ("input_format_with_names_use_header", "1"),
    ("input_format_with_types_use_header", "1"),
    // {"a":1,"a":2} keeps the first instead of losing all of `properties`.
    ("type_json_skip_duplicated_paths", "1"),
];

impl Store {
    /// Inserts what `rows` gives. `Ok` means that ClickHouse has confirmed all of it; sent again under the same
    /// token, it is stored once. After an error a part may be stored, and after a timeout it may still be:
    /// [`end_queries`](Self::end_queries) first, then look.
    ///
    /// What answers 200 and is not ClickHouse confirms nothing: an answer must name the query by its id. A proxy that
    /// gives queries other ids makes every insert fail.
    pub async fn insert(&self, insert: &Insert<'_>, rows: impl RowSource) -> Result<(), ClickHouseError> {
        let limit = self.timeouts.insert;
        let inserted = timeout(limit, self.stream(insert, rows)).await;
        inserted.unwrap_or(Err(ClickHouseError::Timeout(limit)))
    }

    async fn stream(&self, insert: &Insert<'_>, rows: impl RowSource) -> Result<(), ClickHouseError> {
        let sql = format!("INSERT INTO {} FORMAT RowBinaryWithNamesAndTypes", insert.table);
        let parameters = [
            ("database", self.database.as_str()),
            ("query", &sql),
            ("query_id", insert.query_id),
            ("insert_deduplication_token", insert.token),
            // The body is compressed.
            ("decompress", "1"),
        ];
        let (pieces, mut answer) = self.inserts.post(parameters.iter().chain(SETTINGS).copied())?;
        // Kept while the answer is read, and dropped only then: that closes the connection.
        let mut sending = pin!(self.send_pieces(rows, pieces));
        let (answer, whole) = tokio::select! {
            biased;
            sent = &mut sending => {
                let whole = sent?;
                (answer.await, whole)
            }
            early = &mut answer => (early, false),
        };
        let answer = answer.map_err(|error| ClickHouseError::Network(cut(&sentence(&error))))?;
        confirm::read(answer, insert.query_id, whole).await
    }

    /// Sends all rows and says that they are all. `false` where the connection does not take them: it is broken, or
    /// has an answer already.
    async fn send_pieces(&self, mut rows: impl RowSource, pieces: Pieces) -> Result<bool, ClickHouseError> {
        let limit = self.timeouts.send;
        let too_slow = |_| ClickHouseError::Timeout(limit);
        while let Some(piece) = rows.next().await.map_err(ClickHouseError::Source)? {
            let compressed = block::compress(&piece);
            if compressed.is_empty() {
                continue;
            }
            if timeout(limit, pieces.send(compressed.into())).await.map_err(too_slow)?.is_err() {
                return Ok(false);
            }
            failpoint::reach("piece_sent");
        }
        Ok(timeout(limit, pieces.end()).await.map_err(too_slow)?.is_ok())
    }
}
