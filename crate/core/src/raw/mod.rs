//! BSON as bytes: a strict walker and a rewriter for whole documents.
//!
//! The `bson` crate reads and builds the small documents of the key vault. Bulk work goes through here: nothing is copied
//! or decoded that does not have to be, and what is not touched stays as it was, byte for byte.

mod element;
mod rewrite;
mod scan;

pub use element::{Element, Elements, check_value, document_len, element_type, elements};
pub use rewrite::{NewValue, rewrite};
pub use scan::{Found, Scan, scan};
pub(crate) use scan::{Visit, walk};

use alloc::vec::Vec;

use crate::error::{Code, Error, Result};

/// Largest document that servers accept, in bytes (16 MiB).
pub const MAX_DOCUMENT_LEN: usize = 16 * 1024 * 1024;
/// Deepest nesting that servers accept, the document itself counted.
pub const MAX_DEPTH: usize = 200;

/// Splits BSON documents laid end to end.
///
/// Errors: `BSON_MALFORMED` with the offset when a length does not fit.
pub fn split_documents(mut bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let total = bytes.len();
    let mut documents = Vec::new();
    while !bytes.is_empty() {
        let len = document_len(bytes).map_err(|error| error.with("offset", total - bytes.len()))?;
        let (document, rest) = bytes.split_at(len);
        documents.push(document);
        bytes = rest;
    }
    Ok(documents)
}

/// Finds the value of the first field called `name`.
///
/// Errors: `BSON_MALFORMED`.
pub fn find_field<'a>(document: &'a [u8], name: &str) -> Result<Option<Element<'a>>> {
    for element in elements(document)? {
        let element = element?;
        if element.name == name.as_bytes() {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// All fields of one document. For schemas and commands: bulk work goes element by element.
///
/// Errors: `BSON_MALFORMED`.
#[inline(never)]
pub(crate) fn all_elements(document: &[u8]) -> Result<Vec<Element<'_>>> {
    elements(document)?.collect()
}

/// A document with the one field `name`.
#[must_use]
pub fn single_field_document(name: &str, bson_type: u8, value: &[u8]) -> Vec<u8> {
    let mut document = begin_document(name.len() + value.len() + 3);
    push_element(&mut document, bson_type, name.as_bytes(), value);
    end_document(&mut document, 0);
    document
}

/// Starts a document: four bytes for the length that [`end_document`] fills in.
#[must_use]
pub fn begin_document(capacity: usize) -> Vec<u8> {
    let mut document = Vec::with_capacity(capacity + 5);
    document.extend_from_slice(&[0; 4]);
    document
}

/// Appends one element.
pub fn push_element(out: &mut Vec<u8>, bson_type: u8, name: &[u8], value: &[u8]) {
    out.push(bson_type);
    out.extend_from_slice(name);
    out.push(0);
    out.extend_from_slice(value);
}

/// Ends the document that began at `start`: terminator and length.
pub fn end_document(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// The value bytes of a binary: length, subtype, bytes.
#[must_use]
pub fn binary_value(subtype: u8, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(5 + bytes.len());
    push_binary(&mut value, subtype, bytes);
    value
}

/// Appends the value bytes of a binary.
pub fn push_binary(out: &mut Vec<u8>, subtype: u8, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.push(subtype);
    out.extend_from_slice(bytes);
}

/// The value bytes of a string: length with the terminator, bytes, terminator.
#[must_use]
pub fn string_value(text: &str) -> Vec<u8> {
    let mut value = Vec::with_capacity(5 + text.len());
    value.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
    value.extend_from_slice(text.as_bytes());
    value.push(0);
    value
}

/// Refuses a document that no server would store.
///
/// Errors: `BSON_TOO_LARGE` with both lengths.
pub fn check_document_size(len: usize) -> Result<()> {
    if len <= MAX_DOCUMENT_LEN {
        return Ok(());
    }
    Err(Error::new(
        Code::BsonTooLarge,
        alloc::format!("document is {len} bytes after encryption, more than the {MAX_DOCUMENT_LEN} a server stores"),
    )
    .with("found", len)
    .with("limit", MAX_DOCUMENT_LEN))
}

fn malformed(what: &'static str, offset: usize) -> Error {
    Error::new(
        Code::BsonMalformed,
        alloc::format!("malformed BSON: {what} at offset {offset}"),
    )
    .with("offset", offset)
}
