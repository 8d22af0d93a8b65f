//! From a request to a row.

use crate::harness::Collector;

#[test]
fn the_documented_examples_become_rows() {
    let collector = Collector::start();
    let snippet = collector.post(
        r#"{"type":"pageview",
 "visitorId":"v_abc123","projectKey":"pk_live_demo","url":"https://example.com/pricing","referrer":"https://google.com"}"#,
    );
    assert_eq!((snippet.status, snippet.body.as_str()), (200, r#"{"received":1}"#));
    let batch = collector.post(
        r#"{"projectKey":"pk_live_demo",
 "userId":"lead_456","events":[{"type":"pageview","url":"/pricing","timestamp":"2025-01-15T10:30:00Z"},
 {"type":"click","url":"/pricing","data":{"elementId":"plan-pro"}},
 {"type":"form_submit","url":"/signup","data":{"plan":"pro"}}]}"#,
    );
    assert_eq!((batch.status, batch.body.as_str()), (200, r#"{"received":3}"#));
    collector.await_events(4);
    let rows = collector.sql(
        "SELECT source, type, visitor_id, user_id, url, referrer, data FROM weir.events ORDER BY url, type",
    );
    let expected = [
        "sdk\tclick\t\tlead_456\t/pricing\t\t{\"elementId\":\"plan-pro\"}",
        "sdk\tpageview\t\tlead_456\t/pricing\t\t{}",
        "sdk\tform_submit\t\tlead_456\t/signup\t\t{\"plan\":\"pro\"}",
        "snippet\tpageview\tv_abc123\t\thttps://example.com/pricing\thttps://google.com\t{}",
    ];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    let given = "SELECT timestamp FROM weir.events WHERE source = 'sdk' AND type = 'pageview'";
    assert_eq!(collector.sql(given), "2025-01-15 10:30:00.000");
}
