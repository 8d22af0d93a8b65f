//! `data` comes back byte for byte, whatever JSON it is.

use super::{batch, event, hex, snippet};
use crate::harness::{Collector, Findings};

/// Data that columns of a type can hold, with what `properties` are then.
const PLAIN: &[(&str, &str)] = &[
    ("{}", "{}"),
    (r#"{"plan":"pro"}"#, r#"{"plan":"pro"}"#),
    (" { \"plan\" :\t\"pro\" ,\r\n \"n\" : 1 } ", r#"{"n":1,"plan":"pro"}"#),
    (r#"{"a":{"b":{"c":true}}}"#, r#"{"a":{"b":{"c":true}}}"#),
    (r#"{"price":9.99,"qty":3,"neg":-1}"#, r#"{"neg":-1,"price":9.99,"qty":3}"#),
    (r#"{"n":9223372036854775807}"#, r#"{"n":9223372036854775807}"#),
    (r#"{"list":[1,2,3]}"#, r#"{"list":[1,2,3]}"#),
    (r#"{"s":"grüße, 世界, 😀"}"#, r#"{"s":"grüße, 世界, 😀"}"#),
];

/// Data for which only the text is compared: `properties` make of it what they can.
const ODD: &[&str] = &[
    r#"{"s":"\u0000"}"#,
    r#"{"s":"a\u0000b\b\f\n\r\t\"\\\/"}"#,
    r#"{"\u0070lan":"\u00e9\ud83d\ude00"}"#,
    r#"{"n":-0,"m":1E+2,"k":1.0,"j":0.1e-7,"i":100000000000000000000.5}"#,
    r#"{"n":null}"#,
    r#"{"":"empty name"}"#,
    r#"{"a.b":1,"a":{"b":2}}"#,
    r#"{"a":1,"a.b":2}"#,
    r#"{"list":[1,"two",null,{"three":3},[4]]}"#,
    r#"{"projectKey":"x","events":[1],"data":{"data":{}},"type":5}"#,
    "{\"s\":\"\u{2028}\u{2029}\u{7f}\u{feff}\u{fffd}\u{10ffff}\"}",
    r#"{"s":"</script><!-- ' ; DROP TABLE events; -- \\N"}"#,
    r#"{"__proto__":{"x":1},"constructor":1}"#,
    r#"{"a":1,"a":2}"#,
];

/// Data that no typed column can hold: `properties` are `{}`.
const UNTYPED: &[&str] = &[
    r#"{"n":1e400}"#,
    r#"{"n":-1e999999999}"#,
    r#"{"n":123456789012345678901234567890}"#,
    r#"{"n":-123456789012345678901234567890,"plan":"pro"}"#,
    r#"{"s":"\ud800"}"#,
    r#"{"s":"\udc00\ud800 x","plan":"pro"}"#,
    r#"{"\ud83d":1}"#,
    r#"{"a":[{"b":"\uDFFF"}]}"#,
];

#[test]
fn data_is_stored_as_sent() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let texts = || PLAIN.iter().map(|(data, _)| *data).chain(ODD.iter().chain(UNTYPED).copied());
    for (number, data) in texts().enumerate() {
        let more = format!(r#","data":{data}"#);
        let (page, server) = (snippet(&format!("s{number}"), &more), event(&format!("b{number}"), &more));
        findings.check(data, collector.post(page).gist(), r#"200 {"received":1}"#);
        findings.check(data, collector.post(batch(&[server], "")).gist(), r#"200 {"received":1}"#);
    }
    collector.await_events(2 * texts().count());
    let rows = collector.sql("SELECT type, hex(data), hex(toString(properties)) FROM weir.events");
    for (number, data) in texts().enumerate() {
        let properties = PLAIN.iter().find(|(plain, _)| *plain == data).map(|(_, properties)| *properties);
        let properties = properties.or_else(|| UNTYPED.contains(&data).then_some("{}"));
        for kind in [format!("s{number}"), format!("b{number}")] {
            let row = rows.lines().find(|row| row.split('\t').next() == Some(&kind)).unwrap_or_default();
            let mut columns = row.split('\t').skip(1);
            findings.check(
                format!("data {data}"),
                columns.next(),
                Some(hex(data.trim_matches([' '])).as_str()),
            );
            if let Some(expected) = properties {
                findings.check(format!("properties of {data}"), columns.next(), Some(hex(expected).as_str()));
            }
        }
    }
    findings.report();
}

/// Whatever the strings of an event hold, the columns hold the same.
#[test]
fn strings_are_stored_as_they_were_meant() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let texts = [
        ("plain", "plain"),
        ("grüße 世界 😀", "grüße 世界 😀"),
        (r"gr\u00fc\u00DFe", "grüße"),
        (r"\ud83d\ude00\u0000\u001f", "😀\0\u{1f}"),
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        ("' OR 1=1 --", "' OR 1=1 --"),
        (r"\\N", r"\N"),
        ("\u{feff}\u{202e}\u{200b}", "\u{feff}\u{202e}\u{200b}"),
        (" spaces ", " spaces "),
    ];
    for (sent, _) in texts {
        let own = format!(r#","visitorId":"{sent}","userId":"{sent}","referrer":"{sent}""#);
        let event = format!(r#"{{"type":"{sent}","url":"{sent}"{own}}}"#);
        findings.check(sent, collector.post(batch(&[event], "")).gist(), r#"200 {"received":1}"#);
        let page = format!(
            r#"{{"projectKey":"pk_live_demo","type":"{sent}","url":"https://a.example/{sent}"{own}}}"#
        );
        findings.check(sent, collector.post(page).gist(), r#"200 {"received":1}"#);
    }
    collector.await_events(2 * texts.len());
    let columns = "hex(type), hex(visitor_id), hex(user_id), hex(referrer), hex(url)";
    let rows = collector.sql(&format!("SELECT {columns} FROM weir.events"));
    for (sent, meant) in texts {
        for url in [meant.to_owned(), format!("https://a.example/{meant}")] {
            let expected = format!("{}\t{}", [hex(meant).as_str(); 4].join("\t"), hex(&url));
            findings.holds(format!("{sent} as {url} is not stored"), rows.lines().any(|row| row == expected));
        }
    }
    findings.report();
}
