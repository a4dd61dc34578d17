//! What a query analyser is asked, and what it says.

use alloc::{format, vec::Vec};

use bson::raw::{RawArrayBuf, RawDocumentBuf, cstr};

use super::schemas::Schemas;
use crate::{
    error::{Code, Error, Result},
    raw::{
        Element, begin_document, element_type as ty, elements, end_document, find_field,
        push_element,
    },
    secret::SecretBytes,
};

const EMPTY_DOCUMENT: [u8; 5] = [5, 0, 0, 0, 0];

/// The version of an analyser that knows `create` and `createIndexes` (server 6.0).
pub(super) const WIRE_VERSION_CREATE: i32 = 17;
/// The version of an analyser that takes several schemas (server 8.1).
pub(super) const WIRE_VERSION_SEVERAL_SCHEMAS: i32 = 26;

/// What an analyser says about a command.
pub(super) enum Verdict {
    /// There is nothing to encrypt in it.
    Nothing,
    /// The command, with markings where values are to be encrypted.
    Marked(SecretBytes),
}

/// The command for the analyser: without `$db`, which its caller adds, and with the schemas.
pub(super) fn command_with_schemas(
    name: &str,
    command: &[u8],
    schemas: &Schemas,
) -> Result<SecretBytes> {
    let mut question = SecretBytes::with_capacity(command.len() + schemas.question_len());
    let out = question.expose_mut();
    out.extend_from_slice(&[0; 4]);
    let has_schema = schemas.entries.iter().any(|entry| entry.schema.is_some());
    let in_spaces = name == "bulkWrite" && !has_schema;
    let mut spaces = None;
    for field in elements(command)? {
        let field = field?;
        match field.name {
            b"$db" => {}
            b"nsInfo" if in_spaces => spaces = Some(field),
            _ => push(out, &field),
        }
    }
    match spaces {
        Some(spaces) => push_spaces(out, &spaces, schemas)?,
        None => push_schemas(out, schemas),
    }
    end_document(out, 0);
    Ok(question)
}

fn push(out: &mut Vec<u8>, field: &Element<'_>) {
    push_element(out, field.bson_type, field.name, field.value);
}

fn push_schemas(out: &mut Vec<u8>, schemas: &Schemas) {
    if let [entry] = &schemas.entries[..] {
        // COMPAT: a collection without a schema has the server's empty one; next to others it has an empty local one.
        let (document, is_remote) = match &entry.schema {
            Some(schema) => (&schema.document[..], schema.is_remote),
            None => (&EMPTY_DOCUMENT[..], true),
        };
        push_schema(out, document, is_remote);
        return;
    }
    out.push(ty::DOCUMENT);
    out.extend_from_slice(b"csfleEncryptionSchemas\0");
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for entry in &schemas.entries {
        let namespace = format!("{}.{}", schemas.database, entry.collection);
        let (document, is_remote) = match &entry.schema {
            Some(schema) => (&schema.document[..], schema.is_remote),
            None => (&EMPTY_DOCUMENT[..], false),
        };
        let mut inner = begin_document(document.len() + 32);
        push_schema(&mut inner, document, is_remote);
        end_document(&mut inner, 0);
        push_element(out, ty::DOCUMENT, namespace.as_bytes(), &inner);
    }
    end_document(out, start);
}

fn push_schema(out: &mut Vec<u8>, document: &[u8], is_remote: bool) {
    push_element(out, ty::DOCUMENT, b"jsonSchema", document);
    push_element(out, ty::BOOL, b"isRemoteSchema", &[u8::from(is_remote)]);
}

