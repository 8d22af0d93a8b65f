//! The script that pages include, as the build of `snippet/` left it in `snippet/dist`, plain and compressed, and the
//! tags that include it.
//!
//! Its bytes are part of the binary and never change while it runs. The *pinned* path has their hash in its name: it
//! may be cached for ever, and a page that also names their [integrity](Script::integrity) runs these bytes or none.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha384};

const PLAIN: &[u8] = include_bytes!("../snippet/dist/weir.js");
const GZIP: &[u8] = include_bytes!("../snippet/dist/weir.js.gz");
const BROTLI: &[u8] = include_bytes!("../snippet/dist/weir.js.br");

/// Digits of a hash in paths and entity tags: 64 bits.
const HASH_DIGITS: usize = 16;

/// Keeps what pages call before the script has come, each call with its time and its page.
const STUB: &str = "<script>window.weir=window.weir||function(){(weir.q=weir.q||[]).push([+new Date,\
                    location.href,arguments])}</script>";

/// The script in one content coding.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    /// What is sent.
    pub body: &'static [u8],
    /// A strong entity tag of these very bytes, in its quotes.
    pub etag: String,
}

/// The script in every content coding that we have of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Uncompressed.
    pub plain: Variant,
    /// As `gzip`.
    pub gzip: Variant,
    /// As `br`.
    pub brotli: Variant,
    /// The first 16 hexadecimal digits of the SHA-256 of the plain script.
    pub hash: String,
    /// Its `integrity` for Subresource Integrity: `sha384-…`.
    pub integrity: String,
}

/// The script of this binary.
pub fn script() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script {
        plain: Variant::of(PLAIN),
        gzip: Variant::of(GZIP),
        brotli: Variant::of(BROTLI),
        hash: hash(PLAIN),
        integrity: format!("sha384-{}", STANDARD.encode(Sha384::digest(PLAIN))),
    });
    &SCRIPT
}

impl Variant {
    fn of(body: &'static [u8]) -> Self {
        Self { body, etag: format!("\"{}\"", hash(body)) }
    }
}

impl Script {
    /// The path that names these bytes: `/x/weir.js` is pinned as `/x/weir.<hash>.js`.
    pub fn pinned_path(&self, path: &str) -> String {
        let name = path.rfind('/').map_or(0, |slash| slash + 1);
        let stem = path[name..].rfind('.').map_or(path.len(), |dot| name + dot);
        format!("{}.{}{}", &path[..stem], self.hash, &path[stem..])
    }
}

/// What a page needs to say to include the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Where pages reach the collector, without a slash at the end: `https://collect.example.com`.
    pub collector: &'a str,
    /// Path of the script there.
    pub script_path: &'a str,
    /// Where the script is to send events, if not to the path that it knows.
    pub endpoint: Option<String>,
    /// The project's public key.
    pub project: &'a str,
}

impl Tag<'_> {
    /// The stub and the tag: two lines of HTML.
    pub fn html(&self) -> String {
        format!("{STUB}\n{}\n", self.element(self.script_path, ""))
    }

    /// The tag of the pinned script: one line of HTML, in place of the second one of [`html`](Self::html).
    pub fn pinned_html(&self) -> String {
        let script = script();
        let integrity = format!(" integrity=\"{}\" crossorigin=\"anonymous\"", script.integrity);
        self.element(&script.pinned_path(self.script_path), &integrity) + "\n"
    }

    fn element(&self, path: &str, integrity: &str) -> String {
        let source = escaped(&format!("{}{path}", self.collector));
        let project = escaped(self.project);
        let mut element = format!("<script async src=\"{source}\"{integrity} data-project-key=\"{project}\"");
        if let Some(endpoint) = &self.endpoint {
            // Writing to a String cannot fail.
            let _ = write!(element, " data-endpoint=\"{}\"", escaped(endpoint));
        }
        element + "></script>"
    }
}

/// A text as it stands in an attribute's quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
    html
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut hash = String::with_capacity(HASH_DIGITS);
    for byte in &digest[..HASH_DIGITS / 2] {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_compressed_variants_are_those_of_the_script() {
        let mut unzipped = Vec::new();
        flate2::read::MultiGzDecoder::new(GZIP).read_to_end(&mut unzipped).unwrap();
        assert!(unzipped == PLAIN, "weir.js.gz is of another build than weir.js");
        let mut unpacked = Vec::new();
        brotli_decompressor::BrotliDecompress(&mut &*BROTLI, &mut unpacked).unwrap();
        assert!(unpacked == PLAIN, "weir.js.br is of another build than weir.js");
    }

    #[test]
    fn hashes_are_those_of_the_standards() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea");
        let script = script();
        assert_eq!(script.plain.etag, format!("\"{}\"", script.hash));
        let etags = [&script.plain.etag, &script.gzip.etag, &script.brotli.etag];
        assert!(etags[0] != etags[1] && etags[1] != etags[2] && etags[0] != etags[2], "{etags:?}");
        let (name, digest) = script.integrity.split_once('-').unwrap();
        assert_eq!((name, STANDARD.decode(digest).unwrap().len()), ("sha384", 48));
    }

    #[test]
    fn the_hash_goes_before_the_ending_of_the_last_segment() {
        let script = script();
        for (path, expected) in [
            ("/weir.js", "/weir.HASH.js"),
            ("/x/y.js", "/x/y.HASH.js"),
            ("/x/y.min.js", "/x/y.min.HASH.js"),
            ("/v1.2/y", "/v1.2/y.HASH"),
            ("/.js", "/.HASH.js"),
        ] {
            assert_eq!(script.pinned_path(path), expected.replace("HASH", &script.hash), "{path}");
        }
    }

    #[test]
    fn a_tag_is_what_the_documents_show() {
        let tag = Tag {
            collector: "https://collect.example.com",
            script_path: "/weir.js",
            endpoint: None,
            project: "pk_live_xyz",
        };
        assert_eq!(
            tag.html(),
            r#"<script>window.weir=window.weir||function(){(weir.q=weir.q||[]).push([+new Date,location.href,arguments])}</script>
<script async src="https://collect.example.com/weir.js" data-project-key="pk_live_xyz"></script>
"#
        );
        let Script { hash, integrity, .. } = script();
        assert_eq!(
            tag.pinned_html(),
            format!(
                "<script async src=\"https://collect.example.com/weir.{hash}.js\" integrity=\"{integrity}\" \
                 crossorigin=\"anonymous\" data-project-key=\"pk_live_xyz\"></script>\n"
            )
        );
    }

    #[test]
    fn nothing_leaves_its_attribute() {
        let tag = Tag {
            collector: "https://a.example",
            script_path: "/x.js",
            endpoint: Some("https://a.example/e?\"".to_owned()),
            project: "\"><script>'&--></script>",
        };
        let end = " data-project-key=\"&quot;&gt;&lt;script&gt;&#39;&amp;--&gt;&lt;/script&gt;\" \
                   data-endpoint=\"https://a.example/e?&quot;\"></script>\n";
        for html in [tag.html(), tag.pinned_html()] {
            assert!(html.ends_with(end), "{html}");
        }
    }
}
