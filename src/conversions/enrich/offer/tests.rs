use proptest::prelude::*;
use serde_json::json;

use super::*;

const URL: &str = "https://shop.example/p/shirt";

fn page(url: &str, html: &str) -> Page {
    Page::read(html.as_bytes(), &Url::parse(url).expect("a URL"))
}

/// A page with these blocks of JSON-LD.
fn data(blocks: &[Value]) -> String {
    let script = |block: &Value| format!(r#"<script type="application/ld+json">{block}</script>"#);
    let blocks: String = blocks.iter().map(script).collect();
    format!("<!doctype html><html><head><title>Shirt</title>{blocks}</head><body>x</body></html>")
}

fn told(page: &Page, ids: &[&str]) -> Option<(String, String)> {
    let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
    page.offer(&ids).map(|offer| (offer.price.to_string(), offer.currency))
}

fn offered(price: &str, currency: &str) -> (String, String) {
    (price.to_owned(), currency.to_owned())
}

#[test]
fn the_offer_of_the_only_product_is_found_however_it_is_written() {
    let offer = json!({"@type": "Offer", "price": "19.90", "priceCurrency": "EUR"});
    let product = json!({"@type": "Product", "name": "Shirt", "offers": offer});
    let cases = [
        ("plain", product.clone()),
        ("an array", json!([{"@type": "BreadcrumbList"}, product])),
        ("a graph", json!({"@context": "https://schema.org", "@graph": [{"@type": "WebSite"}, product]})),
        ("graphs in an array", json!([[{"@graph": [[product]]}]])),
        ("of a page", json!({"@type": "ItemPage", "mainEntity": product})),
        ("types", json!({"@type": ["Product", "Book"], "offers": offer})),
        ("type as a URL", json!({"@type": "https://schema.org/Product", "offers": offer})),
        ("type with a prefix", json!({"@type": "schema:Product", "offers": offer})),
        ("offers in an array", json!({"@type": "Product", "offers": [offer]})),
        ("the same offer twice", json!({"@type": "Product", "offers": [offer, offer]})),
        ("a number", json!({"@type": "Product", "offers": {"price": 19.9, "priceCurrency": "EUR"}})),
        ("a group", json!({"@type": "ProductGroup", "offers": offer})),
        ("a group's variants", json!({"@type": "ProductGroup", "hasVariant": [product, product]})),
    ];
    for (name, block) in cases {
        assert_eq!(told(&page(URL, &data(&[block])), &[]), Some(offered("19.9", "EUR")), "{name}");
    }
}

#[test]
fn a_price_is_found_wherever_an_offer_has_it() {
    let eur = |price: &str| json!({"price": price, "priceCurrency": "EUR"});
    let specified = |prices: Value| json!({"@type": "Offer", "priceSpecification": prices});
    let range = |price: Value, offers: Value| {
        json!({"@type": "AggregateOffer", "price": price, "lowPrice": "19.90", "highPrice": "29.90",
            "priceCurrency": "EUR", "offers": offers})
    };
    let list_price =
        json!({"price": "29.90", "priceCurrency": "EUR", "priceType": "https://schema.org/ListPrice"});
    let measure = json!({"price": "9.95", "priceCurrency": "EUR", "referenceQuantity": {"unitCode": "MLT"}});
    let members = json!({"price": "17.90", "priceCurrency": "EUR", "validForMemberTier": {"name": "gold"}});
    let cases = [
        ("itself", eur("19.90"), "19.9"),
        ("a specification", specified(eur("19.90")), "19.9"),
        ("of a list", specified(json!([eur("19.90")])), "19.9"),
        (
            "the offer's currency",
            json!({"priceCurrency": "EUR", "priceSpecification": {"price": 19.9}}),
            "19.9",
        ),
        ("itself first", json!({"price": 5, "priceCurrency": "EUR", "priceSpecification": eur("6")}), "5"),
        ("not crossed out, as WooCommerce has a sale", specified(json!([list_price, eur("19.90")])), "19.9"),
        ("not of a measure or for members", specified(json!([measure, members, eur("19.90")])), "19.9"),
        ("a range's least", range(json!(null), json!(2)), "19.9"),
        (
            "a range's least, if its offers differ",
            range(json!(null), json!([eur("29.90"), eur("19.90")])),
            "19.9",
        ),
        ("a range's offers, if they do not", range(json!(null), json!([eur("25"), eur("25.00")])), "25"),
        ("a range's own price", range(json!("22"), json!(null)), "22"),
    ];
    for (name, offers, price) in cases {
        let block = json!({"@type": "Product", "offers": offers});
        assert_eq!(told(&page(URL, &data(&[block])), &[]), Some(offered(price, "EUR")), "{name}");
    }
}

#[test]
fn nothing_is_made_up() {
    let cases = [
        ("no product", json!({"@type": "Article", "offers": {"price": 1, "priceCurrency": "EUR"}})),
        ("no type", json!({"offers": {"price": 1, "priceCurrency": "EUR"}})),
        ("another type", json!({"@type": "NotProduct", "offers": {"price": 1, "priceCurrency": "EUR"}})),
        ("no currency", json!({"@type": "Product", "offers": {"price": "19.90"}})),
        ("no price", json!({"@type": "Product", "offers": {"priceCurrency": "EUR"}})),
        (
            "currency of another offer",
            json!({"@type": "Product", "offers": [{"price": 5}, {"priceCurrency": "EUR"}]}),
        ),
        (
            "currency beside the offer",
            json!({"@type": "Product", "priceCurrency": "EUR", "offers": {"price": 5}}),
        ),
        ("ambiguous", json!({"@type": "Product", "offers": {"price": "1.234", "priceCurrency": "EUR"}})),
        (
            "a range as text",
            json!({"@type": "Product", "offers": {"price": "10-20", "priceCurrency": "EUR"}}),
        ),
        (
            "variants of which none is named",
            json!({"@type": "Product", "offers": [
            {"price": 5, "priceCurrency": "EUR"}, {"price": 6, "priceCurrency": "EUR"}]}),
        ),
        (
            "prices of which both are paid",
            json!({"@type": "Product", "offers": {"priceSpecification": [
            {"price": 5, "priceCurrency": "EUR"}, {"price": 6, "priceCurrency": "EUR"}]}}),
        ),
        (
            "only crossed out",
            json!({"@type": "Product", "offers": {"priceSpecification":
            {"price": 5, "priceCurrency": "EUR", "priceType": "https://schema.org/StrikethroughPrice"}}}),
        ),
        (
            "two currencies",
            json!({"@type": "Product", "offers": [
            {"price": 5, "priceCurrency": "EUR"}, {"price": 5, "priceCurrency": "USD"}]}),
        ),
        (
            "a related product only",
            json!({"@type": "Product", "isRelatedTo":
            {"@type": "Product", "offers": {"price": 5, "priceCurrency": "EUR"}}}),
        ),
        (
            "a list's products",
            json!({"@type": "ItemList", "itemListElement": [
            {"@type": "Product", "offers": {"price": 5, "priceCurrency": "EUR"}}]}),
        ),
    ];
    for (name, block) in cases {
        assert_eq!(told(&page(URL, &data(&[block])), &["5"]), None, "{name}");
    }
}

/// A product of this SKU and URL, which costs as much.
fn product(sku: &str, url: &str, price: u32) -> Value {
    json!({"@type": "Product", "sku": sku, "url": url, "offers": {"price": price, "priceCurrency": "EUR"}})
}

/// What is shown, the blocks, the content ids, the price that is meant.
type SeveralProducts<'a> = (&'a str, &'a [Value], &'a [&'a str], Option<u32>);

#[test]
fn of_several_products_the_named_one_is_meant() {
    let shirt = product("S-1", "/p/shirt/", 20);
    let shoe = product("S-2", "https://shop.example/p/shoe", 50);
    let cases: [SeveralProducts; 12] = [
        ("the page's own", &[shoe.clone(), shirt.clone()], &[], Some(20)),
        ("by its SKU", &[shoe.clone(), shirt.clone()], &["S-2"], Some(50)),
        ("the SKU before the URL", &[shirt.clone(), shoe.clone()], &["S-2", "other"], Some(50)),
        ("the URL if the SKU is of none", &[shirt.clone(), shoe.clone()], &["other"], Some(20)),
        ("two SKUs", &[shirt.clone(), shoe.clone()], &["S-1", "S-2"], None),
        ("the same block twice", &[shirt.clone(), shirt.clone()], &["nothing"], Some(20)),
        (
            "two blocks that agree",
            &[shirt.clone(), product("S-1", "/p/shirt", 20), shoe.clone()],
            &[],
            Some(20),
        ),
        ("two blocks that do not", &[shirt.clone(), product("S-1", "/p/shirt", 21)], &["S-1"], None),
        (
            "reviews apart",
            &[json!({"@type": "Product", "url": URL, "review": []}), shirt.clone()],
            &[],
            Some(20),
        ),
        ("neither", &[shoe.clone(), product("S-3", "/p/sock", 5)], &["other"], None),
        ("neither has a name", &[product("", "", 5), product("", "", 6)], &[""], None),
        ("of another shop", &[product("", "https://other.example/p/shirt", 5), shoe.clone()], &[], None),
    ];
    for (name, blocks, ids, expected) in cases {
        let expected = expected.map(|price| (price.to_string(), "EUR".to_owned()));
        assert_eq!(told(&page(URL, &data(blocks)), ids), expected, "{name}");
        let graph = json!({"@graph": blocks});
        assert_eq!(told(&page(URL, &data(&[graph])), ids), expected, "{name}, in a graph");
    }
}

#[test]
fn of_several_variants_the_named_one_is_meant() {
    let offer = |sku: Value, url: &str, price: u32| json!({"sku": sku, "url": url, "price": price, "priceCurrency": "EUR"});
    let shopify = json!({"@type": "Product", "url": URL, "offers": [
        offer(json!("A"), "/p/shirt?variant=1", 20), offer(json!(4711), "/p/shirt?variant=2", 25)]});
    let variant = |sku: &str, url: &str, price: u32| product(sku, url, price);
    let group = json!({"@type": "ProductGroup", "url": URL, "hasVariant": [
        variant("A", "/p/shirt?variant=1", 20), variant("4711", "/p/shirt?variant=2", 25)]});
    for block in [shopify, group] {
        let html = data(&[block]);
        for (url, ids, expected) in [
            (URL.to_owned(), vec![], None),
            (URL.to_owned(), vec!["A"], Some(20)),
            (URL.to_owned(), vec!["4711"], Some(25)),
            (format!("{URL}?variant=2"), vec![], Some(25)),
            (format!("{URL}?a=b&variant=1&c=d"), vec![], Some(20)),
            (format!("{URL}?variant=3"), vec![], None),
            (format!("http{}?variant=1", &URL[5..]), vec!["other"], Some(20)),
        ] {
            let expected = expected.map(|price: u32| (price.to_string(), "EUR".to_owned()));
            assert_eq!(told(&page(&url, &html), &ids), expected, "{url} {ids:?}");
        }
    }
}

#[test]
fn meta_elements_count_where_no_data_has_a_price() {
    let meta = |pairs: &[(&str, &str)]| -> String {
        let one =
            |(name, content): &(&str, &str)| format!(r#"<META property="{name}" content="{content}"/>"#);
        pairs.iter().map(one).collect()
    };
    let product_price = [("product:price:amount", "19,90"), ("product:price:currency", "eur")];
    let og_price = [("og:price:amount", "1,290.00"), ("og:price:currency", "USD")];
    let both = [og_price, product_price].concat();
    let unpriced = data(&[json!({"@type": "Product", "name": "Shirt"})]);
    let priced = data(&[product("", "", 7)]);
    let several = data(&[product("A", "/a", 7), product("B", "/b", 8)]);
    let cases = [
        ("product", meta(&product_price), Some(offered("19.9", "EUR"))),
        ("og", meta(&og_price), Some(offered("1290", "USD"))),
        ("product before og", meta(&both), Some(offered("19.9", "EUR"))),
        ("twice the same", meta(&product_price).repeat(2), Some(offered("19.9", "EUR"))),
        (
            "og where product is not whole",
            meta(&[&og_price[..], &product_price[..1]].concat()),
            Some(offered("1290", "USD")),
        ),
        ("never half of each", meta(&[product_price[0], og_price[1]]), None),
        ("two prices", meta(&[product_price[0], product_price[1], ("product:price:amount", "5")]), None),
        ("ambiguous", meta(&[("og:price:amount", "1.234"), ("og:price:currency", "EUR")]), None),
        ("by name", meta(&product_price).replace("property=", "name="), Some(offered("19.9", "EUR"))),
        ("a product without a price", unpriced + &meta(&product_price), Some(offered("19.9", "EUR"))),
        ("a product with one", priced + &meta(&product_price), Some(offered("7", "EUR"))),
        ("several products of which none is meant", several + &meta(&product_price), None),
        ("in a comment", format!("<!-- {} -->", meta(&product_price)), None),
        ("in a script", format!("<script>'{}'</script>", meta(&product_price)), None),
    ];
    for (name, html, expected) in cases {
        assert_eq!(told(&page(URL, &html), &[]), expected, "{name}");
    }
}

#[test]
fn a_script_is_read_as_browsers_read_it() {
    let block = product("A", URL, 20);
    let cases = [
        (format!("<SCRIPT type='Application/LD+JSON; charset=utf-8'>\n {block} \n</SCRIPT>"), true),
        (format!("<script id=x data-y async type=application/ld+json>{block}</script>"), true),
        (format!("<select><script type='application/ld+json'>{block}</script></select>"), true),
        (
            format!(
                "<script type='application/ld+json'>{{oops</script>{}",
                data(std::slice::from_ref(&block))
            ),
            true,
        ),
        (format!("<script type='application/ld+json'></script>{}", data(std::slice::from_ref(&block))), true),
        (format!("<script type='application/json'>{block}</script>"), false),
        (format!("<script>{block}</script>"), false),
        (format!("<!-- <script type='application/ld+json'>{block}</script> -->"), false),
        (format!("<textarea><script type='application/ld+json'>{block}</script></textarea>"), false),
    ];
    for (html, found) in cases {
        assert_eq!(told(&page(URL, &html), &[]).is_some(), found, "{html}");
    }
}

#[test]
fn too_much_of_anything_is_nothing() {
    let block = product("A", URL, 20);
    let spaces =
        |count: usize| format!("<script type='application/ld+json'>{block}{}</script>", " ".repeat(count));
    let room = LARGEST_SCRIPT - block.to_string().len();
    let blocks = |count: usize| data(&vec![block.clone(); count]);
    let offers = |count: usize| {
        let offer = &block["offers"];
        data(&[json!({"@type": "Product", "offers": vec![offer; count]})])
    };
    let nested = |depth: usize| {
        format!(
            "<script type='application/ld+json'>{}{block}{}</script>",
            r#"{"@graph":"#.repeat(depth),
            "}".repeat(depth)
        )
    };
    let cases = [
        (spaces(room), true),
        (spaces(room + 1), false),
        (blocks(MOST_SCRIPTS), true),
        (blocks(MOST_SCRIPTS + 1), false),
        (offers(999), true),
        (offers(1_000), false),
        (nested(100), true),
        (nested(100_000), false),
        (format!("{}{}", "<div>".repeat(200_000), blocks(1)), false),
    ];
    for (at, (html, found)) in cases.iter().enumerate() {
        assert_eq!(told(&page(URL, html), &[]).is_some(), *found, "case {at}");
    }
}

#[test]
fn a_page_weighs_what_it_names() {
    let small = page(URL, &data(&[product("A", URL, 20)])).bytes();
    let large = page(URL, &data(&[product("A", &format!("/{}", "x".repeat(2_000)), 20)])).bytes();
    assert!(small < 2_000 && large > small + 1_900, "{small} and {large} bytes");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(html in "\\PC{0,200}", json in "[\\[\\]{}\":,@a-zA-Z0-9 ]{0,80}") {
        page(URL, &html);
        page(URL, &format!("<script type='application/ld+json'>{json}</script>"));
    }
}
