//! Rows as ClickHouse reads them: the tables we write, their columns in order, and RowBinary.
//!
//! A row is encoded once, on the way into the journal; from there to the table its bytes are only copied. What
//! describes them is the constant header of `RowBinaryWithNamesAndTypes`, which every segment carries along:
//!
//! ```text
//! header   column count (LEB128) · each name (string) · each type (string)
//! string   length in bytes (LEB128) · bytes
//! UUID     upper 64 bits, little endian · lower 64 bits, little endian
//! DateTime64(3, 'UTC')   milliseconds since 1970, i64 little endian
//! Nullable(T)            1, or 0 and a T
//! Bool                   1 byte;  LowCardinality(T) is written like T
//! UInt32, Float64        4 and 8 bytes, little endian
//! Array(T)               how many there are (LEB128), then each
//! ```
//!
//! Given the header, ClickHouse refuses a table whose columns have drifted instead of storing nonsense.

mod conversions;
mod layout;

pub use conversions::{ConversionRow, DeliveryRow};
pub use layout::{ColumnKind, Layout, LayoutError, Value};

use uuid::Uuid;

use crate::event::Timestamp;

/// A table that collectors write to. The tag names it in the journal and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Every accepted event.
    Events = 1,
    /// Events of known projects that were refused, each with its reason.
    RejectedEvents = 2,
    /// Every conversion that ad platforms are told of, or would have been with consent.
    Conversions = 3,
    /// What became of conversions, step by step.
    ConversionDeliveries = 4,
}

/// The reason of rejected events that were acknowledged and that ClickHouse then refused to store.
pub const REFUSED_BY_CLICKHOUSE: &str = "refused_by_clickhouse";

const UUID: &str = "UUID";
const STRING: &str = "String";
const WORD: &str = "LowCardinality(String)";
const MOMENT: &str = "DateTime64(3, 'UTC')";
const COUNT: &str = "UInt32";

const EVENT_COLUMNS: &[(&str, &str)] = &[
    ("project_id", UUID),
    ("source", WORD),
    ("type", WORD),
    ("event_id", UUID),
    ("visitor_id", STRING),
    ("user_id", STRING),
    ("url", STRING),
    ("referrer", STRING),
    ("data", STRING),
    ("timestamp", MOMENT),
    ("claimed_timestamp", "Nullable(DateTime64(3, 'UTC'))"),
    ("sort_time", MOMENT),
    ("received_at", MOMENT),
    ("address", STRING),
    ("user_agent", STRING),
    ("browser", WORD),
    ("browser_version", WORD),
    ("os", WORD),
    ("device", WORD),
    ("bot", "Bool"),
    ("api_source", WORD),
    ("source_id", STRING),
    ("metadata", STRING),
];

const REJECTED_EVENT_COLUMNS: &[(&str, &str)] = &[
    ("received_at", MOMENT),
    ("project_id", UUID),
    ("source", WORD),
    ("event", STRING),
    ("reason", WORD),
    ("message", STRING),
];

impl Table {
    /// Every table, in the order of their tags.
    pub const ALL: [Self; 4] =
        [Self::Events, Self::RejectedEvents, Self::Conversions, Self::ConversionDeliveries];

    /// The table with this tag.
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.tag() == tag)
    }

    /// The number that stands for the table in a journal record.
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// The table's name in ClickHouse.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::RejectedEvents => "rejected_events",
            Self::Conversions => "conversions",
            Self::ConversionDeliveries => "conversion_deliveries",
        }
    }

    /// The columns that a row gives, as (name, type), in the order of their bytes.
    pub const fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Events => EVENT_COLUMNS,
            Self::RejectedEvents => REJECTED_EVENT_COLUMNS,
            Self::Conversions => conversions::CONVERSION_COLUMNS,
            Self::ConversionDeliveries => conversions::DELIVERY_COLUMNS,
        }
    }

    /// The `RowBinaryWithNamesAndTypes` header that goes before the table's rows.
    pub fn header(self) -> Vec<u8> {
        let columns = self.columns();
        let mut header = Vec::with_capacity(512);
        put_length(&mut header, columns.len());
        for (name, _) in columns {
            put_text(&mut header, name);
        }
        for (_, kind) in columns {
            put_text(&mut header, kind);
        }
        header
    }
}

