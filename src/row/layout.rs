//! Reading rows back: where one ends and the next begins, and what a column holds. The loader needs it to part
//! the rows that ClickHouse refuses from their neighbours, and operators to look into a segment.

use std::fmt::Write as _;

use thiserror::Error;
use uuid::Uuid;

use crate::event::Timestamp;

/// The bytes do not follow the header that describes them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// A header or a row ends before it is whole.
    #[error("the bytes end in the middle of {0}")]
    Cut(&'static str),
    /// A header names a type that this version does not write.
    #[error("column {column} has the type {kind}, which this version cannot read")]
    UnknownType {
        /// The column.
        column: String,
        /// Its type, as the header has it.
        kind: String,
    },
    /// A name or a type in a header is not UTF-8.
    #[error("a name or a type in the header is not text")]
    NotText,
}

/// How a column's values lie in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Length and bytes.
    Bytes,
    /// 16 bytes.
    Uuid,
    /// 8 bytes.
    Moment,
    /// A byte, and 8 more where it is 0.
    OptionalMoment,
    /// A byte.
    Bool,
    /// 4 bytes.
    Count,
    /// A byte, and 8 more where it is 0.
    OptionalNumber,
    /// How many there are, and each as [`Bytes`](Self::Bytes).
    Texts,
}

/// One value of a row, borrowed from it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the ColumnKind of the same name")]
pub enum Value<'a> {
    Bytes(&'a [u8]),
    Uuid(Uuid),
    Moment(Timestamp),
    OptionalMoment(Option<Timestamp>),
    Bool(bool),
    Count(u32),
    OptionalNumber(Option<f64>),
    Texts(Vec<&'a [u8]>),
}

/// The columns of a segment's rows, read from the header they travel with: a newer version can so read what an
/// older one wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    columns: Vec<(String, ColumnKind)>,
}

impl Layout {
    /// Reads a `RowBinaryWithNamesAndTypes` header.
    pub fn parse(header: &[u8]) -> Result<Self, LayoutError> {
        let mut rest = header;
        let count = take_length(&mut rest)?;
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(take_name(&mut rest)?);
        }
        let mut columns = Vec::new();
        for column in names {
            let kind = take_name(&mut rest)?;
            let kind = match kind.as_str() {
                "String" | "LowCardinality(String)" => ColumnKind::Bytes,
                "UUID" => ColumnKind::Uuid,
                "DateTime64(3, 'UTC')" => ColumnKind::Moment,
                "Nullable(DateTime64(3, 'UTC'))" => ColumnKind::OptionalMoment,
                "Bool" => ColumnKind::Bool,
                "UInt32" => ColumnKind::Count,
                "Nullable(Float64)" => ColumnKind::OptionalNumber,
                "Array(String)" => ColumnKind::Texts,
                _ => return Err(LayoutError::UnknownType { column, kind }),
            };
            columns.push((column, kind));
        }
        Ok(Self { columns })
    }

    /// Where the column with this name stands in a row.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(column, _)| column == name)
    }

    /// The columns' names, in the order of their values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Takes the first row off `rows` and gives its bytes.
    pub fn take_row<'a>(&self, rows: &mut &'a [u8]) -> Result<&'a [u8], LayoutError> {
        let start = *rows;
        for (_, kind) in &self.columns {
            take_value(*kind, rows)?;
        }
        Ok(&start[..start.len() - rows.len()])
    }

    /// The values of one row, in the order of [`names`](Self::names).
    pub fn values<'a>(&self, mut row: &'a [u8]) -> Result<Vec<Value<'a>>, LayoutError> {
        self.columns.iter().map(|(_, kind)| take_value(*kind, &mut row)).collect()
    }

    /// One row as a JSON object, for people, in the order of the columns: bytes that are no text are shown as such.
    pub fn to_json(&self, row: &[u8]) -> Result<String, LayoutError> {
        let mut members = Vec::new();
        for (name, value) in self.names().zip(self.values(row)?) {
            members.push(format!("{}:{}", serde_json::Value::from(name), value.to_json()));
        }
        Ok(format!("{{{}}}", members.join(",")))
    }
}

impl Value<'_> {
    fn to_json(&self) -> serde_json::Value {
        match *self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
            Self::Uuid(id) => id.to_string().into(),
            Self::Moment(moment) => moment_to_json(moment),
            Self::OptionalMoment(moment) => moment.map_or(serde_json::Value::Null, moment_to_json),
            Self::Bool(value) => value.into(),
            Self::Count(count) => count.into(),
            Self::OptionalNumber(number) => number.into(),
            Self::Texts(ref texts) => texts.iter().map(|text| String::from_utf8_lossy(text)).collect(),
        }
    }
}

/// A moment beyond the calendar is shown as its milliseconds: rows of another version may be read wrongly.
fn moment_to_json(moment: Timestamp) -> serde_json::Value {
    let mut text = String::new();
    match write!(text, "{moment}") {
        Ok(()) => text.into(),
        Err(_) => moment.as_millis().into(),
    }
}

