//! The rows of conversions: what ad platforms are told of, and what became of it.

use uuid::Uuid;

use super::{COUNT, MOMENT, STRING, UUID, WORD, put_length, put_moment, put_text, put_uuid};
use crate::event::Timestamp;

pub(super) const CONVERSION_COLUMNS: &[(&str, &str)] = &[
    ("project_id", UUID),
    ("integration", WORD),
    ("platform", WORD),
    ("conversion_id", STRING),
    ("event_type", WORD),
    ("timestamp", MOMENT),
    ("received_at", MOMENT),
    ("email_sha256", STRING),
    ("phone_sha256", STRING),
    ("first_name_sha256", STRING),
    ("last_name_sha256", STRING),
    ("external_id", STRING),
    ("client_id", STRING),
    ("address", STRING),
    ("user_agent", STRING),
    ("source_url", STRING),
    ("value", "Nullable(Float64)"),
    ("currency", WORD),
    ("order_id", STRING),
    ("content_ids", "Array(String)"),
    ("content_name", STRING),
    ("content_type", STRING),
    ("custom_data", STRING),
];

pub(super) const DELIVERY_COLUMNS: &[(&str, &str)] = &[
    ("project_id", UUID),
    ("integration", WORD),
    ("platform", WORD),
    ("conversion_id", STRING),
    ("delivery_id", UUID),
    ("status", WORD),
    ("attempt", COUNT),
    ("answer", STRING),
    ("latency_ms", COUNT),
    ("at", MOMENT),
];

/// A row of `conversions`. Absent texts are empty.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "each field is the column of the same name, described in sql/")]
pub struct ConversionRow<'a> {
    pub project_id: Uuid,
    pub integration: &'a str,
    pub platform: &'a str,
    pub conversion_id: &'a str,
    pub event_type: &'a str,
    pub timestamp: Timestamp,
    pub received_at: Timestamp,
    pub email_sha256: &'a str,
    pub phone_sha256: &'a str,
    pub first_name_sha256: &'a str,
    pub last_name_sha256: &'a str,
    pub external_id: &'a str,
    pub client_id: &'a str,
    pub address: &'a str,
    pub user_agent: &'a str,
    pub source_url: &'a str,
    pub value: Option<f64>,
    pub currency: &'a str,
    pub order_id: &'a str,
    pub content_ids: &'a [String],
    pub content_name: &'a str,
    pub content_type: &'a str,
    pub custom_data: &'a str,
}

impl ConversionRow<'_> {
    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_uuid(out, self.project_id);
        put_text(out, self.integration);
        put_text(out, self.platform);
        put_text(out, self.conversion_id);
        put_text(out, self.event_type);
        put_moment(out, self.timestamp);
        put_moment(out, self.received_at);
        put_text(out, self.email_sha256);
        put_text(out, self.phone_sha256);
        put_text(out, self.first_name_sha256);
        put_text(out, self.last_name_sha256);
        put_text(out, self.external_id);
        put_text(out, self.client_id);
        put_text(out, self.address);
        put_text(out, self.user_agent);
        put_text(out, self.source_url);
        match self.value {
            None => out.push(1),
            Some(value) => {
                out.push(0);
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        put_text(out, self.currency);
        put_text(out, self.order_id);
        put_length(out, self.content_ids.len());
        self.content_ids.iter().for_each(|id| put_text(out, id));
        put_text(out, self.content_name);
        put_text(out, self.content_type);
        put_text(out, self.custom_data);
    }
}

/// A row of `conversion_deliveries`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is the column of the same name, described in sql/")]
pub struct DeliveryRow<'a> {
    pub project_id: Uuid,
    pub integration: &'a str,
    pub platform: &'a str,
    pub conversion_id: &'a str,
    pub delivery_id: Uuid,
    pub status: &'a str,
    pub attempt: u32,
    /// Cut to [`DeliveryRow::ANSWER_BYTES`] when it is encoded.
    pub answer: &'a str,
    pub latency_ms: u32,
    pub at: Timestamp,
}

