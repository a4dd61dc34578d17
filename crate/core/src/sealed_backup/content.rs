//! The content of a sealed backup: BSON documents end to end. The first is the manifest, the others are records.
//!
//! ```text
//! manifest  {type: "manifest", formatVersion: 1, ..., counts: {key, index, collection, schema, localMasterKey},
//!            recordsSha256: binary (32)}
//! records   {type: "key", document}
//!           {type: "index", namespace, definition}
//!           {type: "collection", namespace, options}
//!           {type: "schema", name, bytes}
//!           {type: "localMasterKey", provider, key: binary (96)}
//! ```

use alloc::vec::Vec;

use crate::{
    crypto::sha256,
    error::{Code, Error, Result},
    raw::{
        begin_document, binary_value, element_type as ty, elements, end_document, find_field,
        push_element, split_documents, string_value,
    },
    secret::{KEY_MATERIAL_LEN, SecretBytes},
};

/// The version of the records that is written.
const FORMAT_VERSION: i32 = 1;
/// Fields of the manifest that are computed here.
const COMPUTED: [&[u8]; 4] = [b"type", b"formatVersion", b"counts", b"recordsSha256"];

/// The kinds of records, with the fields that each must have.
const KINDS: [(&str, &[(&str, u8)]); 5] = [
    ("key", &[("document", ty::DOCUMENT)]),
    (
        "index",
        &[("namespace", ty::STRING), ("definition", ty::DOCUMENT)],
    ),
    (
        "collection",
        &[("namespace", ty::STRING), ("options", ty::DOCUMENT)],
    ),
    ("schema", &[("name", ty::STRING), ("bytes", ty::BINARY)]),
    (
        "localMasterKey",
        &[("provider", ty::STRING), ("key", ty::BINARY)],
    ),
];

type Counts = [i32; KINDS.len()];

/// Puts a manifest before `records`: the fields of `facts`, with version, counts and hash computed.
///
/// Errors: `BACKUP_CONTENT_INVALID` for a record of no known kind or with a field missing, and for facts that name a
/// computed field.
pub fn compose(facts: &[u8], records: &[u8]) -> Result<SecretBytes> {
    let counts = count(records)?;
    let mut manifest = begin_document(facts.len() + 256);
    push_element(
        &mut manifest,
        ty::STRING,
        b"type",
        &string_value("manifest"),
    );
    push_element(
        &mut manifest,
        ty::INT32,
        b"formatVersion",
        &FORMAT_VERSION.to_le_bytes(),
    );
    for element in elements(facts).map_err(malformed)? {
        let element = element.map_err(malformed)?;
        if COMPUTED.contains(&element.name) {
            return Err(invalid(
                "a fact of the manifest has the name of a computed field",
            ));
        }
        push_element(
            &mut manifest,
            element.bson_type,
            element.name,
            element.value,
        );
    }
    push_element(
        &mut manifest,
        ty::DOCUMENT,
        b"counts",
        &counts_document(&counts),
    );
    push_element(
        &mut manifest,
        ty::BINARY,
        b"recordsSha256",
        &binary_value(0, &sha256(records)),
    );
    end_document(&mut manifest, 0);
    let mut content = SecretBytes::with_capacity(manifest.len() + records.len());
    content.expose_mut().extend_from_slice(&manifest);
    content.expose_mut().extend_from_slice(records);
    Ok(content)
}

/// Splits a content into manifest and records, each record checked.
///
/// Errors: `BACKUP_CONTENT_INVALID`; `BACKUP_VERSION_UNSUPPORTED` for records of a newer version.
pub fn parse(content: &[u8]) -> Result<Vec<&[u8]>> {
    let documents = split_documents(content).map_err(malformed)?;
    let Some(manifest) = documents.first() else {
        return Err(invalid("there is no manifest"));
    };
    if kind_of(manifest)? != "manifest" {
        return Err(invalid("the first record is no manifest"));
    }
    match find_field(manifest, "formatVersion").map_err(malformed)? {
        Some(version) if version.bson_type == ty::INT32 => {
            if version.value != FORMAT_VERSION.to_le_bytes() {
                return Err(Error::new(
                    Code::BackupVersionUnsupported,
                    alloc::format!(
                        "expected version {FORMAT_VERSION} of the records, found another one"
                    ),
                ));
            }
        }
        _ => return Err(invalid("the manifest has no formatVersion")),
    }
    let records = &content[manifest.len()..];
    let hash = find_field(manifest, "recordsSha256").map_err(malformed)?;
    if hash.and_then(|hash| hash.as_binary()) != Some((0, &sha256(records)[..])) {
        return Err(invalid("the records do not match the hash of the manifest"));
    }
    let counts = find_field(manifest, "counts").map_err(malformed)?;
    if counts.map(|counts| counts.value) != Some(&counts_document(&count(records)?)[..]) {
        return Err(invalid(
            "the records do not match the counts of the manifest",
        ));
    }
    Ok(documents)
}

