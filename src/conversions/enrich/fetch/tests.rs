use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::tests::shop::{PUBLIC, Reply, Shop, answer, html, product, redirect};
use super::*;

const HTML: &str = "Content-Type: text/html";
const LIMIT: Duration = Duration::from_secs(20);

/// What a fetch of `url` comes to, where all of the hosts that the tests use are listed.
async fn fetch(network: Arc<dyn Network>, limit: Duration, url: &str) -> Result<Page, FetchError> {
    let mut hosts: Vec<String> =
        ["shop.example", "*.shop.example", "localhost"].into_iter().map(str::to_owned).collect();
    let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    // Addresses are listed, so that it is the guard that refuses them.
    hosts.extend(url.host().filter(|host| !matches!(host, Host::Domain(_))).map(|host| host.to_string()));
    hosts.extend(["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"].map(str::to_owned));
    Fetcher::new(network, limit).fetch(url, &hosts).await
}

async fn fetch_from(shop: &Arc<Shop>, url: &str) -> Result<Page, FetchError> {
    fetch(Arc::clone(shop) as Arc<dyn Network>, LIMIT, url).await
}

/// What the fetch of the page `/` comes to that answers so.
async fn fetch_reply(reply: Reply) -> Result<Option<String>, FetchError> {
    let shop = Shop::open([("/", reply)]).await;
    let page = fetch_from(&shop, "http://shop.example/").await?;
    Ok(page.offer(&[]).map(|offer| offer.price.to_string()))
}

