//! What operators find of conversions.

use uuid::Uuid;
use weir::event::Timestamp;
use weir::row::{ConversionRow, DeliveryRow, Layout, Table};

use super::rows::{RECEIVED, insert};
use super::{Server, client};

const DAY: i64 = 86_400_000;

fn moment(later: i64) -> Timestamp {
    Timestamp::from_millis(RECEIVED + later)
}

fn conversion<'a>(id: &'a str, content_ids: &'a [String]) -> ConversionRow<'a> {
    ConversionRow {
        project_id: Uuid::from_u128(7),
        integration: "shop/meta",
        platform: "meta",
        conversion_id: id,
        event_type: "purchase",
        timestamp: moment(-DAY),
        received_at: moment(0),
        email_sha256: "0a",
        value: Some(19.99),
        currency: "EUR",
        content_ids,
        custom_data: r#"{"coupon":"ü"}"#,
        ..ConversionRow::default()
    }
}

fn delivery<'a>(id: &'a str, status: &'a str, later: i64) -> DeliveryRow<'a> {
    DeliveryRow {
        project_id: Uuid::from_u128(7),
        integration: "shop/meta",
        platform: "meta",
        conversion_id: id,
        delivery_id: Uuid::new_v5(&Uuid::nil(), format!("{id} {status} {later}").as_bytes()),
        status,
        attempt: 1,
        answer: "answered 503",
        latency_ms: 250,
        at: moment(later),
    }
}

fn encode<R>(rows: &[R], one: impl Fn(&R, &mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        one(row, &mut bytes);
    }
    bytes
}

/// The rows of a table as it holds them, after the very header that we send, in order.
async fn stored(server: &Server, table: Table) -> Vec<Vec<u8>> {
    let names: Vec<_> = table.columns().iter().map(|(name, _)| *name).collect();
    let sql = format!("SELECT {} FROM {}", names.join(", "), table.name());
    let client = client(&server.engine.access());
    let mut cursor = client.query_raw(&sql).fetch_bytes("RowBinaryWithNamesAndTypes").expect("rows");
    let read = cursor.collect().await.expect("rows");
    let rows = read.strip_prefix(table.header().as_slice()).expect("the very header we send");
    split(table, rows)
}

fn split(table: Table, mut rows: &[u8]) -> Vec<Vec<u8>> {
    let layout = Layout::parse(&table.header()).expect("a header");
    let mut all = Vec::new();
    while !rows.is_empty() {
        all.push(layout.take_row(&mut rows).expect("a whole row").to_vec());
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_are_stored_as_they_are_encoded() {
    let (server, store) = Server::with_tables().await;
    let ids = ["sku-1".to_owned(), String::new(), "ü\u{1F600}".repeat(60)];
    let rows = [
        conversion("a", &ids),
        conversion("b", &ids[..1]),
        ConversionRow { value: None, ..conversion("c", &[]) },
        ConversionRow { value: Some(-0.1), timestamp: Timestamp::MAX, ..conversion("d", &[]) },
        ConversionRow::default(),
    ];
    let sent = encode(&rows, ConversionRow::encode);
    insert(&store, Table::Conversions, "one", &sent).await.expect("inserted");
    assert_eq!(stored(&server, Table::Conversions).await, split(Table::Conversions, &sent));
    let found = "SELECT conversion_id, value, currency, content_ids[1], JSONExtractString(custom_data, 'coupon') \
                 FROM conversions WHERE has(content_ids, 'sku-1') ORDER BY conversion_id";
    assert_eq!(server.sql(found).await, "a\t19.99\tEUR\tsku-1\tü\nb\t19.99\tEUR\tsku-1\tü");
    let worth = "SELECT count(), countIf(value IS NULL), round(sum(value), 2) FROM conversions";
    assert_eq!(server.sql(worth).await, "5\t2\t39.88");

    // What a collector repeats after a crash comes under another token, and is one row still.
    insert(&store, Table::Conversions, "two", &sent).await.expect("inserted");
    assert_eq!(server.sql("SELECT count() FROM conversions FINAL").await, "5");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_status_of_a_conversion_is_one_query_away() {
    let (server, store) = Server::with_tables().await;
    // Over the end of a month, and not in the order of their moments.
    let rows = [
        delivery("a", "sent", 40 * DAY),
        delivery("a", "queued", 0),
        delivery("a", "retrying", 1),
        delivery("b", "queued", 0),
        delivery("c", "dead", 2),
        delivery("c", "queued", 1),
    ];
    let sent = encode(&rows, DeliveryRow::encode);
    insert(&store, Table::ConversionDeliveries, "one", &sent).await.expect("inserted");
    insert(&store, Table::ConversionDeliveries, "two", &sent).await.expect("inserted");
    let all = "SELECT count(), uniqExact(delivery_id) FROM conversion_deliveries FINAL";
    assert_eq!(server.sql(all).await, "6\t6");
    let last = "SELECT conversion_id, argMax(status, at) FROM conversion_deliveries \
                GROUP BY project_id, integration, conversion_id ORDER BY conversion_id";
    assert_eq!(server.sql(last).await, "a\tsent\nb\tqueued\nc\tdead");
    let said = "SELECT DISTINCT attempt, answer, latency_ms FROM conversion_deliveries";
    assert_eq!(server.sql(said).await, "1\tanswered 503\t250");
    server.stop().await;
}
