//! The whole way, from a conversion to what its page says; the parts' own tests are beside them.

pub(super) mod shop;

use serde_json::json;
use uuid::Uuid;

use self::shop::{Shop, answer, html, product};
use super::*;
use crate::conversions::{ConsentSignals, Identity};
use crate::event::Timestamp;

/// A conversion on `/p` of which this is known.
fn conversion(custom: &serde_json::Value) -> Conversion {
    Conversion {
        id: "1".to_owned(),
        project_id: Uuid::nil(),
        integration: "shop/meta".to_owned(),
        event_type: "view_content".to_owned(),
        occurred_at: Timestamp::EPOCH,
        received_at: Timestamp::EPOCH,
        source_url: Some("http://shop.example/p".to_owned()),
        identity: Identity::default(),
        custom: serde_json::from_value(custom.clone()).expect("custom data"),
        consent: ConsentSignals::default(),
    }
}

fn policy(hosts: &[&str]) -> EnrichPolicy {
    EnrichPolicy {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        events: vec!["view_content".to_owned(), "add_to_cart".to_owned()],
    }
}

fn enricher(shop: &Arc<Shop>, clock: Clock) -> Enricher {
    let network = Arc::clone(shop) as Arc<dyn Network>;
    Enricher::new(EnrichSettings {
        network,
        time_limit: Duration::from_secs(20),
        ..EnrichSettings::new(clock)
    })
}

async fn shop() -> Arc<Shop> {
    Shop::open([("/p", html(&product("19.90")))]).await
}

#[tokio::test]
async fn what_is_missing_is_filled_in_from_one_offer_and_nothing_else_is_touched() {
    let cases = [
        (json!({}), json!({"value": 19.9, "currency": "EUR"})),
        (
            json!({"order_id": "7", "more": {"a": 1}}),
            json!({"order_id": "7", "more": {"a": 1}, "value": 19.9, "currency": "EUR"}),
        ),
        // half of it, which fits
        (json!({"currency": "EUR"}), json!({"value": 19.9, "currency": "EUR"})),
        (json!({"value": 19.90}), json!({"value": 19.9, "currency": "EUR"})),
        // half of it, which does not
        (json!({"currency": "USD"}), json!({"currency": "USD"})),
        (json!({"value": 39.8}), json!({"value": 39.8})),
        (json!({"value": 0}), json!({"value": 0})),
    ];
    let enricher = enricher(&shop().await, Clock::system());
    for (given, expected) in cases {
        let mut subject = conversion(&given);
        enricher.enrich(&mut subject, &policy(&["shop.example"])).await;
        assert_eq!(subject, conversion(&expected), "{given}");
    }
}

#[tokio::test]
async fn a_page_is_only_asked_for_where_that_was_allowed_and_can_be_of_use() {
    type Change = fn(&mut Conversion, &mut EnrichPolicy);
    let cases: [(&str, Change); 9] = [
        ("all is known", |conversion, _| {
            conversion.custom.value = Some(5.into());
            conversion.custom.currency = Some("USD".to_owned());
        }),
        ("another event type", |conversion, _| conversion.event_type = "purchase".to_owned()),
        ("no event types", |_, policy| policy.events.clear()),
        ("no hosts", |_, policy| policy.hosts.clear()),
        ("another host", |_, policy| policy.hosts = vec!["other.example".to_owned()]),
        ("a host below", |_, policy| policy.hosts = vec!["*.shop.example".to_owned()]),
        ("no page", |conversion, _| conversion.source_url = None),
        ("no URL", |conversion, _| conversion.source_url = Some("shop.example/p".to_owned())),
        ("a port", |conversion, _| conversion.source_url = Some("http://shop.example:8080/p".to_owned())),
    ];
    let shop = shop().await;
    let enricher = enricher(&shop, Clock::system());
    for (what, change) in cases {
        let (mut subject, mut policy) = (conversion(&json!({})), policy(&["shop.example"]));
        change(&mut subject, &mut policy);
        let before = subject.clone();
        enricher.enrich(&mut subject, &policy).await;
        assert_eq!(subject, before, "{what}");
    }
    assert!(shop.resolved().is_empty() && shop.connected().is_empty());
    let mut subject = conversion(&json!({}));
    enricher.enrich(&mut subject, &policy(&["other.example", "shop.example"])).await;
    assert!(subject.custom.value.is_some());
    assert_eq!(shop.requests().len(), 1);
}

#[tokio::test]
async fn the_clicks_on_a_page_have_it_fetched_once_and_say_nothing_of_themselves() {
    let shop = shop().await;
    let enricher = enricher(&shop, Clock::system());
    let clicks = (0..20).map(|click| {
        let enricher = enricher.clone();
        tokio::spawn(async move {
            let mut subject = conversion(&json!({}));
            subject.source_url =
                Some(format!("http://shop.example/p?utm_source=x&fbclid={click}&gclid=y#{click}"));
            enricher.enrich(&mut subject, &policy(&["shop.example"])).await;
            subject.custom.value
        })
    });
    for click in clicks.collect::<Vec<_>>() {
        assert_eq!(click.await.expect("no panic"), Number::from_f64(19.9));
    }
    let requests = shop.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("GET /p HTTP/1.1\r\n"), "{}", requests[0]);
}

