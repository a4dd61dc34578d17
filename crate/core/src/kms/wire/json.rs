//! As much JSON (RFC 8259) as KMS messages need: texts out, members of one object in.

use alloc::{format, string::String};
use core::fmt::Write as _;

use super::writer::SecretWriter;
use crate::secret::SecretBytes;

/// Deeper answers are refused, so that reading one needs little stack.
const MAX_DEPTH: usize = 32;

/// Appends `text` as a JSON string, quotes included.
pub(super) fn push_string(text: &str, out: &mut SecretWriter) {
    out.push(b"\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.push(&[b'\\', character as u8]),
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b"\"");
}

/// A member that was looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Member<'a> {
    /// What is between the quotes, escapes and all.
    Text(&'a str),
    /// A number without fraction and exponent that fits.
    Integer(i64),
    Other,
}

/// Finds members of the object that `text` is, the first one of each name. The whole text is checked.
///
/// A text that is no object has no members. Errors: a complaint that quotes nothing of the text.
pub(super) fn members<'a, const N: usize>(
    text: &'a [u8],
    names: [&str; N],
) -> Result<[Option<Member<'a>>; N], String> {
    let text = core::str::from_utf8(text)
        .map_err(|error| format!("invalid UTF-8 at position {}", error.valid_up_to()))?;
    let mut found = [None; N];
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    if reader.peek().is_none() {
        return Err(String::from("Empty JSON string"));
    }
    reader.value(0, &mut |name, member| {
        for (slot, wanted) in found.iter_mut().zip(names) {
            if slot.is_none() && unescape(name).eq(wanted.chars()) {
                *slot = Some(member);
            }
        }
    })?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(found),
        Some(_) => Err(reader.unexpected()),
    }
}

/// Resolves the escapes of a [`Member::Text`].
pub(super) fn text(raw: &str) -> SecretBytes {
    // An escape is never shorter than what it stands for.
    let mut out = SecretBytes::with_capacity(raw.len());
    for character in unescape(raw) {
        let mut encoded = [0; 4];
        let encoded = character.encode_utf8(&mut encoded);
        out.expose_mut().extend_from_slice(encoded.as_bytes());
    }
    out
}

/// The characters of a string that was checked before. A surrogate without its other half becomes U+FFFD.
fn unescape(raw: &str) -> impl Iterator<Item = char> {
    let mut rest = raw.chars();
    core::iter::from_fn(move || {
        let first = rest.next()?;
        if first != '\\' {
            return Some(first);
        }
        Some(match rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = hex4(&mut rest);
                let low = rest.as_str().strip_prefix("\\u").map(|after| {
                    let mut after = after.chars();
                    (hex4(&mut after), after)
                });
                match (high, low) {
                    (0xd800..=0xdbff, Some((low @ 0xdc00..=0xdfff, after))) => {
                        rest = after;
                        let pair = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    _ => char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            other => other,
        })
    })
}

fn hex4(digits: &mut core::str::Chars<'_>) -> u32 {
    let four = digits.by_ref().take(4);
    four.fold(0, |sum, digit| (sum << 4) + digit.to_digit(16).unwrap_or(0))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> String {
        match self.peek() {
            None => String::from("Incomplete JSON"),
            Some(_) => format!("unexpected character at position {}", self.at),
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads one value. `visit` sees the members when it is an object.
    fn value(
        &mut self,
        depth: usize,
        visit: &mut dyn FnMut(&'a str, Member<'a>),
    ) -> Result<Member<'a>, String> {
        if depth == MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth, visit),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Member::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.literal(),
        }
    }

    fn object(
        &mut self,
        depth: usize,
        visit: &mut dyn FnMut(&'a str, Member<'a>),
    ) -> Result<Member<'a>, String> {
        self.expect(b'{')?;
        self.skip_space();
        if self.take(b'}') {
            return Ok(Member::Other);
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            let member = self.value(depth + 1, &mut |_, _| {})?;
            visit(name, member);
            self.skip_space();
            if self.take(b'}') {
                return Ok(Member::Other);
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Member<'a>, String> {
        self.expect(b'[')?;
        self.skip_space();
        if self.take(b']') {
            return Ok(Member::Other);
        }
        loop {
            self.value(depth + 1, &mut |_, _| {})?;
            self.skip_space();
            if self.take(b']') {
                return Ok(Member::Other);
            }
            self.expect(b',')?;
        }
    }

    /// What is between two quotes.
    fn string(&mut self) -> Result<&'a str, String> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                None | Some(0..=0x1f) => return Err(self.unexpected()),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|digit| digit.is_ascii_hexdigit()) {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Member<'a>, String> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.take(b'.') {
            is_integer = false;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            is_integer = false;
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let integer = self.text[start..self.at].parse();
        Ok(integer
            .ok()
            .filter(|_| is_integer)
            .map_or(Member::Other, Member::Integer))
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.unexpected())
        } else {
            Ok(())
        }
    }

    fn literal(&mut self) -> Result<Member<'a>, String> {
        for word in ["true", "false", "null"] {
            let rest = &self.text[self.at..];
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(Member::Other);
            }
            if !rest.is_empty() && word.starts_with(rest) {
                return Err(String::from("Incomplete JSON"));
            }
        }
        Err(self.unexpected())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