#[tokio::test]
async fn a_page_is_asked_for_at_the_address_that_was_checked_and_without_anything_of_ours() {
    let shop = Shop::open([("/p?a=b%20c", html(&product("19.90")))]).await;
    fetch_from(&shop, "http://shop.example/p?a=b%20c#part").await.expect("a page");
    assert_eq!(shop.connected(), [format!("{PUBLIC}:80")]);
    assert_eq!(shop.resolved(), ["shop.example"]);
    let requests = shop.requests();
    let lines: Vec<String> =
        requests.iter().flat_map(|request| request.lines()).map(str::to_lowercase).collect();
    let expected = [
        "get /p?a=b%20c http/1.1".to_owned(),
        format!("user-agent: weir/{}", env!("CARGO_PKG_VERSION")),
        "accept: text/html".to_owned(),
        "accept-encoding: gzip, br".to_owned(),
        "host: shop.example".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_name_with_any_address_of_our_own_network_is_not_connected_to() {
    let answers: [&[&str]; 13] = [
        &["127.0.0.1"],
        &["10.0.0.1"],
        &["169.254.169.254"],
        &["100.64.0.1"],
        &["0.0.0.0"],
        &["::1"],
        &["fd00::1"],
        &["fe80::1"],
        &["::ffff:127.0.0.1"],
        &["::ffff:192.168.0.1"],
        &["64:ff9b::a00:1"],
        &[PUBLIC, "192.168.0.1"],
        &["2606:4700:4700::1111", "8.8.8.8", PUBLIC, "1.1.1.1", "::ffff:10.0.0.1"],
    ];
    let shop = Shop::open([("/", html(&product("1")))]).await;
    for addresses in answers {
        for url in ["http://shop.example/", "https://shop.example/"] {
            shop.name("shop.example", &[addresses]);
            assert_eq!(fetch_from(&shop, url).await, Err(FetchError::Address), "{url} at {addresses:?}");
        }
    }
    assert!(shop.connected().is_empty() && shop.requests().is_empty());
    shop.name("shop.example", &[&["2606:4700:4700::1111", PUBLIC]]);
    assert!(fetch_from(&shop, "http://shop.example/").await.is_ok());
    assert_eq!(shop.connected(), ["[2606:4700:4700::1111]:80"]);
}

#[tokio::test]
async fn a_name_that_stands_for_nothing_is_not_connected_to() {
    let shop = Shop::open([]).await;
    shop.name("shop.example", &[&[]]);
    for url in ["http://shop.example/", "http://unknown.shop.example/"] {
        assert_eq!(fetch_from(&shop, url).await, Err(FetchError::Unresolved), "{url}");
    }
    assert!(shop.connected().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_address_after_the_check_leads_nowhere_else() {
    let shop = Shop::open([("/", html(&product("1"))), ("/moved", redirect("/"))]).await;
    shop.name("shop.example", &[&[PUBLIC], &["127.0.0.1"]]);
    assert!(fetch_from(&shop, "http://shop.example/").await.is_ok());
    assert_eq!(shop.resolved().len(), 1, "what was checked was resolved once more");
    assert_eq!(fetch_from(&shop, "http://shop.example/").await, Err(FetchError::Address));
    // The connection that a redirect came over is not used for what it leads to.
    shop.name("shop.example", &[&[PUBLIC], &["127.0.0.1"]]);
    assert_eq!(fetch_from(&shop, "http://shop.example/moved").await, Err(FetchError::Address));
    assert_eq!(shop.connected(), [format!("{PUBLIC}:80"), format!("{PUBLIC}:80")]);
    assert_eq!(shop.requests().len(), 2);
}

#[tokio::test]
async fn an_address_in_place_of_a_name_is_checked_however_it_is_written() {
    let shop = Shop::open([("/", html(&product("1")))]).await;
    let urls = [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://①②⑦.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fd00:ec2::254]/",
        "https://[fe80::1]/",
        "https://10.0.0.1/",
    ];
    for url in urls {
        assert_eq!(fetch_from(&shop, url).await, Err(FetchError::Address), "{url}");
    }
    assert!(shop.connected().is_empty() && shop.resolved().is_empty());
    for url in ["http://8.8.8.8/", "http://[2606:4700:4700::1111]/"] {
        assert!(fetch_from(&shop, url).await.is_ok(), "{url}");
    }
    assert_eq!(shop.connected(), ["8.8.8.8:80", "[2606:4700:4700::1111]:80"]);
    assert!(shop.resolved().is_empty());
}

/// Nothing is put in place of the system's network here: a server stands ready, and is not reached.
#[tokio::test]
async fn the_systems_own_network_leads_to_no_loopback_address() {
    let network: Arc<dyn Network> = Arc::new(SystemNetwork);
    let resolved = network.resolve("localhost").await.expect("every system knows it");
    assert!(!resolved.is_empty() && resolved.iter().all(IpAddr::is_loopback), "{resolved:?}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    network.connect(address).await.expect("it can be reached as such");
    for url in ["http://localhost/", "https://localhost/", "http://127.0.0.1/", "http://[::1]/"] {
        assert_eq!(fetch(Arc::clone(&network), LIMIT, url).await, Err(FetchError::Address), "{url}");
    }
    let uri = format!("http://localhost:{}/", address.port()).parse().expect("a URI");
    let refused = Connector(network).connect(uri).await.map(|_| ());
    assert_eq!(refused, Err(FetchError::Address));
}

#[tokio::test]
async fn a_redirect_is_checked_as_the_url_was() {
    let cases = [
        ("http://127.0.0.1/", FetchError::Address),
        ("http://[::1]/", FetchError::Address),
        ("http://2130706433/", FetchError::Address),
        ("http://[::ffff:10.0.0.1]/", FetchError::Address),
        ("http://169.254.169.254/latest/meta-data/", FetchError::Address),
        ("http://localhost/", FetchError::Address),
        ("http://inside.shop.example/", FetchError::Address),
        ("http://other.example/", FetchError::Host),
        ("//other.example/", FetchError::Host),
        ("http://8.8.8.8/", FetchError::Host),
        ("http://shop.example:8080/", FetchError::Port),
        ("http://shop.example:6379/", FetchError::Port),
        ("http://user:password@shop.example/", FetchError::Credentials),
        ("file:///etc/passwd", FetchError::Scheme),
        ("ftp://shop.example/", FetchError::Scheme),
        ("javascript:alert(1)", FetchError::Scheme),
        ("http://[::1/", FetchError::Location),
    ];
    for (location, expected) in cases {
        let shop = Shop::open([("/", redirect(location))]).await;
        shop.name("localhost", &[&["127.0.0.1"]]);
        shop.name("inside.shop.example", &[&["10.1.2.3"]]);
        shop.name("other.example", &[&[PUBLIC]]);
        assert_eq!(fetch_from(&shop, "http://shop.example/").await, Err(expected), "{location}");
        assert_eq!(shop.connected().len(), 1, "{location}");
    }
    assert_eq!(fetch_reply(answer("302 Found", &[HTML], b"")).await, Err(FetchError::Location));
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let replies = [
        ("/4", redirect("/3")),
        ("/3", redirect("http://www.shop.example/2")),
        ("/2", redirect("//shop.example/1?a=b")),
        ("/1?a=b", redirect(".")),
        ("/", html(&product("19.90"))),
        ("/loop", redirect("/loop")),
    ];
    let shop = Shop::open(replies).await;
    shop.name("www.shop.example", &[&["8.8.8.8"]]);
    let page = fetch_from(&shop, "http://shop.example/3").await.expect("a page");
    assert_eq!(page.offer(&[]).map(|offer| offer.price.to_string()).as_deref(), Some("19.9"));
    let public = format!("{PUBLIC}:80");
    assert_eq!(shop.connected(), [&public, "8.8.8.8:80", &public, &public]);
    for url in ["http://shop.example/4", "http://shop.example/loop"] {
        let before = shop.requests().len();
        assert_eq!(fetch_from(&shop, url).await, Err(FetchError::Redirects), "{url}");
        assert_eq!(shop.requests().len() - before, 4, "{url}");
    }
}

#[test]
fn no_redirect_leads_from_https_to_http() {
    let headers = |location: &'static str| {
        HeaderMap::from_iter([(header::LOCATION, http::HeaderValue::from_static(location))])
    };
    let next = |from: &str, to| redirected(&Url::parse(from).expect("a URL"), &headers(to)).map(String::from);
    let (plain, secure) = ("http://shop.example/", "https://shop.example/");
    assert_eq!(next(secure, plain), Err(FetchError::Scheme));
    assert_eq!(next(plain, secure), Ok(secure.to_owned()));
    assert_eq!(next(secure, "/a"), Ok(format!("{secure}a")));
    assert_eq!(next(plain, "//shop.example/a"), Ok(format!("{plain}a")));
}

#[tokio::test]
async fn what_speaks_no_tls_is_no_https_server() {
    let shop = Shop::open([("/", html(&product("1")))]).await;
    assert_eq!(fetch_from(&shop, "https://shop.example/").await, Err(FetchError::Connection));
    assert_eq!(shop.connected(), [format!("{PUBLIC}:443")]);
    assert_eq!(shop.requests(), ["TLS"]);
}

#[tokio::test]
async fn only_html_is_read() {
    let page = product("19.90");
    let kinds = [
        ("Content-Type: text/html", true),
        ("content-type: TEXT/HTML;charset=ISO-8859-1", true),
        ("Content-Type: application/xhtml+xml", true),
        ("Content-Type: text/html-like", false),
        ("Content-Type: application/json", false),
        ("Content-Type: text/plain", false),
        ("Content-Type: image/png; text/html", false),
        ("Content-Type:", false),
        ("X-Content-Type: text/html", false),
    ];
    for (kind, read) in kinds {
        let expected = if read { Ok(Some("19.9".to_owned())) } else { Err(FetchError::ContentType) };
        assert_eq!(fetch_reply(answer("200 OK", &[kind], page.as_bytes())).await, expected, "{kind}");
    }
    for status in [
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "300 Choose",
        "304 Not Modified",
        "403 No",
        "404 Not Found",
        "429 Too Many Requests",
        "500 Oh",
        "503 Later",
    ] {
        let code = status[..3].parse().expect("a status");
        let expected = Err(FetchError::Status(code));
        assert_eq!(fetch_reply(answer(status, &[HTML], b"")).await, expected, "{status}");
    }
    assert_eq!(
        fetch_reply(Reply::Last(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())).await,
        Err(FetchError::Connection)
    );
    assert_eq!(fetch_reply(Reply::Last(Vec::new())).await, Err(FetchError::Connection));
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn no_more_than_2_mib_are_read_and_none_beyond_inflated() {
    let of_bytes = |bytes: usize| {
        let page = product("19.90");
        let filling = bytes - page.len();
        (page + &" ".repeat(filling)).into_bytes()
    };
    let packed = ["Content-Encoding: gzip", HTML];
    let (just, over) = (of_bytes(LARGEST_PAGE), of_bytes(LARGEST_PAGE + 1));
    assert_eq!(fetch_reply(answer("200 OK", &[HTML], &just)).await, Ok(Some("19.9".to_owned())));
    assert_eq!(fetch_reply(answer("200 OK", &[HTML], &over)).await, Err(FetchError::TooLarge));
    assert_eq!(fetch_reply(answer("200 OK", &packed, &gzip(&just))).await, Ok(Some("19.9".to_owned())));
    assert_eq!(fetch_reply(answer("200 OK", &packed, &gzip(&over))).await, Err(FetchError::TooLarge));
    // 16 MiB that come as little, and that packed once more.
    let bomb = gzip(&vec![b' '; 16 * 1024 * 1024]);
    assert!(bomb.len() < LARGEST_PAGE / 4, "{} bytes", bomb.len());
    assert_eq!(fetch_reply(answer("200 OK", &packed, &bomb)).await, Err(FetchError::TooLarge));
    let twice = ["Content-Encoding: gzip, gzip", HTML];
    assert_eq!(fetch_reply(answer("200 OK", &twice, &gzip(&bomb))).await, Err(FetchError::TooLarge));
    // Without a length, as much as the other side likes to send.
    let endless = [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", over.as_slice()].concat();
    assert_eq!(fetch_reply(Reply::Stall(endless)).await, Err(FetchError::TooLarge));
    let head = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; 1024 * 1024], b"\r\n\r\n"].concat();
    assert_eq!(fetch_reply(Reply::Stall(head)).await, Err(FetchError::Connection));
}

#[tokio::test]
async fn a_page_that_is_damaged_or_cut_is_none() {
    let page = gzip(product("19.90").as_bytes());
    let cut = &page[..page.len() - 9];
    let cases: [(&str, &[u8], FetchError); 5] = [
        ("gzip", cut, FetchError::Encoding),
        ("br", &page, FetchError::Encoding),
        ("compress", &page, FetchError::Encoding),
        ("gzip, gzip, gzip", &page, FetchError::Encoding),
        ("gzip", b"<html>", FetchError::Encoding),
    ];
    for (encoding, body, expected) in cases {
        let reply = answer("200 OK", &[HTML, &format!("Content-Encoding: {encoding}")], body);
        assert_eq!(fetch_reply(reply).await, Err(expected), "{encoding}");
    }
    let short = format!("HTTP/1.1 200 OK\r\n{HTML}\r\nContent-Length: 5000\r\n\r\n{}", product("19.90"));
    assert_eq!(fetch_reply(Reply::Last(short.into_bytes())).await, Err(FetchError::Connection));
}

/// Where nothing ever answers.
struct Silence {
    resolves: bool,
}

impl Network for Silence {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        if self.resolves {
            return Box::pin(async { Ok(vec![IpAddr::from([93, 184, 216, 34]); 9]) });
        }
        Box::pin(std::future::pending())
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_resolver_nor_an_address_that_is_silent_is_waited_for_beyond_the_limit() {
    let five = Duration::from_secs(5);
    for (resolves, expected, after) in
        [(false, FetchError::TimedOut, five), (true, FetchError::Connection, TRY * 3)]
    {
        let begun = tokio::time::Instant::now();
        let fetched = fetch(Arc::new(Silence { resolves }), five, "http://shop.example/").await;
        assert_eq!(fetched, Err(expected));
        let took = begun.elapsed();
        assert!(took >= after && took < after + Duration::from_millis(50), "{took:?}");
    }
}

#[tokio::test]
async fn a_shop_that_is_slow_is_not_waited_for_beyond_the_limit() {
    let begun = format!("HTTP/1.1 200 OK\r\n{HTML}\r\nContent-Length: 5000\r\n\r\n{}", product("19.90"));
    let limit = Duration::from_millis(300);
    for (what, reply) in
        [("no head", ""), ("half a head", "HTTP/1.1 200 OK\r\nContent-"), ("half a body", &begun)]
    {
        let shop = Shop::open([("/", Reply::Stall(reply.as_bytes().to_vec()))]).await;
        let network = Arc::clone(&shop) as Arc<dyn Network>;
        let fetched = timeout(LIMIT, fetch(network, limit, "http://shop.example/")).await;
        assert_eq!(fetched, Ok(Err(FetchError::TimedOut)), "{what}");
    }
    // Redirects have no more time together than one page.
    let shop = Shop::open([("/", redirect("/slow")), ("/slow", Reply::Stall(Vec::new()))]).await;
    let network = Arc::clone(&shop) as Arc<dyn Network>;
    let fetched = timeout(LIMIT, fetch(network, limit, "http://shop.example/")).await;
    assert_eq!(fetched, Ok(Err(FetchError::TimedOut)));
    assert_eq!(shop.requests().len(), 2);
}
