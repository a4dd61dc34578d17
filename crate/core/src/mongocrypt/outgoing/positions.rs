//! Where a command holds values that schemas encrypt: every place, command by command.
//!
//! What is not known is looked through for names: a document in which an encrypted path is named holds a value of that path.

use alloc::{format, string::String};

use super::{Outgoing, payload_of, rewritten::check_depth, scope::Scope};
use crate::{
    error::Result,
    payload::is_well_formed,
    raw::{Element, all_elements, element_type as ty, find_field},
    schema::encrypted_paths::{ObjectSchema, Place, resolve, step},
};

/// Is told of each value at an encrypted path that is no ciphertext.
pub(super) type Found<'a, 'f> = dyn FnMut(&str, &Element<'a>) -> Result<()> + 'f;

/// Walks through one command.
pub(super) struct Reader<'a, 's, 'f> {
    pub(super) schemas: &'s Outgoing,
    found: &'f mut Found<'a, 'f>,
    depth: usize,
    /// What is read again is told of once.
    pub(super) is_silent: bool,
}

/// Fields of commands and statements that are documents, if they hold anything.
const DOCUMENTS: &[&[u8]] = &[
    b"filter",
    b"query",
    b"q",
    b"partialFilterExpression",
    b"validator",
    b"document",
    b"min",
    b"max",
    b"explain",
    b"projection",
    b"fields",
];
/// Fields of commands and statements that are lists of documents.
const LISTS: &[&[u8]] = &[
    b"documents",
    b"arrayFilters",
    b"pipeline",
    b"updates",
    b"deletes",
    b"ops",
    b"indexes",
];
/// Fields of commands and statements that hold no values of documents.
const WITHOUT_VALUES: &[&[u8]] = &[
    b"lsid",
    b"txnNumber",
    b"autocommit",
    b"startTransaction",
    b"stmtId",
    b"stmtIds",
    b"readConcern",
    b"writeConcern",
    b"maxTimeMS",
    b"maxTimeMSOpOnly",
    b"comment",
    b"collation",
    b"hint",
    b"sort",
    b"key",
    b"cursor",
    b"nsInfo",
    b"let",
    b"c",
    b"$db",
    b"$clusterTime",
    b"$readPreference",
    b"$queryOptions",
    b"$audit",
    b"$client",
    b"$configServerState",
    b"$oplogQueryData",
    b"$replData",
    b"storageEngine",
    b"timeseries",
    b"clusteredIndex",
    b"indexOptionDefaults",
    b"changeStreamPreAndPostImages",
    b"commitQuorum",
    b"index",
];

impl<'a, 's, 'f> Reader<'a, 's, 'f> {
    pub(super) fn new(schemas: &'s Outgoing, found: &'f mut Found<'a, 'f>) -> Self {
        Self {
            schemas,
            found,
            depth: 0,
            is_silent: false,
        }
    }

