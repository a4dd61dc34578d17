//! One level of a document: elements and the lengths of their values.

use super::{MAX_DEPTH, malformed};
use crate::error::{Code, Error, Result};

/// Type bytes of BSON (bsonspec.org 1.1).
pub mod element_type {
    /// 64-bit floating point.
    pub const DOUBLE: u8 = 0x01;
    /// UTF-8 string.
    pub const STRING: u8 = 0x02;
    /// Embedded document.
    pub const DOCUMENT: u8 = 0x03;
    /// Array.
    pub const ARRAY: u8 = 0x04;
    /// Binary data.
    pub const BINARY: u8 = 0x05;
    /// Undefined (deprecated).
    pub const UNDEFINED: u8 = 0x06;
    /// ObjectId.
    pub const OBJECT_ID: u8 = 0x07;
    /// Boolean.
    pub const BOOL: u8 = 0x08;
    /// UTC milliseconds.
    pub const DATETIME: u8 = 0x09;
    /// Null.
    pub const NULL: u8 = 0x0A;
    /// Regular expression.
    pub const REGEX: u8 = 0x0B;
    /// DBPointer (deprecated).
    pub const DB_POINTER: u8 = 0x0C;
    /// JavaScript code.
    pub const CODE: u8 = 0x0D;
    /// Symbol (deprecated).
    pub const SYMBOL: u8 = 0x0E;
    /// JavaScript code with scope (deprecated).
    pub const CODE_WITH_SCOPE: u8 = 0x0F;
    /// 32-bit integer.
    pub const INT32: u8 = 0x10;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 0x11;
    /// 64-bit integer.
    pub const INT64: u8 = 0x12;
    /// 128-bit decimal floating point.
    pub const DECIMAL128: u8 = 0x13;
    /// Max key.
    pub const MAX_KEY: u8 = 0x7F;
    /// Min key.
    pub const MIN_KEY: u8 = 0xFF;
}
use element_type as ty;

/// One field: type byte, name without terminator, value bytes, and the offset of the value in the document.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    /// The BSON type byte.
    pub bson_type: u8,
    /// The field name.
    pub name: &'a [u8],
    /// The value bytes, as BSON lays them out.
    pub value: &'a [u8],
    /// Where the type byte stands, from the start of the document.
    pub offset: usize,
}

impl<'a> Element<'a> {
    /// Where the value starts, from the start of the document.
    #[must_use]
    pub fn value_offset(&self) -> usize {
        self.offset + self.name.len() + 2
    }

    /// Subtype and bytes, when this is a binary.
    #[must_use]
    pub fn as_binary(&self) -> Option<(u8, &'a [u8])> {
        (self.bson_type == ty::BINARY).then(|| (self.value[4], &self.value[5..]))
    }

    /// The text, when this is a string of valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        if self.bson_type != ty::STRING {
            return None;
        }
        core::str::from_utf8(&self.value[4..self.value.len() - 1]).ok()
    }
}

/// Iterates over the fields of one document; nested documents are checked for their lengths only.
pub struct Elements<'a> {
    document: &'a [u8],
    position: usize,
}

/// The length of the document at the start of `bytes`.
///
/// Errors: `BSON_MALFORMED` when the length does not fit into `bytes`, or the terminator is missing.
#[inline]
pub fn document_len(bytes: &[u8]) -> Result<usize> {
    let len = match bytes.first_chunk::<4>() {
        Some(len) => u32::from_le_bytes(*len) as usize,
        None => return Err(malformed("document shorter than its length", 0)),
    };
    if len < 5 || len > bytes.len() || len > i32::MAX as usize {
        return Err(malformed("document length does not fit", 0));
    }
    if bytes[len - 1] != 0 {
        return Err(malformed("document without terminator", len - 1));
    }
    Ok(len)
}

/// The fields of exactly one document.
///
/// Errors: `BSON_MALFORMED`.
#[inline]
pub fn elements(document: &[u8]) -> Result<Elements<'_>> {
    if document_len(document)? != document.len() {
        return Err(malformed("bytes after the document", 0));
    }
    Ok(Elements {
        document,
        position: 4,
    })
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.position;
        let last = self.document.len() - 1;
        if offset == last {
            return None;
        }
        let element = read_element(self.document, offset, last);
        self.position = match &element {
            Ok(element) => element.value_offset() + element.value.len(),
            // An iterator that failed is at its end.
            Err(_) => last,
        };
        Some(element)
    }
}