#[test]
fn a_pages_url_keeps_what_tells_pages_apart() {
    let cases = [
        ("https://shop.example/p", "https://shop.example/p"),
        ("https://SHOP.example:443/p#part", "https://shop.example/p"),
        (
            "https://shop.example/p?variant=1&utm_medium=cpc&a=%20&b",
            "https://shop.example/p?variant=1&a=%20&b",
        ),
        ("https://shop.example/p?gclid=1&fbclid=2", "https://shop.example/p"),
        ("https://shop.example/p?q=gclid&my_utm_source=1", "https://shop.example/p?q=gclid&my_utm_source=1"),
    ];
    for (source, expected) in cases {
        assert_eq!(page_url(source).map(String::from).as_deref(), Some(expected), "{source}");
    }
    for source in ["", "/p", "shop.example/p", "https://", "https://[::1"] {
        assert_eq!(page_url(source), None, "{source:?}");
    }
}

#[tokio::test]
async fn a_page_that_failed_is_asked_for_again_after_five_minutes_and_one_that_did_not_after_a_day() {
    let shop = Shop::open([
        ("/p", html(&product("5"))),
        ("/q", answer("500 Oh", &["Content-Type: text/html"], b"")),
    ])
    .await;
    let clock = Clock::manual(Timestamp::EPOCH);
    let enricher = enricher(&shop, clock.clone());
    let minutes = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
    let asked = async |at: i64, path: &str| {
        clock.set(minutes(at));
        let before = shop.requests().len();
        let mut subject = conversion(&json!({}));
        subject.source_url = Some(format!("http://shop.example{path}"));
        enricher.enrich(&mut subject, &policy(&["shop.example"])).await;
        assert_eq!(subject.custom.value.is_some(), path == "/p");
        shop.requests().len() > before
    };
    for (at, path, expected) in [
        (0, "/p", true),
        (0, "/q", true),
        (4, "/q", false),
        (5, "/q", true),
        (5, "/p", false),
        (1_439, "/p", false),
        (1_440, "/p", true),
    ] {
        assert_eq!(asked(at, path).await, expected, "{path} after {at} minutes");
    }
}

#[tokio::test]
async fn what_one_list_of_hosts_allowed_is_not_told_to_another() {
    let shop =
        Shop::open([("/p", shop::redirect("http://www.shop.example/q")), ("/q", html(&product("5")))]).await;
    shop.name("www.shop.example", &[&[shop::PUBLIC]]);
    let enricher = enricher(&shop, Clock::system());
    for (hosts, filled) in
        [(["shop.example", "*.shop.example"], true), (["shop.example", "other.example"], false)]
    {
        let mut subject = conversion(&json!({}));
        enricher.enrich(&mut subject, &policy(&hosts)).await;
        assert_eq!(subject.custom.value.is_some(), filled, "{hosts:?}");
    }
}

#[tokio::test]
async fn content_ids_choose_among_the_offers_of_a_page_that_was_fetched_before() {
    let offers = json!({"@type": "Product", "offers": [
        {"sku": "A", "price": 5, "priceCurrency": "EUR"}, {"sku": "B", "price": 6, "priceCurrency": "EUR"}]});
    let page = format!("<script type='application/ld+json'>{offers}</script>");
    let shop = Shop::open([("/p", html(&page))]).await;
    let enricher = enricher(&shop, Clock::system());
    for (ids, expected) in [(json!(["A"]), Some(5)), (json!(["B"]), Some(6)), (json!(["C"]), None)] {
        let mut subject = conversion(&json!({"content_ids": ids}));
        enricher.enrich(&mut subject, &policy(&["shop.example"])).await;
        assert_eq!(subject.custom.value, expected.map(Number::from), "{ids}");
    }
    assert_eq!(shop.requests().len(), 1);
}

/// A network that never answers.
struct Nowhere;

impl Network for Nowhere {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
    ) -> futures_util::future::BoxFuture<'a, std::io::Result<Vec<std::net::IpAddr>>> {
        Box::pin(std::future::pending())
    }

    fn connect(
        &self,
        _: std::net::SocketAddr,
    ) -> futures_util::future::BoxFuture<'_, std::io::Result<tokio::net::TcpStream>> {
        Box::pin(std::future::pending())
    }
}

/// What a page that never comes says of a conversion's value, and how long that takes.
async fn in_vain(enricher: Enricher, url: String) -> Duration {
    let begun = tokio::time::Instant::now();
    let mut subject = conversion(&json!({}));
    subject.source_url = Some(url);
    enricher.enrich(&mut subject, &policy(&["shop.example", "other.example"])).await;
    assert_eq!(subject.custom.value, None);
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_conversion_that_gets_no_turn_goes_without() {
    let settings = EnrichSettings { network: Arc::new(Nowhere), ..EnrichSettings::new(Clock::system()) };
    let enricher = Enricher::new(settings);
    let begun = tokio::time::Instant::now();
    let all =
        (0..100).map(|page| tokio::spawn(in_vain(enricher.clone(), format!("http://shop.example/{page}"))));
    for one in all.collect::<Vec<_>>() {
        one.await.expect("no panic");
    }
    let took = begun.elapsed();
    assert!(took >= TIME_LIMIT && took <= TIME_LIMIT * 2 + Duration::from_millis(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_left_alone_for_a_while() {
    let clock = Clock::manual(Timestamp::EPOCH);
    let settings = EnrichSettings { network: Arc::new(Nowhere), ..EnrichSettings::new(clock.clone()) };
    let enricher = Enricher::new(settings);
    let ask = |host: &str, page: usize| in_vain(enricher.clone(), format!("http://{host}.example/{page}"));
    for page in 0..3 {
        assert!(ask("shop", page).await >= TIME_LIMIT);
    }
    for page in 3..100 {
        assert_eq!(ask("shop", page).await, Duration::ZERO);
    }
    assert!(ask("other", 0).await >= TIME_LIMIT, "another host is asked");
    clock.set(Timestamp::from_millis(60_000));
    assert!(ask("shop", 3).await >= TIME_LIMIT, "it is asked again");
    assert_eq!(ask("shop", 4).await, Duration::ZERO);
}
