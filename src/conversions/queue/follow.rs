//! The rows of the queue on their way into the journal, and so to ClickHouse.

use std::time::Duration;

use tokio::time::sleep;

use super::{OutboxRow, Queue, QueueError};
use crate::failpoint;
use crate::journal::{Entry, Journal, JournalError};
use crate::retry::Retry;
use crate::row::Table;

/// Rows that are taken at once.
const ROWS: usize = 1_000;

/// Bytes of rows that are taken at once.
const BYTES: usize = 4 * 1024 * 1024;

/// Gives the journal whatever the queue has to tell, until the queue is closed. What it has given and could not forget
/// any more is given again at the next start.
pub async fn follow(queue: &Queue, journal: &Journal) {
    let mut arrivals = queue.outbox_arrivals();
    loop {
        let pause = match hand_over(queue, journal).await {
            Ok(0) if arrivals.next().await => continue,
            Ok(0) | Err(Problem::Queue(QueueError::Closed)) => return,
            Ok(_) => continue,
            Err(Problem::Queue(error)) => {
                tracing::warn!(%error, "what became of conversions is not told yet");
                error.retry()
            }
            Err(Problem::Journal(error)) => {
                tracing::warn!(%error, "what became of conversions is not told yet");
                error.retry()
            }
        };
        let Retry::After(pause) = pause else { return };
        sleep(pause.min(LONGEST_PAUSE)).await;
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

enum Problem {
    Queue(QueueError),
    Journal(JournalError),
}

/// Makes the first rows durable in the journal and forgets them here; says how many they were.
async fn hand_over(queue: &Queue, journal: &Journal) -> Result<usize, Problem> {
    let rows = queue.take_outbox(ROWS, BYTES).await.map_err(Problem::Queue)?;
    let Some(last) = rows.last() else { return Ok(0) };
    // An entry is of one month, as the segment is that it goes into.
    for rows in rows.chunk_by(|one, next| one.received_at.month() == next.received_at.month()) {
        journal.append(&entry(rows)).await.map_err(Problem::Journal)?;
    }
    failpoint::reach("outbox_appended");
    queue.forget_outbox(last.number).await.map_err(Problem::Queue)?;
    Ok(rows.len())
}

/// One record for each table.
fn entry(rows: &[OutboxRow]) -> Entry {
    let mut entry = Entry::new();
    for table in [Table::Conversions, Table::ConversionDeliveries] {
        let of_table = || rows.iter().filter(|row| row.table == table);
        let Some(first) = of_table().next() else { continue };
        entry.record(table, first.received_at, |out| {
            let mut count = 0;
            for row in of_table() {
                out.extend_from_slice(&row.row);
                count += 1;
            }
            count
        });
    }
    entry
}
