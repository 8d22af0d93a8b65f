//! Where a request comes from, and how much of that is stored.
//!
//! `X-Forwarded-For` can be written by anybody. Each trusted proxy adds, at its right end, the address it was
//! called from; so it is read from the right, for as long as what is read was added by a proxy we trust, and what
//! stands left of that is not believed.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

use crate::retry::Retry;

/// Entries of `X-Forwarded-For` that are looked at; more proxies than this stand before nobody.
const HOPS: usize = 32;

/// Bytes in the longest address: an IPv6 one that ends in an IPv4 one.
const ADDRESS_BYTES: usize = 45;

/// An entry that no list of trusted proxies may hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the trusted proxy {0:?} is neither an address nor a network; expected one such as 10.0.0.0/8 or ::1"
)]
pub struct TrustedProxyError(String);

impl TrustedProxyError {
    /// The stable name of this error.
    pub const fn code(&self) -> &'static str {
        "invalid_trusted_proxy"
    }

    /// Never: the setting has to be changed.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// The networks whose word in `X-Forwarded-For` is believed; none unless set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks in CIDR notation.
    ///
    /// # Errors
    /// At the first entry that is neither.
    pub fn parse<T: AsRef<str>>(list: &[T]) -> Result<Self, TrustedProxyError> {
        list.iter().map(|entry| network(entry.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `address` belongs to one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// One network; `::ffff:10.0.0.0/104` is `10.0.0.0/8`, as addresses are compared in that form.
fn network(entry: &str) -> Result<IpNet, TrustedProxyError> {
    let text = entry.trim();
    let network = IpNet::from_str(text).or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| TrustedProxyError(entry.to_owned()))?;
    let IpNet::V6(wide) = network else { return Ok(network) };
    let mapped = wide.addr().to_ipv4_mapped().zip(wide.prefix_len().checked_sub(96));
    let mapped = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    Ok(mapped.map_or(network, IpNet::V4))
}

/// The address of the client behind `peer`. `forwarded_for` are the values of all `X-Forwarded-For` headers in
/// the order they came; they count only if `peer` is a trusted proxy. An entry that is no address ends the
/// reading: the client is then the hop before it, the last one that is vouched for.
pub fn client_address<I>(peer: IpAddr, forwarded_for: impl FnOnce() -> I, trusted: &TrustedProxies) -> IpAddr
where
    I: DoubleEndedIterator<Item: AsRef<[u8]>>,
{
    let mut client = peer.to_canonical();
    // To look for the headers of a client that may not send them took 400 instructions.
    if !trusted.contains(client) {
        return client;
    }
    let mut hops = HOPS;
    for value in forwarded_for().rev() {
        for entry in value.as_ref().rsplit(|byte| *byte == b',') {
            if hops == 0 || !trusted.contains(client) {
                return client;
            }
            hops -= 1;
            let entry = entry.trim_ascii();
            // A list may have empty elements; they say nothing.
            if entry.is_empty() {
                continue;
            }
            let Some(hop) = address(entry) else { return client };
            client = hop;
        }
    }
    client
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bracketed) => IpAddr::V6(bracketed.parse().ok()?),
        None => entry.parse().or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?,
    };
    Some(address.to_canonical())
}

/// How much of a client's address is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AddressMode {
    /// The network only: the last byte of an IPv4 address is zero, and all but the first 48 bits of an IPv6 one.
    #[default]
    Truncated,
    /// All of it.
    Full,
    /// Nothing.
    None,
}

impl AddressMode {
    /// What is stored of `address`.
    pub fn text(self, address: IpAddr) -> AddressText {
        let address = address.to_canonical();
        let mut text = AddressText::default();
        // Every address fits, and if one did not, half of it would be no worse than none.
        _ = match self {
            Self::None => Ok(()),
            Self::Full => text.write(address),
            Self::Truncated => text.write(truncated(address)),
        };
        text
    }
}

fn truncated(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(address) => {
            // 6to4 (2002::/16) goes on with an IPv4 address: what remains of it is a /24 as well.
            let kept = if address.segments()[0] == 0x2002 { 40 } else { 48 };
            Ipv6Addr::from_bits(address.to_bits() & (!0 << (128 - kept))).into()
        }
    }
}

/// An address as text, without a place on the heap; empty if none is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AddressText {
    bytes: [u8; ADDRESS_BYTES],
    length: usize,
}

impl AddressText {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn write(&mut self, address: IpAddr) -> fmt::Result {
        let IpAddr::V4(address) = address else { return write!(self, "{address}") };
        // Formatting them as the others took 1,080 of an event's instructions, writing digit by digit 564.
        for octet in address.octets() {
            let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
            let with_point = u32::from_le_bytes([digits[0], digits[1], digits[2], b'.']);
            // Zeros in front are shifted out; the next octet is written over what comes in behind the point.
            let leading = usize::from(octet < 10) + usize::from(octet < 100);
            let end = self.length + 4;
            let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
            place.copy_from_slice(&(with_point >> (8 * leading)).to_le_bytes());
            self.length = end - leading;
        }
        self.length -= 1;
        self.bytes[self.length] = 0;
        Ok(())
    }
}

