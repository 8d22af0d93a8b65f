//! A cursor over JSON text, for the strict pass alone: it says whether the text is what was asked for, never why not.
//!
//! It takes exactly the JSON that `serde_json` takes (RFC 8259), but for values nested deeper than [`DEEPEST`], and
//! looks at every byte once, but for strings with escapes. Nothing recurses, and nothing is allocated but strings with escapes. Every method starts
//! at the cursor and leaves it behind what it read; after a `None` it is anywhere, and of no more use.
//!
//! Below the cursor are functions from a text to what is left of it behind a string, a number or any value: what they
//! are at stays in registers.

use std::borrow::Cow;

use super::wire::Field;

/// Arrays and objects in one another that are stepped over: one bit for each.
pub(super) const DEEPEST: u32 = u64::BITS;

pub(super) struct Cursor<'a> {
    text: &'a str,
    /// What is left of it.
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, rest: text.as_bytes() }
    }

    /// Where the cursor is, in bytes.
    pub(super) const fn position(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The next byte that is no white space, where the cursor then stays.
    #[inline]
    pub(super) fn token(&mut self) -> Option<u8> {
        self.rest = trimmed(self.rest);
        self.rest.first().copied()
    }

    /// Whether the next token is this one, which is then read.
    #[inline]
    pub(super) fn take(&mut self, token: u8) -> Option<bool> {
        let (first, behind) = trimmed(self.rest).split_first()?;
        if *first != token {
            return Some(false);
        }
        self.rest = behind;
        Some(true)
    }

    /// Reads this token.
    #[inline]
    pub(super) fn expect(&mut self, token: u8) -> Option<()> {
        self.rest = behind_token(self.rest, token)?;
        Some(())
    }

    /// Whether there is another element of the list that `close` ends; reads the comma or the end.
    #[inline]
    pub(super) fn another(&mut self, close: u8) -> Option<bool> {
        let (token, behind) = trimmed(self.rest).split_first()?;
        self.rest = behind;
        if *token == b',' {
            return Some(true);
        }
        (*token == close).then_some(false)
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_at_end(&self) -> bool {
        trimmed(self.rest).is_empty()
    }

    /// The field that the name of an object's member is; its colon is read, too.
    #[inline]
    pub(super) fn field(&mut self) -> Option<Field> {
        let string = behind_token(self.rest, b'"')?;
        let (field, behind) = match Field::known(string) {
            Some(known) => known,
            None => self.other_field(string)?,
        };
        self.rest = behind_token(behind, b':')?;
        Some(field)
    }

    /// A field of no known name, or of one with escapes.
    #[inline(never)]
    fn other_field(&mut self, string: &'a [u8]) -> Option<(Field, &'a [u8])> {
        if let Some((_, behind)) = plain(string) {
            return Some((Field::Unknown, behind));
        }
        let name = self.unescaped(string)?;
        Some((Field::named(name.as_bytes()), self.rest))
    }

    /// A string, borrowed unless it holds escapes, or nothing for `null`.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "as a function of its own it took 57 of 2,650 instructions per event more"
    )]
    pub(super) fn text(&mut self, text: &mut Option<Cow<'a, str>>) -> Option<()> {
        let Some(string) = behind_token(self.rest, b'"') else { return self.null()?.then_some(()) };
        if let Some((plain, behind)) = plain(string) {
            let start = self.text.len() - string.len();
            *text = Some(Cow::Borrowed(self.text.get(start..start + plain.len())?));
            self.rest = behind;
        } else {
            *text = Some(Cow::Owned(self.unescaped(string)?));
        }
        Some(())
    }

    /// The string with escapes that begins so behind its quote. This is rare, and `serde_json` undoes them as well.
    #[cold]
    fn unescaped(&mut self, string: &'a [u8]) -> Option<String> {
        let start = self.text.len() - string.len() - 1;
        self.rest = behind_escaped(string)?;
        serde_json::from_str(self.text.get(start..self.position())?).ok()
    }

    /// Whether the next value is `null`, which is then read.
    pub(super) fn null(&mut self) -> Option<bool> {
        if self.token()? != b'n' {
            return Some(false);
        }
        self.rest = self.rest.strip_prefix(b"null")?;
        Some(true)
    }

    /// A value's text, or nothing for `null`.
    pub(super) fn value(&mut self, value: &mut Option<&'a str>) -> Option<()> {
        if self.null()? {
            return Some(());
        }
        let start = self.position();
        self.skip()?;
        *value = Some(self.text.get(start..self.position())?);
        Some(())
    }

    /// Steps over a value of any kind.
    pub(super) fn skip(&mut self) -> Option<()> {
        self.rest = behind_value(self.rest)?;
        Some(())
    }
}

/// The text without the white space in front.
#[inline]
fn trimmed(text: &[u8]) -> &[u8] {
    if matches!(text, [..=b' ', ..]) { behind_space(text) } else { text }
}