fn take_value<'a>(kind: ColumnKind, rest: &mut &'a [u8]) -> Result<Value<'a>, LayoutError> {
    Ok(match kind {
        ColumnKind::Bytes => {
            let length = take_length(rest)?;
            Value::Bytes(take(rest, length)?)
        }
        ColumnKind::Uuid => {
            let (upper, lower) = (take_u64(rest)?, take_u64(rest)?);
            Value::Uuid(Uuid::from_u64_pair(upper, lower))
        }
        ColumnKind::Moment => Value::Moment(take_moment(rest)?),
        ColumnKind::OptionalMoment => {
            let absent = take(rest, 1)?[0] != 0;
            Value::OptionalMoment(if absent { None } else { Some(take_moment(rest)?) })
        }
        ColumnKind::Bool => Value::Bool(take(rest, 1)?[0] != 0),
        ColumnKind::Count => {
            let (taken, left) = rest.split_first_chunk::<4>().ok_or(LayoutError::Cut("a value"))?;
            *rest = left;
            Value::Count(u32::from_le_bytes(*taken))
        }
        ColumnKind::OptionalNumber => {
            let absent = take(rest, 1)?[0] != 0;
            Value::OptionalNumber(if absent { None } else { Some(f64::from_bits(take_u64(rest)?)) })
        }
        ColumnKind::Texts => {
            let mut texts = Vec::new();
            for _ in 0..take_length(rest)? {
                let length = take_length(rest)?;
                texts.push(take(rest, length)?);
            }
            Value::Texts(texts)
        }
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], LayoutError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(LayoutError::Cut("a value"))?;
    *rest = left;
    Ok(taken)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, LayoutError> {
    let (taken, left) = rest.split_first_chunk::<8>().ok_or(LayoutError::Cut("a value"))?;
    *rest = left;
    Ok(u64::from_le_bytes(*taken))
}

fn take_moment(rest: &mut &[u8]) -> Result<Timestamp, LayoutError> {
    Ok(Timestamp::from_millis(take_u64(rest)?.cast_signed()))
}

fn take_length(rest: &mut &[u8]) -> Result<usize, LayoutError> {
    let mut length = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take(rest, 1)?[0];
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(LayoutError::Cut("a length"))
}

fn take_name(rest: &mut &[u8]) -> Result<String, LayoutError> {
    let length = take_length(rest)?;
    let name = take(rest, length)?;
    String::from_utf8(name.to_vec()).map_err(|_| LayoutError::NotText)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::{EventRow, RejectedRow, Table};

    fn event(text: &str, id: u128, millis: i64, claimed: Option<i64>) -> EventRow<'_> {
        let moment = Timestamp::from_millis(millis);
        EventRow {
            project_id: Uuid::from_u128(id),
            source: "sdk",
            kind: text,
            event_id: Uuid::from_u128(!id),
            visitor_id: text,
            user_id: "",
            url: text,
            referrer: "",
            data: "{}",
            timestamp: moment,
            claimed_timestamp: claimed.map(Timestamp::from_millis),
            sort_time: moment,
            received_at: moment,
            address: "203.0.113.0",
            user_agent: text,
            browser: "",
            browser_version: "",
            os: "",
            device: "",
            bot: id % 2 == 1,
            api_source: "",
            source_id: text,
            metadata: "{}",
        }
    }

    #[test]
    fn every_table_has_a_layout_that_this_version_reads() {
        for table in Table::ALL {
            let layout = Layout::parse(&table.header()).unwrap();
            let names: Vec<_> = layout.names().collect();
            let columns: Vec<_> = table.columns().iter().map(|(name, _)| *name).collect();
            assert_eq!(names, columns);
            assert_eq!(Table::from_tag(table.tag()), Some(table));
        }
    }

    #[test]
    fn a_rejected_event_is_cut_to_what_is_kept() {
        let row = RejectedRow {
            received_at: Timestamp::EPOCH,
            project_id: Uuid::nil(),
            source: "snippet",
            event: &[0xff; 5_000],
            reason: "missing",
            message: "url is missing",
        };
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        let layout = Layout::parse(&Table::RejectedEvents.header()).unwrap();
        let values = layout.values(&bytes).unwrap();
        assert_eq!(
            values[layout.position("event").unwrap()],
            Value::Bytes(&[0xff; RejectedRow::EVENT_BYTES])
        );
        assert_eq!(values[layout.position("message").unwrap()], Value::Bytes(b"url is missing"));
    }

    proptest! {
        #[test]
        fn rows_are_parted_where_they_were_joined(
            events in prop::collection::vec((".{0,200}", any::<u128>(), any::<i64>(), any::<Option<i64>>()), 1..8),
        ) {
            let layout = Layout::parse(&Table::Events.header()).unwrap();
            let mut joined = Vec::new();
            let mut alone = Vec::new();
            for (text, id, millis, claimed) in &events {
                let row = event(text, *id, *millis, *claimed);
                row.encode(&mut joined);
                let mut bytes = Vec::new();
                row.encode(&mut bytes);
                alone.push(bytes);
            }
            let mut rest = joined.as_slice();
            for (bytes, (text, id, _, claimed)) in alone.iter().zip(&events) {
                let row = layout.take_row(&mut rest).unwrap();
                prop_assert_eq!(row, bytes.as_slice());
                let values = layout.values(row).unwrap();
                prop_assert_eq!(&values[0], &Value::Uuid(Uuid::from_u128(*id)));
                prop_assert_eq!(&values[6], &Value::Bytes(text.as_bytes()));
                prop_assert_eq!(&values[10], &Value::OptionalMoment(claimed.map(Timestamp::from_millis)));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn a_cut_row_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for table in Table::ALL {
                let layout = Layout::parse(&table.header()).unwrap();
                let mut rest = bytes.as_slice();
                while layout.take_row(&mut rest).is_ok() {}
            }
            let _ = Layout::parse(&bytes);
        }
    }
}
