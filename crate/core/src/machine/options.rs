//! Options that arrive as BSON: which algorithm, which key.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::key_lookup::KeyReference;
use crate::{
    error::{Code, Error, Result},
    key_vault::KeyId,
    payload::Algorithm,
    raw::{Element, element_type as ty, elements, find_field},
};

const BINARY_SUBTYPE_UUID: u8 = 4;

/// Reads `{algorithm, keyId | keyAltName}`.
///
/// Errors: `ALGORITHM_UNSUPPORTED`, `ALGORITHM_QUERYABLE`, `KEY_REFERENCE_INVALID`, `OPTION_INVALID` for anything else.
pub(super) fn parse_encrypt_options(document: &[u8]) -> Result<(Algorithm, KeyReference)> {
    parse_options(document, |_| Ok(false))
}

/// Reads `{algorithm, keyId | keyAltName, optional?}`.
///
/// Errors: those of [`parse_encrypt_options`].
pub(super) fn parse_field_rule(document: &[u8]) -> Result<(Algorithm, KeyReference, bool)> {
    let mut optional = false;
    let (algorithm, key) = parse_options(document, |element| {
        if element.name != b"optional" {
            return Ok(false);
        }
        if element.bson_type != ty::BOOL {
            return Err(Error::new(
                Code::OptionInvalid,
                "'optional' must be true or false",
            ));
        }
        optional = element.value == [1];
        Ok(true)
    })?;
    Ok((algorithm, key, optional))
}

/// `further` takes an element that is none of the common options, or says that it does not know it either.
fn parse_options(
    document: &[u8],
    mut further: impl FnMut(&Element<'_>) -> Result<bool>,
) -> Result<(Algorithm, KeyReference)> {
    let (mut algorithm, mut id, mut name) = (None, None, None);
    for element in elements(document)? {
        let element = element?;
        match element.name {
            b"algorithm" => {
                let text = element.as_str().ok_or_else(|| {
                    Error::new(Code::AlgorithmUnsupported, "algorithm must be a string")
                })?;
                algorithm = Some(Algorithm::parse(text)?);
            }
            b"keyId" => id = Some(parse_key_id(&element)?),
            b"keyAltName" => {
                let text = element.as_str().ok_or_else(|| {
                    Error::new(Code::KeyReferenceInvalid, "keyAltName expected to be UTF8")
                })?;
                name = Some(text.to_string());
            }
            _ if further(&element)? => {}
            other => {
                return Err(Error::new(
                    Code::OptionInvalid,
                    format!(
                        "unrecognized option '{}'; expected algorithm and one of keyId and keyAltName",
                        String::from_utf8_lossy(other)
                    ),
                ));
            }
        }
    }
    let algorithm = algorithm.ok_or_else(|| {
        Error::new(
            Code::AlgorithmUnsupported,
            format!(
                "algorithm required: \"{}\" or \"{}\"",
                Algorithm::Deterministic.as_str(),
                Algorithm::Random.as_str()
            ),
        )
    })?;
    match (id, name) {
        (Some(id), None) => Ok((algorithm, KeyReference::Id(id))),
        (None, Some(name)) => Ok((algorithm, KeyReference::AltName(name))),
        (None, None) => Err(Error::new(
            Code::KeyReferenceInvalid,
            "either key id or key alt name required",
        )),
        (Some(_), Some(_)) => Err(Error::new(
            Code::KeyReferenceInvalid,
            "cannot have both key id and key alt name",
        )),
    }
}

/// Reads a UUID.
///
/// Errors: `KEY_REFERENCE_INVALID`.
pub(super) fn parse_key_id(element: &Element<'_>) -> Result<KeyId> {
    element
        .as_binary()
        .filter(|(subtype, _)| *subtype == BINARY_SUBTYPE_UUID)
        .and_then(|(_, bytes)| <[u8; 16]>::try_from(bytes).ok())
        .map(KeyId::new)
        .ok_or_else(|| {
            Error::new(
                Code::KeyReferenceInvalid,
                format!(
                    "'{}' expected 16 byte UUID (binary subtype 4)",
                    String::from_utf8_lossy(element.name)
                ),
            )
        })
}

/// Reads the items of the array field `v`.
///
/// Errors: `OPTION_INVALID`, `BSON_MALFORMED`.
pub(super) fn array_items(document: &[u8]) -> Result<Vec<Element<'_>>> {
    match find_field(document, "v")? {
        Some(Element {
            bson_type: ty::ARRAY,
            value,
            ..
        }) => elements(value)?.collect(),
        _ => Err(Error::new(
            Code::OptionInvalid,
            "expected a document with an array 'v'",
        )),
    }
}

/// Reads `{v: [{from: UUID, to: UUID}]}`.
///
/// Errors: `OPTION_INVALID`, `KEY_REFERENCE_INVALID`, `BSON_MALFORMED`.
pub fn parse_key_mapping(document: &[u8]) -> Result<Vec<(KeyId, KeyId)>> {
    let id = |item: &Element<'_>, name| match find_field(item.value, name)? {
        Some(element) => parse_key_id(&element),
        None => Err(Error::new(
            Code::OptionInvalid,
            format!("a mapping lacks '{name}'"),
        )),
    };
    array_items(document)?
        .iter()
        .map(|item| match item.bson_type {
            ty::DOCUMENT => Ok((id(item, "from")?, id(item, "to")?)),
            _ => Err(Error::new(
                Code::OptionInvalid,
                "a mapping must be a document {from, to}",
            )),
        })
        .collect()
}
