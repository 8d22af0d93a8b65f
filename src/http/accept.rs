//! `Accept-Encoding`: which of our content codings a client would rather have (RFC 9110, 12.5.3).

/// A content coding that we have the script in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Gzip,
    Identity,
}

/// What a client says of the codings, in thousandths; 0 is a refusal.
#[derive(Default)]
struct Weights {
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    /// Of `*`, which stands for those that are not listed.
    others: Option<u16>,
}

/// The coding with the largest weight; among equals the one with the fewest bytes.
///
/// A client that refuses everything gets the script as it is: one that did not mean it can use that. What cannot be
/// read counts as not listed.
pub(super) fn preferred<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Coding {
    let mut weights = Weights::default();
    for element in headers.flat_map(|header| header.split(|byte| *byte == b',')) {
        let (name, weight) = match element.iter().position(|byte| *byte == b';') {
            None => (element, Some(1_000)),
            Some(end) => (&element[..end], weight(&element[end + 1..])),
        };
        let name = name.trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let place = match () {
            () if is("br") => &mut weights.brotli,
            () if is("gzip") || is("x-gzip") => &mut weights.gzip,
            () if is("identity") => &mut weights.identity,
            () if is("*") => &mut weights.others,
            () => continue,
        };
        // `None` is less than any weight.
        *place = weight.max(*place);
    }
    let of = |listed: Option<u16>| listed.or(weights.others).unwrap_or(0);
    let (brotli, gzip, identity) = (of(weights.brotli), of(weights.gzip), of(weights.identity));
    if brotli > 0 && brotli >= gzip && brotli >= identity {
        Coding::Brotli
    } else if gzip > 0 && gzip >= identity {
        Coding::Gzip
    } else {
        Coding::Identity
    }
}

/// The weight in a parameter like `q=0.5`, in thousandths.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.trim_ascii().split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, fraction) = match value {
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        [whole] => (whole, &[][..]),
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1_000,
        _ => return None,
    };
    let mut place = 100;
    for digit in fraction {
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths += u16::from(digit - b'0') * place;
        place /= 10;
    }
    (thousandths <= 1_000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_weight_wins_and_then_the_fewest_bytes() {
        use Coding::{Brotli, Gzip, Identity};
        for (headers, expected) in [
            (&[][..], Identity),
            (&[""], Identity),
            (&["gzip, deflate, br, zstd"], Brotli),
            (&["gzip, deflate, br"], Brotli),
            (&["gzip, deflate"], Gzip),
            (&["deflate, zstd"], Identity),
            (&["GZIP"], Gzip),
            (&["x-gzip"], Gzip),
            (&["gzip", "br"], Brotli),
            (&["*"], Brotli),
            (&["br;q=0, *"], Gzip),
            (&["br;q=0"], Identity),
            (&["br;q=0.0, gzip;q=0.000"], Identity),
            (&["br;q=0,gzip;q=0,*"], Identity),
            (&["gzip;q=1.0, br;q=0.9"], Gzip),
            (&["gzip;q=0.001"], Gzip),
            (&["gzip;q=0.5, br;q=0.499"], Gzip),
            (&["gzip ; q=0.5 , br ; Q=0.6"], Brotli),
            (&["identity"], Identity),
            (&["identity, gzip;q=0.5"], Identity),
            (&["identity;q=0.5, gzip;q=0.5"], Gzip),
            (&["identity;q=0.1, *;q=0.5"], Brotli),
            (&["*;q=0"], Identity),
            (&["*;q=0, gzip"], Gzip),
            (&["identity;q=0"], Identity),
            (&["br;q=0, br"], Brotli),
            (&["br;q=2, gzip"], Gzip),
            (&["br;q=1.001, gzip"], Gzip),
            (&["br;q=0.1234, gzip;q=0.1"], Gzip),
            (&["br;q=, gzip;q=0.1"], Gzip),
            (&["br;q, gzip;q=0.1"], Gzip),
            (&["br;level=4, gzip;q=0.1"], Gzip),
            (&["br;q=-1", "gzip;q=0.1"], Gzip),
            (&["brotli, gzipped"], Identity),
            (&[",,;,=, ;q=1, br"], Brotli),
        ] {
            let found = preferred(headers.iter().map(|header| header.as_bytes()));
            assert_eq!(found, expected, "{headers:?}");
        }
    }
}