/// Out of the way of texts without any.
#[inline(never)]
fn behind_space(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\t' | b'\r', behind @ ..] = text {
        text = behind;
    }
    text
}

#[inline]
fn behind_token(text: &[u8], token: u8) -> Option<&[u8]> {
    let (first, behind) = trimmed(text).split_first()?;
    (*first == token).then_some(behind)
}

/// A string that holds no escapes and what is behind it, from behind its opening quote on.
///
/// Eight bytes at a time take 15 instructions, a loop over each byte would take 5 for every one. A vector search takes
/// fewer for long strings, but 30 to begin with, and most names and many values are no longer than ten bytes.
#[inline]
fn plain(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = text;
    let length = loop {
        let Some((eight, behind)) = rest.split_first_chunk() else { break length_near_the_end(text, rest) };
        let special = specials(u64::from_le_bytes(*eight));
        if special != 0 {
            break text.len() - rest.len() + special.trailing_zeros() as usize / 8;
        }
        rest = behind;
    };
    match text.split_at_checked(length)? {
        (plain, [b'"', behind @ ..]) => Some((plain, behind)),
        _ => None,
    }
}

/// Where the next special byte is if not more than `rest` of the text is left to look at.
#[cold]
#[inline(never)]
fn length_near_the_end(text: &[u8], rest: &[u8]) -> usize {
    let plain = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')).count();
    text.len() - rest.len() + plain
}

/// The high bit of each byte that cannot simply stand in a string, the first byte lowest: a quote, a backslash or a
/// control character. Behind the first such byte, others may be marked that are none.
const fn specials(eight: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    // With this bit turned, a quote is 0x20, and only control characters are less.
    let quote_or_control = (eight ^ (EACH * 0x02)).wrapping_sub(EACH * 0x21);
    let backslash = (eight ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    (quote_or_control | backslash) & !eight & (EACH * 0x80)
}

/// What is behind a string with escapes or without, from behind its opening quote on. Half of a surrogate pair is an
/// escape: what is stepped over is kept as it was sent.
#[cold]
#[inline(never)]
fn behind_escaped(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = text.get(length_near_the_end(text, text)..)?;
        text = match text {
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => behind,
            [b'\\', b'u', a, b, c, d, behind @ ..] if [a, b, c, d].iter().all(|d| d.is_ascii_hexdigit()) => {
                behind
            }
            _ => return None,
        };
    }
}

fn behind_value(mut text: &[u8]) -> Option<&[u8]> {
    // What the value lies in, the innermost last: a one for an object, a zero for an array.
    let (mut within, mut depth) = (0_u64, 0_u32);
    // A member of an object has a name in front.
    let mut named = true;
    loop {
        let (token, behind) = trimmed(text).split_first()?;
        match token {
            b'"' => {
                text = match plain(behind) {
                    Some((_, behind)) => behind,
                    None => behind_escaped(behind)?,
                };
                if !named {
                    text = behind_token(text, b':')?;
                    named = true;
                    continue;
                }
            }
            _ if !named => return None,
            b'{' | b'[' => {
                if depth == DEEPEST {
                    return None;
                }
                // The closing byte is two behind the opening one for both.
                if let Some(behind) = behind_token(behind, token + 2) {
                    text = behind;
                } else {
                    text = behind;
                    named = *token == b'[';
                    within = within << 1 | u64::from(!named);
                    depth += 1;
                    continue;
                }
            }
            b'-' => text = behind_number(behind)?,
            b'0'..=b'9' => text = behind_number(trimmed(text))?,
            b't' => text = behind.strip_prefix(b"rue")?,
            b'f' => text = behind.strip_prefix(b"alse")?,
            b'n' => text = behind.strip_prefix(b"ull")?,
            _ => return None,
        }
        loop {
            if depth == 0 {
                return Some(text);
            }
            let object = within & 1 == 1;
            let (token, behind) = trimmed(text).split_first()?;
            text = behind;
            if *token == b',' {
                named = !object;
                break;
            }
            if *token != if object { b'}' } else { b']' } {
                return None;
            }
            depth -= 1;
            within >>= 1;
        }
    }
}

/// What is behind a number of any size, from behind its sign on.
fn behind_number(text: &[u8]) -> Option<&[u8]> {
    let mut text = match text {
        // No other digit may follow a zero.
        [b'0', behind @ ..] => behind,
        _ => behind_digits(text)?,
    };
    if let [b'.', behind @ ..] = text {
        text = behind_digits(behind)?;
    }
    match text {
        [b'e' | b'E', b'+' | b'-', behind @ ..] | [b'e' | b'E', behind @ ..] => behind_digits(behind),
        _ => Some(text),
    }
}

/// What is behind one digit or more.
#[inline]
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let [b'0'..=b'9', rest @ ..] = text else { return None };
    let mut text = rest;
    while let [b'0'..=b'9', behind @ ..] = text {
        text = behind;
    }
    Some(text)
}