impl DeliveryRow<'_> {
    /// As much of a platform's answer as is kept.
    pub const ANSWER_BYTES: usize = 1024;

    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_uuid(out, self.project_id);
        put_text(out, self.integration);
        put_text(out, self.platform);
        put_text(out, self.conversion_id);
        put_uuid(out, self.delivery_id);
        put_text(out, self.status);
        out.extend_from_slice(&self.attempt.to_le_bytes());
        put_text(out, &self.answer[..self.answer.floor_char_boundary(Self::ANSWER_BYTES)]);
        out.extend_from_slice(&self.latency_ms.to_le_bytes());
        put_moment(out, self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Layout, Table, Value};

    fn values(table: Table, bytes: &[u8]) -> Vec<(String, Value<'_>)> {
        let layout = Layout::parse(&table.header()).unwrap();
        let mut rest = bytes;
        assert_eq!(layout.take_row(&mut rest).unwrap(), bytes, "one row and nothing behind it");
        layout.names().map(str::to_owned).zip(layout.values(bytes).unwrap()).collect()
    }

    #[test]
    fn a_conversions_fields_are_the_columns_of_the_header() {
        let ids = ["a".to_owned(), String::new(), "ü".repeat(100)];
        let row = ConversionRow {
            project_id: Uuid::from_u128(7),
            integration: "integration",
            platform: "platform",
            conversion_id: "conversion_id",
            event_type: "event_type",
            timestamp: Timestamp::from_millis(1),
            received_at: Timestamp::from_millis(2),
            email_sha256: "email_sha256",
            phone_sha256: "phone_sha256",
            first_name_sha256: "first_name_sha256",
            last_name_sha256: "last_name_sha256",
            external_id: "external_id",
            client_id: "client_id",
            address: "address",
            user_agent: "user_agent",
            source_url: "source_url",
            value: Some(12.5),
            currency: "currency",
            order_id: "order_id",
            content_ids: &ids,
            content_name: "content_name",
            content_type: "content_type",
            custom_data: "custom_data",
        };
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        let expected_ids = ids.iter().map(String::as_bytes).collect();
        for (name, value) in values(Table::Conversions, &bytes) {
            let expected = match name.as_str() {
                "project_id" => Value::Uuid(Uuid::from_u128(7)),
                "timestamp" => Value::Moment(Timestamp::from_millis(1)),
                "received_at" => Value::Moment(Timestamp::from_millis(2)),
                "value" => Value::OptionalNumber(Some(12.5)),
                "content_ids" => Value::Texts(Vec::clone(&expected_ids)),
                text => Value::Bytes(text.as_bytes()),
            };
            assert_eq!(value, expected, "{name}");
        }
    }

    #[test]
    fn what_was_not_said_is_empty_or_null() {
        let mut bytes = Vec::new();
        ConversionRow::default().encode(&mut bytes);
        for (name, value) in values(Table::Conversions, &bytes) {
            match name.as_str() {
                "project_id" => assert_eq!(value, Value::Uuid(Uuid::nil())),
                "timestamp" | "received_at" => assert_eq!(value, Value::Moment(Timestamp::EPOCH)),
                "value" => assert_eq!(value, Value::OptionalNumber(None)),
                "content_ids" => assert_eq!(value, Value::Texts(Vec::new())),
                _ => assert_eq!(value, Value::Bytes(b""), "{name}"),
            }
        }
    }

    #[test]
    fn a_deliverys_fields_are_the_columns_of_the_header_and_its_answer_is_cut() {
        let answer = "ä".repeat(1_000);
        let row = DeliveryRow {
            project_id: Uuid::from_u128(1),
            integration: "integration",
            platform: "platform",
            conversion_id: "conversion_id",
            delivery_id: Uuid::from_u128(2),
            status: "status",
            attempt: 3,
            answer: &answer,
            latency_ms: u32::MAX,
            at: Timestamp::from_millis(5),
        };
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        let cut = "ä".repeat(512);
        for (name, value) in values(Table::ConversionDeliveries, &bytes) {
            let expected = match name.as_str() {
                "project_id" => Value::Uuid(Uuid::from_u128(1)),
                "delivery_id" => Value::Uuid(Uuid::from_u128(2)),
                "attempt" => Value::Count(3),
                "answer" => Value::Bytes(cut.as_bytes()),
                "latency_ms" => Value::Count(u32::MAX),
                "at" => Value::Moment(Timestamp::from_millis(5)),
                text => Value::Bytes(text.as_bytes()),
            };
            assert_eq!(value, expected, "{name}");
        }
        let json = Layout::parse(&Table::ConversionDeliveries.header()).unwrap().to_json(&bytes).unwrap();
        assert!(json.contains(r#""attempt":3,"#), "{json}");
    }
}
