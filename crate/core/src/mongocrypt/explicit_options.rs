//! Options of explicit encryption, one by one as the binding passes them.

use alloc::{
    format,
    string::{String, ToString},
};

use super::context::check_document;
use crate::{
    error::{Code, Error, Result},
    key_vault::KeyId,
    machine::key_lookup::KeyReference,
    payload::Algorithm,
    raw::elements,
};

/// What was given. Options of Queryable Encryption are here to be refused in the right words.
#[derive(Default)]
pub struct ExplicitOptions<'a> {
    /// The 16 bytes of a UUID.
    pub key_id: Option<&'a [u8]>,
    /// `{keyAltName: string}`.
    pub key_alt_name: Option<&'a [u8]>,
    /// Its name.
    pub algorithm: Option<&'a str>,
    /// Whether there is a contention factor.
    pub has_contention_factor: bool,
    /// The query type.
    pub query_type: Option<&'a str>,
    /// Whether there are options of text search.
    pub has_text_options: bool,
    /// Whether a range expression is to be encrypted.
    pub is_expression: bool,
}

impl ExplicitOptions<'_> {
    /// Algorithm and key.
    ///
    /// Errors: `KEY_REFERENCE_INVALID`, `ALGORITHM_*`, `OPTION_INVALID`; in the order in which the binding would meet them.
    pub(super) fn read(&self) -> Result<(Algorithm, KeyReference)> {
        let id = self.key_id.map(read_key_id).transpose()?;
        let name = self.key_alt_name.map(read_key_alt_name).transpose()?;
        let algorithm = self.algorithm.map(Algorithm::parse).transpose()?;
        if let Some(query_type) = self.query_type {
            check_query_type(query_type)?;
        }
        let key = match (id, name) {
            (Some(id), None) => KeyReference::Id(id),
            (None, Some(name)) => KeyReference::AltName(name),
            (None, None) => return Err(key_reference("either key id or key alt name required")),
            (Some(_), Some(_)) => {
                return Err(key_reference("cannot have both key id and key alt name"));
            }
        };
        let by_name = matches!(key, KeyReference::AltName(_));
        for (option, is_set) in [
            ("contention factor", self.has_contention_factor),
            ("query type", self.query_type.is_some()),
        ] {
            let other = match (by_name, algorithm) {
                (true, _) => "key alt name",
                (false, Some(_)) => "algorithm",
                (false, None) => continue,
            };
            if is_set {
                return Err(Error::new(
                    Code::OptionInvalid,
                    format!("cannot set both {other} and {option}"),
                ));
            }
        }
        let algorithm = algorithm.ok_or_else(|| {
            Error::new(
                Code::AlgorithmUnsupported,
                "algorithm or index type required",
            )
        })?;
        // DIFFERS: libmongocrypt encrypts without a word, and what was to be searched for cannot be.
        if self.has_text_options {
            return Err(Error::new(
                Code::OptionInvalid,
                "cannot set both algorithm and text options",
            ));
        }
        Ok((algorithm, key))
    }

    /// Expressions exist for ranges of Queryable Encryption only.
    ///
    /// Errors: `ALGORITHM_QUERYABLE`.
    pub(super) fn refuse_expression(&self) -> Result<()> {
        match self.is_expression {
            false => Ok(()),
            true => Err(Error::new(
                Code::AlgorithmQueryable,
                "EncryptExpression may only be used for range queries.",
            )),
        }
    }
}

fn key_reference(message: &'static str) -> Error {
    Error::new(Code::KeyReferenceInvalid, message)
}

fn read_key_id(bytes: &[u8]) -> Result<KeyId> {
    let id = bytes
        .try_into()
        .map_err(|_| key_reference("expected 16 byte UUID"))?;
    Ok(KeyId::new(id))
}

/// Reads `{keyAltName: string}`.
///
/// Errors: `KEY_ALT_NAME_INVALID`.
pub(super) fn read_key_alt_name(document: &[u8]) -> Result<String> {
    check_document(document, "invalid keyAltName bson object")?;
    let invalid = |message| Error::new(Code::KeyAltNameInvalid, message);
    let mut fields = elements(document)?;
    let field = fields.next().ok_or_else(|| invalid("invalid bson"))??;
    if field.name != b"keyAltName" {
        return Err(invalid("keyAltName must have field 'keyAltName'"));
    }
    let name = field
        .as_str()
        .ok_or_else(|| invalid("keyAltName expected to be UTF8"))?;
    match fields.next() {
        None => Ok(name.to_string()),
        Some(_) => Err(invalid("unrecognized field, only keyAltName expected")),
    }
}

/// Query types belong to Queryable Encryption; an unknown one is complained about first.
fn check_query_type(query_type: &str) -> Result<()> {
    let known = [
        "equality",
        "range",
        "rangePreview",
        "prefix",
        "suffix",
        "prefixPreview",
        "suffixPreview",
        "substringPreview",
    ];
    match known
        .iter()
        .any(|name| name.eq_ignore_ascii_case(query_type))
    {
        true => Ok(()),
        false => Err(Error::new(
            Code::OptionInvalid,
            format!("Unsupported query_type \"{query_type}\""),
        )),
    }
}