fn count(records: &[u8]) -> Result<Counts> {
    let mut counts = Counts::default();
    for (index, record) in split_documents(records)
        .map_err(malformed)?
        .into_iter()
        .enumerate()
    {
        let kind = check_record(record).map_err(|error| error.with("record", index))?;
        counts[kind] += 1;
    }
    Ok(counts)
}

/// Checks one record and returns the index of its kind.
fn check_record(record: &[u8]) -> Result<usize> {
    let found = kind_of(record)?;
    let kind = KINDS
        .iter()
        .position(|(name, _)| *name == found)
        .ok_or_else(|| invalid("a record is of no known kind"))?;
    for (name, bson_type) in KINDS[kind].1 {
        match find_field(record, name).map_err(malformed)? {
            Some(field) if field.bson_type == *bson_type => {
                let len = field.as_binary().map(|(_, bytes)| bytes.len());
                if KINDS[kind].0 == "localMasterKey"
                    && len.is_some_and(|len| len != KEY_MATERIAL_LEN)
                {
                    return Err(invalid("a local master key is not 96 bytes long"));
                }
            }
            _ => {
                return Err(
                    invalid("a record lacks a field, or has one of another type")
                        .with("field", name),
                );
            }
        }
    }
    Ok(kind)
}

fn kind_of(record: &[u8]) -> Result<&str> {
    find_field(record, "type")
        .map_err(malformed)?
        .and_then(|field| field.as_str())
        .ok_or_else(|| invalid("a record has no type"))
}

fn counts_document(counts: &Counts) -> Vec<u8> {
    let mut document = begin_document(96);
    for ((name, _), count) in KINDS.iter().zip(counts) {
        push_element(
            &mut document,
            ty::INT32,
            name.as_bytes(),
            &count.to_le_bytes(),
        );
    }
    end_document(&mut document, 0);
    document
}

fn malformed(error: Error) -> Error {
    Error::new(Code::BackupContentInvalid, "a record is malformed BSON")
        .with("reason", error.message())
}

fn invalid(message: &'static str) -> Error {
    Error::new(Code::BackupContentInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::single_field_document;

    fn record(kind: &str, fields: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
        let mut document = begin_document(64);
        push_element(&mut document, ty::STRING, b"type", &string_value(kind));
        for (name, bson_type, value) in fields {
            push_element(&mut document, *bson_type, name.as_bytes(), value);
        }
        end_document(&mut document, 0);
        document
    }

    fn key_record() -> Vec<u8> {
        record(
            "key",
            &[("document", ty::DOCUMENT, alloc::vec![5, 0, 0, 0, 0])],
        )
    }

    fn code(result: Result<impl Sized>) -> Option<Code> {
        result.err().map(|error| error.code())
    }

    const EMPTY: &[u8] = &[5, 0, 0, 0, 0];

    #[test]
    fn parse_gives_what_compose_took() {
        let facts = single_field_document("keyVault", ty::STRING, &string_value("a.b"));
        let content = compose(&facts, &[key_record(), key_record()].concat()).unwrap();
        let documents = parse(content.expose()).unwrap();
        assert_eq!(documents.len(), 3);
        assert_eq!(documents[1], key_record());
        let namespace = find_field(documents[0], "keyVault").unwrap().unwrap();
        assert_eq!(namespace.as_str(), Some("a.b"));
    }

    #[test]
    fn compose_refuses_records_that_no_reader_would_know() {
        let refused = Some(Code::BackupContentInvalid);
        assert_eq!(code(compose(EMPTY, EMPTY)), refused);
        assert_eq!(code(compose(EMPTY, &record("other", &[]))), refused);
        assert_eq!(code(compose(EMPTY, &record("key", &[]))), refused);
        assert_eq!(
            code(compose(
                EMPTY,
                &record("key", &[("document", ty::INT32, alloc::vec![0; 4])])
            )),
            refused
        );
        let short = [
            ("provider", ty::STRING, string_value("local")),
            ("key", ty::BINARY, binary_value(0, &[1; 95])),
        ];
        assert_eq!(
            code(compose(EMPTY, &record("localMasterKey", &short))),
            refused
        );
        let named = single_field_document("counts", ty::INT32, &[0; 4]);
        assert_eq!(code(compose(&named, b"")), refused);
    }

    #[test]
    fn parse_finds_records_that_were_dropped_added_or_changed() {
        let content = compose(EMPTY, &[key_record(), key_record()].concat()).unwrap();
        let whole = content.expose();
        let refused = Some(Code::BackupContentInvalid);
        assert_eq!(code(parse(b"")), refused);
        assert_eq!(
            code(parse(&whole[..whole.len() - key_record().len()])),
            refused
        );
        assert_eq!(code(parse(&[whole, &key_record()].concat())), refused);
        assert_eq!(code(parse(&key_record())), refused);
    }
}