#[inline]
fn read_element(document: &[u8], offset: usize, last: usize) -> Result<Element<'_>> {
    let bson_type = document[offset];
    let name = cstring(&document[offset + 1..last])
        .ok_or_else(|| malformed("field name without terminator", offset))?;
    let value_offset = offset + name.len() + 2;
    let rest = &document[value_offset..last];
    let value = value_len(bson_type, rest)
        .and_then(|len| rest.get(..len))
        .ok_or_else(|| malformed("value does not fit", value_offset))?;
    Ok(Element {
        bson_type,
        name,
        value,
        offset,
    })
}

#[inline]
fn cstring(bytes: &[u8]) -> Option<&[u8]> {
    bytes
        .iter()
        .position(|byte| *byte == 0)
        .map(|len| &bytes[..len])
}

/// The length of a value of this type at the start of `rest`; `None` when it does not fit or the type is unknown.
#[inline]
fn value_len(bson_type: u8, rest: &[u8]) -> Option<usize> {
    let prefix = || {
        rest.first_chunk::<4>()
            .map(|len| u32::from_le_bytes(*len) as usize)
    };
    match bson_type {
        ty::DOUBLE | ty::DATETIME | ty::TIMESTAMP | ty::INT64 => Some(8),
        ty::STRING | ty::CODE | ty::SYMBOL => string_len(rest),
        ty::DOCUMENT | ty::ARRAY => document_len(rest).ok(),
        ty::BINARY => {
            let len = prefix()?.checked_add(5).filter(|len| *len <= rest.len())?;
            // Subtype 2 repeats its length inside (bsonspec.org, "Binary (Old)"); libbson refuses another one.
            let old = || {
                rest[5..len]
                    .first_chunk::<4>()
                    .map(|inner| u32::from_le_bytes(*inner) as usize)
            };
            (rest[4] != 2 || (len >= 9 && old() == Some(len - 9))).then_some(len)
        }
        ty::UNDEFINED | ty::NULL | ty::MIN_KEY | ty::MAX_KEY => Some(0),
        ty::OBJECT_ID => Some(12),
        ty::BOOL => rest.first().filter(|byte| **byte <= 1).map(|_| 1),
        ty::REGEX => {
            let pattern = cstring(rest)?.len() + 1;
            let options = cstring(&rest[pattern..])?.len() + 1;
            Some(pattern + options)
        }
        ty::DB_POINTER => Some(string_len(rest)? + 12),
        ty::CODE_WITH_SCOPE => {
            let total = prefix()?;
            let inner = rest.get(4..total)?;
            let code = string_len(inner)?;
            let scope = inner.get(code..)?;
            (document_len(scope).ok()? == scope.len()).then_some(total)
        }
        ty::INT32 => Some(4),
        ty::DECIMAL128 => Some(16),
        _ => None,
    }
}

#[inline]
fn string_len(rest: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
    let end = len.checked_add(4)?;
    (len > 0 && *rest.get(end - 1)? == 0).then_some(end)
}

/// Checks that `value` is exactly one well-formed value of the type, nested documents included.
///
/// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`.
pub fn check_value(bson_type: u8, value: &[u8]) -> Result<()> {
    check_nested(bson_type, value, 1)
}

fn check_nested(bson_type: u8, value: &[u8], depth: usize) -> Result<()> {
    if value_len(bson_type, value) != Some(value.len()) {
        return Err(malformed("value does not fit its type", 0));
    }
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match bson_type {
        ty::DOCUMENT | ty::ARRAY => check_fields(value, depth + 1),
        ty::CODE_WITH_SCOPE => {
            let code = string_len(&value[4..]).unwrap_or(0);
            check_fields(&value[4 + code..], depth + 1)
        }
        _ => Ok(()),
    }
}

fn check_fields(document: &[u8], depth: usize) -> Result<()> {
    for element in elements(document)? {
        let element = element?;
        check_nested(element.bson_type, element.value, depth)?;
    }
    Ok(())
}

pub(super) fn too_deep() -> Error {
    Error::new(
        Code::BsonTooDeep,
        alloc::format!("document nests deeper than {MAX_DEPTH} levels"),
    )
}
