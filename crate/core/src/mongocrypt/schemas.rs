//! The JSON schemas of the collections that a command is about, and where they come from.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use bson::raw::{RawArrayBuf, RawDocumentBuf, cstr};

use super::{
    Call,
    collections::CollectionCache,
    commands::{type_name, without_nul},
    validators::refuse_elsewhere,
};
use crate::{
    error::{Code, Error, Result},
    raw::{element_type as ty, elements, find_field},
};

/// A schema and whether the server was asked for it.
pub(super) struct Schema {
    pub(super) document: Vec<u8>,
    pub(super) is_remote: bool,
}

pub(super) struct Entry {
    pub(super) collection: String,
    /// None where the collection has no schema, or is not there at all.
    pub(super) schema: Option<Schema>,
    is_known: bool,
}

/// Field names, types and lengths around a schema, or in the place of one. More than there are.
const ENTRY_LEN: usize = 512;

/// One entry for each collection; all are in one database.
pub(super) struct Schemas {
    pub(super) database: String,
    pub(super) entries: Vec<Entry>,
}

impl Schemas {
    pub(super) fn new(database: String, collection: String) -> Self {
        let mut schemas = Self {
            database,
            entries: Vec::new(),
        };
        schemas.add(collection);
        schemas
    }

    pub(super) fn add(&mut self, collection: String) {
        if self
            .entries
            .iter()
            .all(|entry| entry.collection != collection)
        {
            self.entries.push(Entry {
                collection,
                schema: None,
                is_known: false,
            });
        }
    }

    pub(super) fn are_several(&self) -> bool {
        self.entries.len() > 1
    }

    /// Bytes that the schemas, or what stands for them, take in a question to the analyser, at most: a command that has to
    /// move because it grows leaves a copy of its values behind.
    pub(super) fn question_len(&self) -> usize {
        let of_entry = |entry: &Entry| {
            let schema_len = entry
                .schema
                .as_ref()
                .map_or(0, |schema| schema.document.len());
            ENTRY_LEN + self.database.len() + 3 * entry.collection.len() + schema_len
        };
        self.entries.iter().map(of_entry).sum::<usize>() + ENTRY_LEN
    }

    pub(super) fn are_known(&self) -> bool {
        self.entries.iter().all(|entry| entry.is_known)
    }

    /// Refuses collections of Queryable Encryption by the map of the options.
    ///
    /// DIFFERS: an entry whose list of fields is empty says nothing about CSFLE: the server's schema still counts. In
    /// libmongocrypt it switches that schema off.
    ///
    /// Errors: `AUTO_ENCRYPTION_QUERYABLE`, `SCHEMA_INVALID`.
    pub(super) fn take_from_encrypted_fields(&self, map: &[u8]) -> Result<()> {
        for entry in self.entries.iter().filter(|entry| !entry.is_known) {
            let namespace = format!("{}.{}", self.database, entry.collection);
            let Some(fields) = find_mapped(map, &namespace, "encryptedFields")? else {
                continue;
            };
            if has_fields(fields)? {
                return Err(queryable(&namespace));
            }
        }
        Ok(())
    }

    /// `validator.$jsonSchema` of `create` and `collMod`. It counts as the server's, which checks more than encryption.
    ///
    /// Errors: `AUTO_ENCRYPTION_QUERYABLE`, `SCHEMA_INVALID`.
    pub(super) fn take_from_command(&mut self, command: &[u8]) -> Result<()> {
        let Some(entry) = self.entries.first_mut() else {
            return Ok(());
        };
        // DIFFERS: in libmongocrypt an entry of the map whose list of fields is empty takes precedence.
        if find_field(command, "encryptedFields")?.is_some() {
            return Err(queryable(&format!(
                "{}.{}",
                self.database, entry.collection
            )));
        }
        if entry.is_known {
            return Ok(());
        }
        if let Some(validator) = find_field(command, "validator")? {
            let namespace = format!("{}.{}", self.database, entry.collection);
            refuse_elsewhere(&validator, &["$jsonSchema"], &namespace)?;
        }
        let Some(schema) = find_in(command, &["validator", "$jsonSchema"])? else {
            return Ok(());
        };
        let (bson_type, document) = schema;
        if bson_type != ty::DOCUMENT {
            return Err(invalid(format!(
                "failed to read schema from schema map for collection: {}",
                entry.collection
            )));
        }
        entry.learn(Some(Schema {
            document: document.to_vec(),
            is_remote: true,
        }));
        Ok(())
    }

