use proptest::prelude::*;

use super::*;

fn global(text: &str) -> bool {
    is_global(text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
}

#[test]
fn addresses_of_the_open_internet_pass() {
    let addresses = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001:830::200e",
        "2001:200::1",
        "2001:db7:ffff::1",
        "2001:db9::1",
        "3ffe::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ];
    for address in addresses {
        assert!(global(address), "{address} is refused");
    }
}

#[test]
fn addresses_of_our_own_machine_and_network_are_refused_and_so_are_those_of_no_host() {
    let addresses = [
        // this network, private, shared, loopback, link-local
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.1",
        "192.168.255.255",
        // protocols, documentation, relays, benchmarking
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        // multicast, reserved, broadcast
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
        "255.255.255.255",
    ];
    for address in addresses {
        assert!(!global(address), "{address} passes");
    }
}

#[test]
fn so_are_those_of_ipv6_and_what_holds_them() {
    let addresses = [
        // unspecified, loopback, and IPv4 in the deprecated form
        "::",
        "::1",
        "::8.8.8.8",
        "::127.0.0.1",
        // IPv4 that is mapped, or behind NAT64
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "::ffff:0:8.8.8.8",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.1.2.3",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:0:1::8.8.8.8",
        // 6to4 and Teredo, whatever they hold
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:808:808::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        // benchmarking, ORCHID, documentation
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff:ffff::1",
        // discard-only, segment routing
        "100::1",
        "5f00::1",
        // unique local, link-local, site-local, multicast, unassigned
        "fc00::1",
        "fd00:ec2::254",
        "fdff:ffff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "feff::1",
        "ff02::1",
        "4000::1",
        "e000::1",
    ];
    for address in addresses {
        assert!(!global(address), "{address} passes");
    }
}

proptest! {
    #[test]
    fn an_address_that_holds_another_is_what_that_is(address in any::<[u8; 4]>()) {
        let plain = Ipv4Addr::from(address);
        prop_assert_eq!(is_global(plain.to_ipv6_mapped().into()), is_global(plain.into()));
        let translated = Ipv6Addr::from_bits((0x0064_ff9b << 96) | u128::from(plain.to_bits()));
        prop_assert_eq!(is_global(translated.into()), is_global(plain.into()));
        prop_assert!(!is_global(plain.to_ipv6_compatible().into()));
    }

    /// The standard library knows some of them too.
    #[test]
    fn nothing_that_the_standard_library_calls_special_passes(v4 in any::<u32>(), v6 in any::<u128>()) {
        let v4 = Ipv4Addr::from_bits(v4);
        let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
            || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
        prop_assert!(!(special && is_global(v4.into())), "{}", v4);
        let v6 = Ipv6Addr::from_bits(v6);
        let special = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local()
            || v6.is_unicast_link_local();
        prop_assert!(!(special && is_global(v6.into())), "{}", v6);
    }
}

fn check(url: &str, hosts: &[&str]) -> Result<(), &'static str> {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    check_url(&url, &hosts).map_err(FetchError::code)
}

#[test]
fn a_host_is_fetched_from_only_if_it_is_listed() {
    let listed = [
        ("https://shop.example/p", "shop.example"),
        ("https://SHOP.example/p", "Shop.Example"),
        ("https://www.shop.example/p", "*.shop.example"),
        ("https://a.b.shop.example/p", "*.shop.example"),
        ("https://xn--mnchen-3ya.example/p", "münchen.example"),
        ("https://münchen.example/p", "xn--mnchen-3ya.example"),
        ("https://8.8.8.8/p", "8.8.8.8"),
        ("https://[2606:4700:4700::1111]/p", "[2606:4700:4700::1111]"),
    ];
    for (url, host) in listed {
        assert_eq!(check(url, &["other.example", host]), Ok(()), "{url} for {host}");
    }
    let foreign = [
        ("https://www.shop.example/p", "shop.example"),
        ("https://shop.example/p", "*.shop.example"),
        ("https://badshop.example/p", "*.shop.example"),
        ("https://badshop.example/p", "shop.example"),
        ("https://shop.example.evil.test/p", "shop.example"),
        ("https://shop.example./p", "shop.example"),
        ("https://.shop.example/p", "*.shop.example"),
        ("https://shop.example/p", "*"),
        ("https://shop.example/p", "*."),
        ("https://shop.example/p", ""),
        ("https://8.8.8.8/p", "*.8.8.8"),
        ("https://8.8.8.8/p", "*.8"),
        ("https://evil.test/shop.example", "shop.example"),
        ("https://evil.test/?shop.example#shop.example", "shop.example"),
    ];
    for (url, host) in foreign {
        assert_eq!(check(url, &[host]), Err("host_not_listed"), "{url} for {host}");
    }
    assert_eq!(check("https://shop.example/", &[]), Err("host_not_listed"));
}

#[test]
fn a_url_is_fetched_only_over_http_on_its_ports_and_without_credentials() {
    let cases = [
        ("http://shop.example", Ok(())),
        ("http://shop.example:80/", Ok(())),
        ("https://shop.example:443/", Ok(())),
        ("http://shop.example:443/", Ok(())),
        ("https://shop.example:80/", Ok(())),
        ("http://shop.example:8080/", Err("port")),
        ("https://shop.example:8443/", Err("port")),
        ("https://shop.example:22/", Err("port")),
        ("http://shop.example:0/", Err("port")),
        ("ftp://shop.example/", Err("scheme")),
        ("file:///etc/passwd", Err("scheme")),
        ("gopher://shop.example/", Err("scheme")),
        ("data:text/html,shop.example", Err("scheme")),
        ("https://user@shop.example/", Err("credentials")),
        ("https://user:password@shop.example/", Err("credentials")),
        ("https://:password@shop.example/", Err("credentials")),
        ("https://shop.example@evil.test/", Err("credentials")),
    ];
    for (url, expected) in cases {
        assert_eq!(check(url, &["shop.example"]), expected, "{url}");
    }
    let long = |length: usize| format!("https://shop.example/{}", "p".repeat(length - 21));
    assert_eq!(check(&long(LONGEST_URL), &["shop.example"]), Ok(()));
    assert_eq!(check(&long(LONGEST_URL + 1), &["shop.example"]), Err("long_url"));
}
