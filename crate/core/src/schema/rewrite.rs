//! The walk over a schema that copies it and edits what concerns encryption.

use alloc::{collections::BTreeMap, vec::Vec};

use bson::{
    raw::{RawArray, RawBsonRef, RawDocument, RawElement},
    spec::{BinarySubtype, ElementType},
};

use super::path::Path;
use crate::{error::Result, key_vault::KeyId};

const BSON_TYPE: &str = "bsonType";
const ENCRYPT: &str = "encrypt";
const ENCRYPT_METADATA: &str = "encryptMetadata";
const JSON_SCHEMA: &str = "$jsonSchema";
const KEY_ID: &str = "keyId";
const TYPE: &str = "type";

/// What to do with the keywords that concern encryption.
pub(super) enum Edit<'a> {
    RewriteKeyIds(&'a BTreeMap<KeyId, KeyId>),
    Strip,
}

pub(super) struct Editor<'a> {
    edit: Edit<'a>,
    changed: u32,
}

impl<'a> Editor<'a> {
    pub(super) const fn new(edit: Edit<'a>) -> Self {
        Self { edit, changed: 0 }
    }

    pub(super) const fn changed(&self) -> u32 {
        self.changed
    }

    /// Copies a schema, or a validator with `$jsonSchema`.
    pub(super) fn root(
        &mut self,
        schema: &RawDocument,
        out: &mut Vec<u8>,
        path: &Path<'_>,
    ) -> Result<()> {
        self.keywords(schema, out, path, true)
    }

    fn schema(&mut self, schema: &RawDocument, out: &mut Vec<u8>, path: &Path<'_>) -> Result<()> {
        self.keywords(schema, out, path, false)
    }

    fn keywords(
        &mut self,
        schema: &RawDocument,
        out: &mut Vec<u8>,
        path: &Path<'_>,
        is_root: bool,
    ) -> Result<()> {
        if matches!(self.edit, Edit::Strip) {
            check_encrypt_stands_alone(schema, path)?;
        }
        write_document(out, |out| {
            for element in elements(schema, path) {
                let element = element?;
                let path = &path.to(element.name)?;
                match element.name {
                    ENCRYPT => self.encryption(&element, out, path, true)?,
                    ENCRYPT_METADATA => self.encryption(&element, out, path, false)?,
                    "properties" | "patternProperties" => {
                        self.named_schemas(&element, out, path, false)?;
                    }
                    "dependencies" => self.named_schemas(&element, out, path, true)?,
                    "not" => self.subschema(&element, out, path)?,
                    "allOf" | "anyOf" | "oneOf" => self.listed_schemas(&element, out, path)?,
                    "items" if element.kind == ElementType::Array => {
                        self.listed_schemas(&element, out, path)?;
                    }
                    "items" => self.subschema(&element, out, path)?,
                    "additionalProperties" | "additionalItems"
                        if element.kind == ElementType::Boolean =>
                    {
                        out.extend_from_slice(element.bytes);
                    }
                    "additionalProperties" | "additionalItems" => {
                        self.subschema(&element, out, path)?;
                    }
                    JSON_SCHEMA if is_root => self.subschema(&element, out, path)?,
                    _ => out.extend_from_slice(element.bytes),
                }
            }
            Ok(())
        })
    }

    fn subschema(
        &mut self,
        element: &Element<'_>,
        out: &mut Vec<u8>,
        path: &Path<'_>,
    ) -> Result<()> {
        out.extend_from_slice(element.header);
        self.schema(element.document(path)?, out, path)
    }

    fn listed_schemas(
        &mut self,
        element: &Element<'_>,
        out: &mut Vec<u8>,
        path: &Path<'_>,
    ) -> Result<()> {
        let list = element.array(path)?;
        out.extend_from_slice(element.header);
        self.subschemas(list, out, path, false)
    }

    /// A document whose names are the user's: `encrypt` among them is a property, not the keyword.
    fn named_schemas(
        &mut self,
        element: &Element<'_>,
        out: &mut Vec<u8>,
        path: &Path<'_>,
        allow_arrays: bool,
    ) -> Result<()> {
        let named = element.document(path)?;
        out.extend_from_slice(element.header);
        self.subschemas(named, out, path, allow_arrays)
    }

    fn subschemas(
        &mut self,
        schemas: &RawDocument,
        out: &mut Vec<u8>,
        path: &Path<'_>,
        allow_arrays: bool,
    ) -> Result<()> {
        write_document(out, |out| {
            for element in elements(schemas, path) {
                let element = element?;
                if allow_arrays && element.kind == ElementType::Array {
                    out.extend_from_slice(element.bytes);
                } else {
                    self.subschema(&element, out, &path.to(element.name)?)?;
                }
            }
            Ok(())
        })
    }