    /// The map of the options: a schema of the application's own, which no server can weaken.
    ///
    /// Errors: `SCHEMA_INVALID`.
    pub(super) fn take_from_map(&mut self, map: &[u8]) -> Result<()> {
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_known) {
            let namespace = format!("{}.{}", self.database, entry.collection);
            if let Some(document) = find_mapped(map, &namespace, "schema")? {
                entry.learn(Some(Schema {
                    document: document.to_vec(),
                    is_remote: false,
                }));
            }
        }
        Ok(())
    }

    /// What the server said within the last minute.
    ///
    /// Errors: those of [`Self::take_from_collinfo`].
    pub(super) fn take_from_cache(
        &mut self,
        cache: &mut CollectionCache,
        now_ms: f64,
    ) -> Result<()> {
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_known) {
            let namespace = format!("{}.{}", self.database, entry.collection);
            if let Some(collinfo) = cache.find(&namespace, now_ms) {
                // COMPAT: database and collection are swapped in the messages of this path.
                let swapped = format!("{}.{}", entry.collection, self.database);
                entry.learn_from_collinfo(collinfo, &namespace, &swapped)?;
            }
        }
        Ok(())
    }

    /// One document of the server's answer. It is cached before it is looked at.
    ///
    /// Errors: `AUTO_ENCRYPTION_COLLECTION_INVALID`, `AUTO_ENCRYPTION_QUERYABLE`.
    pub(super) fn take_from_collinfo(
        &mut self,
        call: &mut Call<'_>,
        collinfo: &[u8],
    ) -> Result<()> {
        let database = &self.database;
        let name = find_field(collinfo, "name")?
            .and_then(|field| field.as_str())
            .ok_or_else(|| {
                bad_collection(format!(
                    "failed to find 'name' in collinfo in database: {database}"
                ))
            })?;
        let name = without_nul(name, "collection name in collinfo")?;
        let namespace = format!("{database}.{name}");
        call.library
            .collections
            .insert(namespace.clone(), collinfo, call.now_ms);
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.collection == name)
            .ok_or_else(|| {
                bad_collection(format!(
                    "got unexpected collinfo result for collection: {namespace}"
                ))
            })?;
        entry.learn_from_collinfo(collinfo, &namespace, &namespace)
    }

    /// The rest has no schema; with `call`, that is remembered.
    pub(super) fn take_rest_as_empty(&mut self, call: Option<&mut Call<'_>>) {
        let missing = self.entries.iter_mut().filter(|entry| !entry.is_known);
        let mut call = call;
        for entry in missing {
            entry.learn(None);
            if let Some(call) = &mut call {
                let namespace = format!("{}.{}", self.database, entry.collection);
                let empty = [5, 0, 0, 0, 0];
                call.library
                    .collections
                    .insert(namespace, &empty, call.now_ms);
            }
        }
    }

    /// The filter of `listCollections` for what is not known yet.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER` when all is known.
    pub(super) fn filter(&self) -> Result<Vec<u8>> {
        let missing: Vec<&str> = self
            .entries
            .iter()
            .filter(|entry| !entry.is_known)
            .map(|entry| entry.collection.as_str())
            .collect();
        let mut filter = RawDocumentBuf::new();
        match missing[..] {
            [] => {
                return Err(Error::new(
                    Code::MachineOutOfOrder,
                    "Unexpected: attempting to create listCollections filter but no schemas needed",
                ));
            }
            [name] => filter.append(cstr!("name"), name),
            _ => {
                let names: RawArrayBuf = missing.into_iter().collect();
                let mut condition = RawDocumentBuf::new();
                condition.append(cstr!("$in"), names);
                filter.append(cstr!("name"), condition);
            }
        }
        Ok(filter.into_bytes())
    }
}

