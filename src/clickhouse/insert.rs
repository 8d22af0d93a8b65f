//! One insert: rows that are already encoded, streamed as they are.

use std::future::Future;
use std::io;

use bytes::Bytes;
use clickhouse::Compression;

use super::{ClickHouseError, Store};

/// What an insert is and how ClickHouse recognises it.
#[derive(Clone, Copy, Debug)]
pub struct Insert<'a> {
    /// The table, a name of ours.
    pub table: &'a str,
    /// The deduplication token: the same for the same bytes, another for others. ClickHouse drops rows under a
    /// token it knows without an error, whatever they are.
    pub token: &'a str,
    /// The name the query runs under, for [`Store::end_queries`]; one for each attempt.
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
    pub async fn insert(&self, insert: &Insert<'_>, rows: impl RowSource) -> Result<(), ClickHouseError> {
        let limit = self.timeouts.insert;
        match tokio::time::timeout(limit, self.stream(insert, rows)).await {
            Ok(Err(ClickHouseError::Timeout(_))) | Err(_) => Err(ClickHouseError::Timeout(limit)),
            Ok(result) => result,
        }
    }

    async fn stream(&self, insert: &Insert<'_>, mut rows: impl RowSource) -> Result<(), ClickHouseError> {
        let mut request = self
            .client
            .clone()
            .with_compression(Compression::Lz4)
            .insert_formatted_with(format!("INSERT INTO {} FORMAT RowBinaryWithNamesAndTypes", insert.table))
            .with_timeouts(Some(self.timeouts.send), Some(self.timeouts.insert))
            .with_setting("insert_deduplication_token", insert.token)
            .with_setting("query_id", insert.query_id);
        for (name, value) in SETTINGS {
            request = request.with_setting(*name, *value);
        }
        while let Some(piece) = rows.next().await.map_err(ClickHouseError::Source)? {
            // Compressed, nothing is a block of length 0, which ClickHouse refuses.
            if piece.is_empty() {
                continue;
            }
            // A request whose send failed is dropped, which aborts it: `end` would answer Ok then.
            request.send(piece).await?;
        }
        Ok(request.end().await?)
    }
}