    fn encryption(
        &mut self,
        element: &Element<'_>,
        out: &mut Vec<u8>,
        path: &Path<'_>,
        keep_type: bool,
    ) -> Result<()> {
        let encryption = element.document(path)?;
        match self.edit {
            Edit::Strip => {
                self.changed += 1;
                if keep_type {
                    copy_bson_type(encryption, out, path)?;
                }
                Ok(())
            }
            Edit::RewriteKeyIds(_) => {
                out.extend_from_slice(element.header);
                write_document(out, |out| {
                    for element in elements(encryption, path) {
                        let element = element?;
                        if element.name == KEY_ID && element.kind != ElementType::String {
                            self.key_ids(&element, out, &path.to(KEY_ID)?)?;
                        } else {
                            out.extend_from_slice(element.bytes);
                        }
                    }
                    Ok(())
                })
            }
        }
    }

    fn key_ids(&mut self, element: &Element<'_>, out: &mut Vec<u8>, path: &Path<'_>) -> Result<()> {
        if element.kind != ElementType::Array {
            return Err(path.invalid("expected an array of UUIDs or a JSON pointer"));
        }
        let ids = element.array(path)?;
        out.extend_from_slice(element.header);
        write_document(out, |out| {
            for element in elements(ids, path) {
                let element = element?;
                let path = path.to(element.name)?;
                let id = KeyId::from_bson(element.value(&path)?)
                    .ok_or_else(|| path.invalid("expected a UUID (binary subtype 4)"))?;
                match self.replacement(id) {
                    None => out.extend_from_slice(element.bytes),
                    Some(new) => {
                        self.changed += 1;
                        out.extend_from_slice(element.header);
                        write_uuid(out, &new);
                    }
                }
            }
            Ok(())
        })
    }

    fn replacement(&self, id: KeyId) -> Option<KeyId> {
        match self.edit {
            Edit::RewriteKeyIds(mapping) => mapping.get(&id).copied(),
            Edit::Strip => None,
        }
    }
}

/// Confirms that no `encrypt` has a type beside it, which would leave two `bsonType` after stripping.
fn check_encrypt_stands_alone(schema: &RawDocument, path: &Path<'_>) -> Result<()> {
    let mut has_encrypt = false;
    let mut has_type = false;
    for element in elements(schema, path) {
        match element?.name {
            ENCRYPT if has_encrypt => return Err(path.invalid("duplicate keyword 'encrypt'")),
            ENCRYPT => has_encrypt = true,
            BSON_TYPE | TYPE => has_type = true,
            _ => {}
        }
    }
    if has_encrypt && has_type {
        return Err(
            path.invalid("'encrypt' cannot be used in conjunction with 'bsonType' or 'type'")
        );
    }
    Ok(())
}

fn copy_bson_type(encryption: &RawDocument, out: &mut Vec<u8>, path: &Path<'_>) -> Result<()> {
    for element in elements(encryption, path) {
        let element = element?;
        if element.name == BSON_TYPE {
            if !matches!(element.kind, ElementType::String | ElementType::Array) {
                let path = path.to(BSON_TYPE)?;
                return Err(path.invalid("expected a type alias or an array of them"));
            }
            out.extend_from_slice(element.bytes);
            return Ok(());
        }
    }
    Ok(())
}

/// One element, as a value and as bytes.
struct Element<'a> {
    name: &'a str,
    kind: ElementType,
    raw: RawElement<'a>,
    /// Type byte, name and NUL.
    header: &'a [u8],
    /// Header and value.
    bytes: &'a [u8],
}

impl<'a> Element<'a> {
    fn value(&self, path: &Path<'_>) -> Result<RawBsonRef<'a>> {
        self.raw.value().map_err(|_| path.malformed())
    }

    fn document(&self, path: &Path<'_>) -> Result<&'a RawDocument> {
        self.value(path)?
            .as_document()
            .ok_or_else(|| path.invalid("expected a document"))
    }

    /// An array as the document that it is in BSON.
    fn array(&self, path: &Path<'_>) -> Result<&'a RawDocument> {
        let array = self.value(path)?.as_array();
        let bytes = array.map(RawArray::as_bytes);
        let bytes = bytes.ok_or_else(|| path.invalid("expected an array"))?;
        RawDocument::from_bytes(bytes).map_err(|_| path.malformed())
    }
}

fn elements<'a>(
    document: &'a RawDocument,
    path: &Path<'_>,
) -> impl Iterator<Item = Result<Element<'a>>> {
    let mut start = 4; // behind the length prefix
    document.iter_elements().map(move |raw| {
        let raw = raw.map_err(|_| path.malformed())?;
        let name = raw.key();
        let header_len = 1 + name.len() + 1;
        let bytes = &document.as_bytes()[start..start + header_len + raw.size()];
        start += bytes.len();
        Ok(Element {
            name: name.as_str(),
            kind: raw.element_type(),
            header: &bytes[..header_len],
            bytes,
            raw,
        })
    })
}

/// Frames the elements that `write_elements` appends (bsonspec.org 1.1: int32 length, elements, NUL).
fn write_document(
    out: &mut Vec<u8>,
    write_elements: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write_elements(out)?;
    out.push(0);
    // The output never outgrows the input, whose length an int32 holds.
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn write_uuid(out: &mut Vec<u8>, id: &KeyId) {
    let bytes = id.as_bytes();
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.push(u8::from(BinarySubtype::Uuid));
    out.extend_from_slice(bytes);
}
