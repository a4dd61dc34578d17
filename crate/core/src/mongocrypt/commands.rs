//! Which commands are encrypted, which pass, and which are refused; and the collection they are about.

use alloc::{
    format,
    string::{String, ToString},
};

use crate::{
    error::{Code, Error, Result},
    raw::{Element, element_type as ty, elements, find_field},
};

/// Commands that carry values to encrypt.
const ENCRYPTED: &[&str] = &[
    "aggregate",
    "count",
    "distinct",
    "delete",
    "find",
    "findAndModify",
    "insert",
    "update",
    "create",
    "createIndexes",
    "explain",
    "collMod",
    "compactStructuredEncryptionData",
    "cleanupStructuredEncryptionData",
];

/// Commands that never do.
const PASSED: &[&str] = &[
    "getMore",
    "authenticate",
    "getnonce",
    "logout",
    "hello",
    "abortTransaction",
    "commitTransaction",
    "endSessions",
    "startSession",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "killCursors",
    "listCollections",
    "listDatabases",
    "listIndexes",
    "renameCollection",
    "ping",
    "saslStart",
    "saslContinue",
    "killAllSessions",
    "killSessions",
    "killAllSessionsByPattern",
    "refreshSessions",
    "buildInfo",
    "buildinfo",
    "getCmdLineOpts",
    "getLog",
    "createSearchIndexes",
    "listSearchIndexes",
    "dropSearchIndex",
    "updateSearchIndex",
    "serverStatus",
];

/// What to do with a command.
pub(super) enum Target {
    /// Send it as it is.
    Passed,
    /// Encrypt it, as a command on this collection of its own database.
    Collection(String),
    /// Encrypt it, as a command on this database and collection, which it names itself (`bulkWrite`).
    Namespace(String, String),
}

/// The name of a command: its first field.
///
/// Errors: `AUTO_ENCRYPTION_COMMAND_UNSUPPORTED` when there is none.
pub(super) fn command_name(command: &[u8]) -> Result<String> {
    match elements(command)?.next() {
        Some(first) => Ok(String::from_utf8_lossy(first?.name).into_owned()),
        None => Err(unsupported("unexpected empty BSON for command")),
    }
}

/// Finds out what a command is about.
///
/// Errors: `AUTO_ENCRYPTION_COMMAND_UNSUPPORTED`.
pub(super) fn target_of(name: &str, command: &[u8]) -> Result<Target> {
    if name == "bulkWrite" {
        return bulk_write_target(command);
    }
    let Some(first) = elements(command)?.next().transpose()? else {
        return Err(unsupported("unexpected empty BSON for command"));
    };
    let named = match name {
        "explain" => explained(&first)?,
        _ => first,
    };
    // COMPAT: of whatever command, also of one that passes or is refused.
    if let Some(collection) = named.as_str() {
        without_nul(collection, "collection name")?;
    }
    if ENCRYPTED.contains(&name) {
        let collection = named.as_str().ok_or_else(|| {
            unsupported(format!(
                "non-collection command not supported for auto encryption: {name}"
            ))
        })?;
        if collection.is_empty() {
            return Err(unsupported(format!(
                "empty collection name on command: {name}"
            )));
        }
        return Ok(Target::Collection(collection.to_string()));
    }
    // Drivers disagree on the case of this one.
    if PASSED.contains(&name) || name.eq_ignore_ascii_case("isMaster") {
        return Ok(Target::Passed);
    }
    Err(unsupported(format!(
        "command not supported for auto encryption: {name}"
    )))
}

fn explained<'a>(explain: &Element<'a>) -> Result<Element<'a>> {
    if explain.bson_type != ty::DOCUMENT {
        return Err(unsupported("explain value is not a document"));
    }
    elements(explain.value)?
        .next()
        .transpose()?
        .ok_or_else(|| unsupported("invalid empty BSON"))
}

/// Exactly one namespace: query analysis knows no more than one.
fn bulk_write_target(command: &[u8]) -> Result<Target> {
    let missing = || unsupported("failed to find namespace in `bulkWrite` command");
    let spaces = find_field(command, "nsInfo")?
        .filter(|field| field.bson_type == ty::ARRAY)
        .ok_or_else(missing)?;
    let first = find_field(spaces.value, "0")?
        .filter(|field| field.bson_type == ty::DOCUMENT)
        .ok_or_else(missing)?;
    let field = find_field(first.value, "ns")?.ok_or_else(missing)?;
    let namespace = field.as_str().ok_or_else(|| {
        unsupported(format!(
            "expected namespace to be UTF8, got: {}",
            type_name(field.bson_type)
        ))
    })?;
    let (database, collection) = namespace.split_once('.').ok_or_else(|| {
        unsupported(format!(
            "expected namespace to contain dot, got: {namespace}"
        ))
    })?;
    if find_field(spaces.value, "1")?.is_some() {
        return Err(unsupported(
            "expected one namespace in `bulkWrite`, but found more than one. Only one namespace is supported.",
        ));
    }
    Ok(Target::Namespace(
        database.to_string(),
        without_nul(collection, "collection name")?,
    ))
}

/// Refuses a name that another program might read only in part.
///
/// Errors: `AUTO_ENCRYPTION_COMMAND_UNSUPPORTED`.
pub(super) fn without_nul(name: &str, what: &str) -> Result<String> {
    match name.contains('\0') {
        false => Ok(name.to_string()),
        true => Err(unsupported(format!(
            "{what} must not contain an embedded null byte"
        ))),
    }
}

pub(super) fn unsupported(message: impl Into<alloc::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::AutoEncryptionCommandUnsupported, message)
}

/// BSON types as libmongocrypt's messages call them.
pub(super) const fn type_name(bson_type: u8) -> &'static str {
    match bson_type {
        ty::DOUBLE => "DOUBLE",
        ty::STRING => "UTF8",
        ty::DOCUMENT => "DOCUMENT",
        ty::ARRAY => "ARRAY",
        ty::BINARY => "BINARY",
        ty::UNDEFINED => "UNDEFINED",
        ty::OBJECT_ID => "OID",
        ty::BOOL => "BOOL",
        ty::DATETIME => "DATE_TIME",
        ty::NULL => "NULL",
        ty::REGEX => "REGEX",
        ty::DB_POINTER => "DBPOINTER",
        ty::CODE => "CODE",
        ty::SYMBOL => "SYMBOL",
        ty::CODE_WITH_SCOPE => "CODEWSCOPE",
        ty::INT32 => "INT32",
        ty::TIMESTAMP => "TIMESTAMP",
        ty::INT64 => "INT64",
        ty::DECIMAL128 => "DECIMAL128",
        ty::MAX_KEY => "MAXKEY",
        ty::MIN_KEY => "MINKEY",
        _ => "Unknown",
    }
}