/// `bulkWrite` without schemas: the analyser is told in the form that Queryable Encryption has for "nothing".
fn push_spaces(out: &mut Vec<u8>, spaces: &Element<'_>, schemas: &Schemas) -> Result<()> {
    let mut schema = RawDocumentBuf::new();
    for entry in &schemas.entries {
        let collection = &entry.collection;
        let mut fields = RawDocumentBuf::new();
        fields.append(cstr!("escCollection"), format!("enxcol_.{collection}.esc"));
        fields.append(
            cstr!("ecocCollection"),
            format!("enxcol_.{collection}.ecoc"),
        );
        fields.append(cstr!("fields"), RawArrayBuf::new());
        let namespace = format!("{}.{collection}", schemas.database);
        let mut named = begin_document(fields.as_bytes().len() + namespace.len());
        push_element(
            &mut named,
            ty::DOCUMENT,
            namespace.as_bytes(),
            fields.as_bytes(),
        );
        end_document(&mut named, 0);
        schema = RawDocumentBuf::from_bytes(named).unwrap_or(schema);
    }
    let mut information = RawDocumentBuf::new();
    information.append(cstr!("type"), 1i32);
    information.append(cstr!("schema"), schema);

    let first = find_field(spaces.value, "0")?.ok_or_else(|| {
        super::commands::unsupported("expected one namespace in `bulkWrite`, but found zero.")
    })?;
    let mut space = begin_document(first.value.len() + information.as_bytes().len() + 32);
    for field in elements(first.value)? {
        push(&mut space, &field?);
    }
    push_element(
        &mut space,
        ty::DOCUMENT,
        b"encryptionInformation",
        information.as_bytes(),
    );
    end_document(&mut space, 0);
    let mut array = begin_document(space.len() + 8);
    push_element(&mut array, ty::DOCUMENT, b"0", &space);
    end_document(&mut array, 0);
    push_element(out, ty::ARRAY, b"nsInfo", &array);
    Ok(())
}

/// `{isMaster: 1}`, which tells an analyser's version.
pub(super) fn hello() -> Vec<u8> {
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("isMaster"), 1i32);
    command.into_bytes()
}

/// The version out of the answer to [`hello`].
///
/// Errors: `AUTO_ENCRYPTION_ANALYSIS_INVALID`.
pub(super) fn wire_version(reply: &[u8]) -> Result<i32> {
    let version = find_field(reply, "maxWireVersion")?.ok_or_else(|| {
        invalid("expected to find 'maxWireVersion' in isMaster response, but did not.")
    })?;
    match (version.bson_type, <[u8; 4]>::try_from(version.value)) {
        (ty::INT32, Ok(bytes)) => Ok(i32::from_le_bytes(bytes)),
        _ => Err(invalid("expected 'maxWireVersion' to be int32.")),
    }
}

/// Reads the analyser's reply.
///
/// COMPAT: `hasEncryptionPlaceholders`, which is what analysers really send, is not looked at.
///
/// Errors: `AUTO_ENCRYPTION_ANALYSIS_INVALID`.
pub(super) fn read_verdict(reply: &[u8]) -> Result<Verdict> {
    for name in ["schemaRequiresEncryption", "hasEncryptedPlaceholders"] {
        if find_field(reply, name)?.is_some_and(|flag| !is_true(&flag)) {
            return Ok(Verdict::Nothing);
        }
    }
    let result =
        find_field(reply, "result")?.ok_or_else(|| invalid("malformed marking, no 'result'"))?;
    match result.bson_type {
        ty::DOCUMENT => Ok(Verdict::Marked(SecretBytes::copy_from(result.value))),
        _ => Err(invalid("malformed marking, 'result' must be a document")),
    }
}

/// Truth as libbson sees it: flags, numbers other than 0, and everything else that is there and not null.
fn is_true(field: &Element<'_>) -> bool {
    match field.bson_type {
        ty::BOOL | ty::INT32 | ty::INT64 => field.value.iter().any(|byte| *byte != 0),
        ty::DOUBLE => {
            <[u8; 8]>::try_from(field.value).is_ok_and(|bytes| f64::from_le_bytes(bytes) != 0.0)
        }
        ty::UNDEFINED | ty::NULL => false,
        _ => true,
    }
}

pub(super) fn invalid(message: impl Into<alloc::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::AutoEncryptionAnalysisInvalid, message)
}