/// A row of `events`. Absent texts are empty.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is the column of the same name, described in sql/")]
pub struct EventRow<'a> {
    pub project_id: Uuid,
    pub source: &'a str,
    pub kind: &'a str,
    pub event_id: Uuid,
    pub visitor_id: &'a str,
    pub user_id: &'a str,
    pub url: &'a str,
    pub referrer: &'a str,
    pub data: &'a str,
    pub timestamp: Timestamp,
    pub claimed_timestamp: Option<Timestamp>,
    pub sort_time: Timestamp,
    pub received_at: Timestamp,
    pub address: &'a str,
    pub user_agent: &'a str,
    pub browser: &'a str,
    pub browser_version: &'a str,
    pub os: &'a str,
    pub device: &'a str,
    pub bot: bool,
    pub api_source: &'a str,
    pub source_id: &'a str,
    pub metadata: &'a str,
}

impl EventRow<'_> {
    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_uuid(out, self.project_id);
        put_text(out, self.source);
        put_text(out, self.kind);
        put_uuid(out, self.event_id);
        put_text(out, self.visitor_id);
        put_text(out, self.user_id);
        put_text(out, self.url);
        put_text(out, self.referrer);
        put_text(out, self.data);
        put_moment(out, self.timestamp);
        match self.claimed_timestamp {
            None => out.push(1),
            Some(claimed) => {
                out.push(0);
                put_moment(out, claimed);
            }
        }
        put_moment(out, self.sort_time);
        put_moment(out, self.received_at);
        put_text(out, self.address);
        put_text(out, self.user_agent);
        put_text(out, self.browser);
        put_text(out, self.browser_version);
        put_text(out, self.os);
        put_text(out, self.device);
        if [self.api_source, self.source_id, self.metadata].iter().all(|text| text.is_empty()) {
            // Not from a backend: four writes took 27 of a row's 839 instructions more.
            out.extend_from_slice(&[u8::from(self.bot), 0, 0, 0]);
            return;
        }
        out.push(u8::from(self.bot));
        put_text(out, self.api_source);
        put_text(out, self.source_id);
        put_text(out, self.metadata);
    }
}

/// A row of `rejected_events`.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedRow<'a> {
    /// When it came.
    pub received_at: Timestamp,
    /// Whose project it named.
    pub project_id: Uuid,
    /// As in `events`.
    pub source: &'a str,
    /// The event as it was sent; cut to [`RejectedRow::EVENT_BYTES`] when it is encoded. Bytes, because it may
    /// not even be text.
    pub event: &'a [u8],
    /// A stable code.
    pub reason: &'a str,
    /// What was wrong, where, and what was expected; never a value of the event.
    pub message: &'a str,
}

impl RejectedRow<'_> {
    /// As much of a rejected event as is kept.
    pub const EVENT_BYTES: usize = 4 * 1024;

    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_moment(out, self.received_at);
        put_uuid(out, self.project_id);
        put_text(out, self.source);
        put_bytes(out, &self.event[..self.event.len().min(Self::EVENT_BYTES)]);
        put_text(out, self.reason);
        put_text(out, self.message);
    }
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(low_bits(length) | 0x80);
        length >>= 7;
    }
    out.push(low_bits(length));
}

fn low_bits(length: usize) -> u8 {
    length.to_le_bytes()[0] & 0x7f
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    // A server's events leave eight texts empty; to copy nothing took 45 of its 830 instructions.
    if !bytes.is_empty() {
        out.extend_from_slice(bytes);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_uuid(out: &mut Vec<u8>, id: Uuid) {
    let (upper, lower) = id.as_u64_pair();
    out.extend_from_slice(&upper.to_le_bytes());
    out.extend_from_slice(&lower.to_le_bytes());
}

fn put_moment(out: &mut Vec<u8>, moment: Timestamp) {
    out.extend_from_slice(&moment.as_millis().to_le_bytes());
}