impl Entry {
    fn learn(&mut self, schema: Option<Schema>) {
        self.schema = schema;
        self.is_known = true;
    }

    /// `shown`: the namespace in messages of libmongocrypt.
    fn learn_from_collinfo(&mut self, collinfo: &[u8], namespace: &str, shown: &str) -> Result<()> {
        if self.is_known {
            return Err(bad_collection(format!(
                "unexpected duplicate collinfo result for collection: {shown}"
            )));
        }
        if find_field(collinfo, "type")?.and_then(|field| field.as_str()) == Some("view") {
            return Err(bad_collection(format!(
                "cannot auto encrypt a view: {shown}"
            )));
        }
        if find_in(collinfo, &["options", "encryptedFields"])?.is_some() {
            return Err(queryable(namespace));
        }
        let mut schema = None;
        if let Some((ty::DOCUMENT, validator)) = find_in(collinfo, &["options", "validator"])? {
            for field in elements(validator)? {
                let field = field?;
                if field.name != b"$jsonSchema" {
                    continue;
                }
                if schema.is_some() {
                    return Err(bad_collection(format!(
                        "duplicate `$jsonSchema` fields found for collection: {shown}"
                    )));
                }
                if field.bson_type != ty::DOCUMENT {
                    return Err(bad_collection(format!(
                        "unable to copy `$jsonSchema` for collection: {shown}"
                    )));
                }
                schema = Some(Schema {
                    document: field.value.to_vec(),
                    is_remote: true,
                });
            }
        }
        if let Some(options) = find_field(collinfo, "options")? {
            refuse_elsewhere(&options, &["validator", "$jsonSchema"], namespace)?;
        }
        self.learn(schema);
        Ok(())
    }
}

/// The value at a path of field names.
pub(super) fn find_in<'a>(document: &'a [u8], path: &[&str]) -> Result<Option<(u8, &'a [u8])>> {
    let mut found = (ty::DOCUMENT, document);
    for name in path {
        let (ty::DOCUMENT | ty::ARRAY, inner) = found else {
            return Ok(None);
        };
        match find_field(inner, name)? {
            Some(field) => found = (field.bson_type, field.value),
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// What a map of the options has for a namespace.
fn find_mapped<'a>(map: &'a [u8], namespace: &str, what: &str) -> Result<Option<&'a [u8]>> {
    match find_field(map, namespace)? {
        None => Ok(None),
        Some(found) if found.bson_type == ty::DOCUMENT => Ok(Some(found.value)),
        Some(_) => Err(invalid(format!(
            "failed to read {what} from {what} map for collection: {namespace}"
        ))),
    }
}

fn has_fields(encrypted_fields: &[u8]) -> Result<bool> {
    let fields = find_field(encrypted_fields, "fields")?
        .ok_or_else(|| invalid("unable to find 'fields' in encrypted_field_config".to_string()))?;
    match fields.bson_type {
        ty::ARRAY => Ok(elements(fields.value)?.next().is_some()),
        other => Err(invalid(format!(
            "expected 'fields' to be type array, got: {}",
            type_name(other)
        ))),
    }
}

fn invalid(message: String) -> Error {
    Error::new(Code::SchemaInvalid, message)
}

pub(super) fn bad_collection(message: String) -> Error {
    Error::new(Code::AutoEncryptionCollectionInvalid, message)
}

/// The one refusal of Queryable Encryption on this path.
fn queryable(namespace: &str) -> Error {
    Error::new(
        Code::AutoEncryptionQueryable,
        format!(
            "collection {namespace} uses Queryable Encryption (encryptedFields), which is not supported: commands on it \
             are refused rather than sent unencrypted"
        ),
    )
    .with("namespace", namespace.to_string())
}
