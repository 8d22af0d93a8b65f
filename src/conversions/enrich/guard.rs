//! What may be fetched: pages of listed hosts, at addresses of the open internet.
//!
//! Who sends conversions chooses the URL, and who owns a listed host what its name stands for. Neither may have us
//! talk to our own machine or network, so that an address passes only if it is known to be global.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::fetch::FetchError;

/// A longer URL is not fetched.
const LONGEST_URL: usize = 2_048;

/// What IANA's registry of special-purpose IPv4 addresses does not call globally reachable, and what is no host's.
const SPECIAL_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// What is special within `2000::/3`: Teredo and the other protocols' addresses, documentation, 6to4.
const SPECIAL_V6: [(u128, u32); 4] =
    [(0x2001 << 112, 23), (0x2001_0db8 << 96, 32), (0x2002 << 112, 16), (0x3fff << 112, 20)];

/// Of IPv6 addresses that hold an IPv4 address and lead to it: mapped ones, and those of NAT64 (RFC 6052).
const HOLDS_V4: [(u128, u32); 2] = [(0xffff << 32, 96), (0x0064_ff9b << 96, 96)];

/// Whether an address is one of the open internet. Those that hold an IPv4 address are what that is.
pub(super) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let within = |(net, length): &([u8; 4], u32)| {
        (address.to_bits() ^ u32::from_be_bytes(*net)).leading_zeros() >= *length
    };
    !SPECIAL_V4.iter().any(within)
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let within = |(net, length): &(u128, u32)| (address.to_bits() ^ net).leading_zeros() >= *length;
    if HOLDS_V4.iter().any(within) {
        let [.., a, b, c, d] = address.octets();
        return is_global_v4(Ipv4Addr::new(a, b, c, d));
    }
    within(&(0x2000 << 112, 3)) && !SPECIAL_V6.iter().any(within)
}

/// Whether a page may be asked for, as far as its URL says; where it leads is known when its host is resolved.
pub(super) fn check_url(url: &Url, hosts: &[String]) -> Result<(), FetchError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Credentials);
    }
    // The scheme's own port is never written out.
    if !matches!((url.scheme(), url.port()), (_, None) | ("http", Some(443)) | ("https", Some(80))) {
        return Err(FetchError::Port);
    }
    if url.as_str().len() > LONGEST_URL {
        return Err(FetchError::LongUrl);
    }
    if !url.host().is_some_and(|host| hosts.iter().any(|pattern| is_listed(&host, pattern))) {
        return Err(FetchError::Host);
    }
    Ok(())
}

/// Whether the host is the pattern's: that very one, or for `*.` one below it.
fn is_listed(host: &Host<&str>, pattern: &str) -> bool {
    let name = |name: &str| Host::parse(name).ok();
    match (host, pattern.strip_prefix("*.")) {
        (Host::Domain(host), Some(above)) => match name(above) {
            Some(Host::Domain(above)) => {
                host.strip_suffix(&above).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            _ => false,
        },
        (_, Some(_)) => false,
        (host, None) => name(pattern).is_some_and(|listed| listed == host.to_owned()),
    }
}

#[cfg(test)]
mod tests;