    /// Bounds the recursion of all walks.
    #[inline]
    pub(super) fn deeper(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        check_depth(self.depth)?;
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    /// A command, or one of the statements in it.
    pub(super) fn command(&mut self, command: &'a [u8]) -> Result<()> {
        let scope = Scope::of(self.schemas.target());
        self.deeper(|reader| {
            for field in all_elements(command)? {
                if matches!(field.bson_type, ty::DOCUMENT | ty::ARRAY) {
                    reader.field(command, &field, &scope)?;
                }
            }
            Ok(())
        })
    }

    fn field(&mut self, command: &'a [u8], field: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        let is_document = field.bson_type == ty::DOCUMENT;
        // A container of another type may be read in another way by the server.
        let is_misplaced = match field.name {
            name if is_in(DOCUMENTS, name) => !is_document,
            name if is_in(LISTS, name) => is_document || !is_list(field)?,
            _ => false,
        };
        if is_misplaced {
            return self.value(&join("", field.name), field);
        }
        match field.name {
            name if is_in(WITHOUT_VALUES, name) => Ok(()),
            b"filter" | b"query" | b"q" | b"partialFilterExpression" => {
                self.filter(field.value, scope, "")
            }
            b"validator" => self.validator(field, scope),
            b"documents" => self.nested(field, &scope.objects, ""),
            b"document" | b"min" | b"max" => self.document(field.value, &scope.objects, ""),
            b"u" | b"update" | b"updateMods" => self.update(field, scope),
            b"arrayFilters" => self.array_filters(command, field, scope),
            b"pipeline" => match find_field(command, "viewOn")?.and_then(|name| name.as_str()) {
                Some(name) => {
                    let viewed = Scope::of(self.schemas.collection(name.as_bytes()));
                    self.pipeline(field, viewed, false).map(|_| ())
                }
                None => self.pipeline(field, scope.clone(), false).map(|_| ()),
            },
            b"explain" => self.command(field.value),
            b"updates" | b"deletes" | b"ops" | b"indexes" => {
                for statement in all_elements(field.value)? {
                    self.command(statement.value)?;
                }
                Ok(())
            }
            b"projection" | b"fields" => self.projection(field, scope),
            _ => self.anything(field, scope),
        }
    }

    fn validator(&mut self, validator: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        for field in all_elements(validator.value)? {
            // The schema that says what is encrypted is no filter of its values.
            if field.name != b"$jsonSchema" || self.schemas.document != field.value {
                self.predicate(&field, scope, "")?;
            }
        }
        Ok(())
    }

    /// A value at an encrypted path.
    #[inline(never)]
    pub(super) fn value(&mut self, path: &str, element: &Element<'a>) -> Result<()> {
        match payload_of(element) {
            _ if self.is_silent => Ok(()),
            Some(payload) if is_well_formed(payload) => Ok(()),
            _ => (self.found)(path, element),
        }
    }

    /// A document to be stored, or a part of one.
    pub(super) fn document(
        &mut self,
        document: &'a [u8],
        objects: &[&'s ObjectSchema],
        at: &str,
    ) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        self.deeper(|reader| {
            for field in all_elements(document)? {
                reader.document_field(&field, objects, at)?;
            }
            Ok(())
        })
    }

    pub(super) fn document_field(
        &mut self,
        field: &Element<'a>,
        objects: &[&'s ObjectSchema],
        at: &str,
    ) -> Result<()> {
        // A dot may be part of the name or may separate two names: both readings are checked.
        let place = match field.name.contains(&b'.') {
            true => resolve(objects, field.name),
            false => step(objects, field.name),
        };
        match place {
            Place::Plain => Ok(()),
            Place::Encrypted | Place::Inside => self.value(&join(at, field.name), field),
            Place::Above(objects) => self.nested(field, &objects, &join(at, field.name)),
        }
    }

    /// A value above encrypted paths: a document, or several in an array.
    #[inline(never)]
    pub(super) fn nested(
        &mut self,
        element: &Element<'a>,
        objects: &[&'s ObjectSchema],
        at: &str,
    ) -> Result<()> {
        match element.bson_type {
            ty::DOCUMENT => self.document(element.value, objects, at),
            ty::ARRAY if !objects.is_empty() => self.deeper(|reader| {
                for item in all_elements(element.value)? {
                    reader.nested(&item, objects, at)?;
                }
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    /// What is not known: no document in it names an encrypted path and gives it a value.
    #[inline(never)]
    pub(super) fn anything(&mut self, element: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        if !matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) || !scope.encrypts() {
            return Ok(());
        }
        self.deeper(|reader| {
            for field in all_elements(element.value)? {
                if element.bson_type == ty::DOCUMENT {
                    match scope.resolve(field.name) {
                        Place::Plain => {}
                        Place::Above(objects) => {
                            reader.nested(&field, &objects, &join("", field.name))?;
                        }
                        _ => reader.value(&join("", field.name), &field)?,
                    }
                }
                reader.anything(&field, scope)?;
            }
            Ok(())
        })
    }
}

#[inline(never)]
pub(super) fn join(at: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match at.is_empty() {
        true => name.into_owned(),
        false => format!("{at}.{name}"),
    }
}

/// The first field of a document, when it is an operator.
pub(super) fn operator_of<'a>(element: &Element<'a>) -> Result<Option<Element<'a>>> {
    if element.bson_type != ty::DOCUMENT {
        return Ok(None);
    }
    first_operator(element.value)
}

#[inline(never)]
fn first_operator(document: &[u8]) -> Result<Option<Element<'_>>> {
    let first = crate::raw::elements(document)?.next().transpose()?;
    Ok(first.filter(|field| field.name.starts_with(b"$")))
}

/// The only field of a document, when it is an operator.
#[inline(never)]
pub(super) fn only_operator<'a>(element: &Element<'a>) -> Result<Option<Element<'a>>> {
    let operator = operator_of(element)?;
    Ok(match operator {
        Some(_) if all_elements(element.value)?.len() > 1 => None,
        operator => operator,
    })
}

#[inline(never)]
fn is_list(list: &Element<'_>) -> Result<bool> {
    let items = all_elements(list.value)?;
    Ok(items.iter().all(|item| item.bson_type == ty::DOCUMENT))
}

/// The text in a field of a stage.
#[inline(never)]
pub(super) fn text_of<'a>(stage: &Element<'a>, name: &str) -> Result<Option<&'a str>> {
    Ok(find_field(stage.value, name)?.and_then(|field| field.as_str()))
}

/// Whether a list has a name.
#[inline(never)]
pub(super) fn is_in(list: &[&[u8]], name: &[u8]) -> bool {
    list.contains(&name)
}

/// The path of the field that a text of an expression names; `None` for variables and constants.
pub(super) fn field_path(text: &str) -> Option<&str> {
    text.strip_prefix("$$ROOT.")
        .or_else(|| text.strip_prefix("$$CURRENT."))
        .or_else(|| text.strip_prefix('$'))
        .filter(|path| !path.starts_with('$'))
}