impl Default for AddressText {
    fn default() -> Self {
        Self { bytes: [0; ADDRESS_BYTES], length: 0 }
    }
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl fmt::Debug for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8", "192.0.2.1", "fd00::/8", " ::1 "]).unwrap();
        let long = format!("198.51.100.9{}", ", 10.0.0.9".repeat(HOPS));
        let cases: &[(&str, &[&str], &str)] = &[
            ("203.0.113.5", &[], "203.0.113.5"),
            ("203.0.113.5", &["1.1.1.1"], "203.0.113.5"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1"),
            ("::1", &["1.1.1.1"], "1.1.1.1"),
            ("192.0.2.1", &["1.1.1.1"], "1.1.1.1"),
            ("192.0.2.2", &["1.1.1.1"], "192.0.2.2"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.2.3.4"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1,10.2.3.4", "fd00::7"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["1.1.1.1:4711"], "1.1.1.1"),
            ("10.0.0.1", &["\t1.1.1.1 ,"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1,,  , 10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6", "<script>"], "10.0.0.1"),
            ("10.0.0.1", &["[1.1.1.1]"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1:99999"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
            ("10.0.0.1", &[&long], "10.0.0.9"),
        ];
        for (peer, values, expected) in cases {
            let client = client_address(ip(peer), || values.iter(), &trusted);
            assert_eq!(client, ip(expected), "{values:?} from {peer}");
        }
        assert_eq!(client_address(ip("::ffff:1.2.3.4"), || ["6.6.6.6"].iter(), &trusted), ip("1.2.3.4"));
        assert_eq!(
            client_address(ip("10.0.0.1"), || ["6.6.6.6"].iter(), &TrustedProxies::default()),
            ip("10.0.0.1")
        );
    }

    #[test]
    fn a_mapped_network_is_the_one_it_maps() {
        let trusted = TrustedProxies::parse(&["::ffff:10.0.0.0/104"]).unwrap();
        assert!(trusted.contains(ip("10.9.9.9")) && trusted.contains(ip("::ffff:10.9.9.9")));
        assert!(!trusted.contains(ip("11.0.0.1")) && !trusted.contains(ip("::1")));
        let all = TrustedProxies::parse(&["::/0"]).unwrap();
        assert!(all.contains(ip("2001:db8::1")));
    }

    #[test]
    fn a_proxy_that_is_no_network_is_refused_by_name() {
        for entry in ["", "10.0.0.0/33", "10.0.0", "proxy.test", "10.0.0.1:80", "*"] {
            let error = TrustedProxies::parse(&["10.0.0.0/8", entry]).unwrap_err();
            assert!(error.to_string().contains(&format!("{entry:?}")), "{error}");
        }
    }

    #[test]
    fn as_much_of_an_address_is_stored_as_the_mode_says() {
        let cases = [
            ("203.0.113.77", "203.0.113.0", "203.0.113.77"),
            ("::ffff:203.0.113.77", "203.0.113.0", "203.0.113.77"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::", "2001:db8:1:2:3:4:5:6"),
            ("2001:db8::1", "2001:db8::", "2001:db8::1"),
            ("2002:cb00:714d::1", "2002:cb00:7100::", "2002:cb00:714d::1"),
            ("::1", "::", "::1"),
            (
                "fedc:ba98:7654:3210:fedc:ba98:7654:3210",
                "fedc:ba98:7654::",
                "fedc:ba98:7654:3210:fedc:ba98:7654:3210",
            ),
        ];
        for (address, network, full) in cases {
            assert_eq!(AddressMode::Truncated.text(ip(address)).as_str(), network);
            assert_eq!(AddressMode::Full.text(ip(address)).as_str(), full);
            assert_eq!(AddressMode::None.text(ip(address)).as_str(), "");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(peer: IpAddr, values: Vec<Vec<u8>>, all: bool) {
            let trusted = TrustedProxies::parse(if all { &["0.0.0.0/0", "::/0"] } else { &["::/1", "10.0.0.0/8"] });
            client_address(peer, || values.iter(), &trusted.unwrap());
        }

        #[test]
        fn what_a_client_forges_changes_nothing(forged in "[ -~]{0,80}", client: IpAddr) {
            let trusted = TrustedProxies::parse(&["10.0.0.0/8"]).unwrap();
            prop_assume!(!trusted.contains(client));
            let values = [forged, format!("{client}, 10.1.1.1")];
            prop_assert_eq!(client_address(ip("10.0.0.1"), || values.iter(), &trusted), client.to_canonical());
        }

        #[test]
        fn truncating_twice_is_truncating_once(address: IpAddr) {
            let once = AddressMode::Truncated.text(address);
            let again = AddressMode::Truncated.text(ip(once.as_str()));
            prop_assert_eq!(once, again);
            let full = AddressMode::Full.text(address);
            prop_assert_eq!(full.as_str(), address.to_canonical().to_string());
        }
    }
}
