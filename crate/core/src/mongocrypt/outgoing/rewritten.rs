//! Filters, pipelines and projections in the analyser's own form: `{a: 1}` becomes `{a: {$eq: 1}}`, and there is no list of
//! all such forms. So it is not the form that is compared, but what is in it: each value and each name that stands there in
//! the clear must stand in the application's command too, at a place that the schema does not encrypt.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};

use super::{Outgoing, marked_value, positions::Reader};
use crate::{
    error::{Code, Error, Result},
    raw::{Element, MAX_DEPTH, element_type as ty, elements},
};

/// Names that analysers put around what was there.
const NAMES: &[&[u8]] = &[
    b"$eq",
    b"$ne",
    b"$gt",
    b"$gte",
    b"$lt",
    b"$lte",
    b"$in",
    b"$nin",
    b"$not",
    b"$and",
    b"$or",
    b"$nor",
    b"$exists",
    b"$type",
    b"$regex",
    b"$options",
    b"$expr",
    b"$const",
    b"$literal",
    b"$mod",
    b"$size",
    b"$all",
    b"$elemMatch",
    b"$comment",
    b"$alwaysTrue",
    b"$alwaysFalse",
    b"$sum",
    b"$group",
    b"$project",
    b"$addFields",
    b"$match",
    b"$limit",
    b"$replaceRoot",
    b"newRoot",
    b"_id",
    b"let",
    b"pipeline",
    b"as",
    b"path",
    b"vars",
    b"in",
    b"input",
    b"cond",
    b"if",
    b"then",
    b"else",
    b"$cond",
    b"$let",
];

/// A value as analysers may write it: numbers in another type, the text of a regular expression as a string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Integer(i64),
    Text(&'a [u8]),
    Other(u8, &'a [u8]),
}

impl<'a> Key<'a> {
    fn of(element: &Element<'a>) -> Self {
        let value = element.value;
        let other = Self::Other(element.bson_type, value);
        match element.bson_type {
            ty::INT32 => <[u8; 4]>::try_from(value).map_or(other, |bytes| {
                Self::Integer(i32::from_le_bytes(bytes).into())
            }),
            ty::INT64 => <[u8; 8]>::try_from(value)
                .map_or(other, |bytes| Self::Integer(i64::from_le_bytes(bytes))),
            ty::DOUBLE => <[u8; 8]>::try_from(value).map_or(other, |bytes| {
                let number = f64::from_le_bytes(bytes);
                #[allow(clippy::cast_possible_truncation, reason = "compared with what it was")]
                let integer = number as i64;
                #[allow(clippy::cast_precision_loss, reason = "compared with what it was")]
                let is_exact = integer as f64 == number;
                match is_exact {
                    true => Self::Integer(integer),
                    false => other,
                }
            }),
            ty::BOOL => Self::Integer(i64::from(value != [0])),
            ty::STRING => Self::Text(&value[4..value.len() - 1]),
            _ => other,
        }
    }

    /// What analysers put in of themselves: `$exists: true`, `$sum: 1`, `_id: null`.
    fn is_filler(self) -> bool {
        matches!(self, Self::Integer(0 | 1) | Self::Other(ty::NULL, _))
    }
}

/// What the application's command holds.
pub(super) struct Given<'a> {
    values: BTreeSet<(u8, &'a [u8])>,
    names: BTreeSet<&'a [u8]>,
    /// Values in the clear, and at how many places the schema does not encrypt them.
    clear: BTreeMap<Key<'a>, usize>,
    encrypted: BTreeSet<Key<'a>>,
    at: BTreeSet<(String, u8, &'a [u8])>,
}

impl<'a> Given<'a> {
    pub(super) fn read(schemas: &Outgoing, command: &'a [u8]) -> Result<Self> {
        let mut given = Self {
            values: BTreeSet::new(),
            names: BTreeSet::new(),
            clear: BTreeMap::new(),
            encrypted: BTreeSet::new(),
            at: BTreeSet::new(),
        };
        let mut found: Vec<(String, Element<'a>)> = Vec::new();
        let mut keep = |path: &str, element: &Element<'a>| {
            found.push((path.to_string(), *element));
            Ok(())
        };
        Reader::new(schemas, &mut keep).command(command)?;
        given.add(command, false, 0)?;
        for (path, element) in found {
            given.take_out(path, &element)?;
        }
        Ok(given)
    }

    fn add(&mut self, document: &'a [u8], is_array: bool, depth: usize) -> Result<()> {
        check_depth(depth)?;
        for field in elements(document)? {
            let field = field?;
            if !is_array {
                self.add_name(field.name);
            }
            self.values.insert((field.bson_type, field.value));
            match field.bson_type {
                ty::DOCUMENT | ty::ARRAY => {
                    self.add(field.value, field.bson_type == ty::ARRAY, depth + 1)?;
                }
                _ => {
                    for key in keys_of(&field) {
                        *self.clear.entry(key).or_default() += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// A path, and the names in it.
    fn add_name(&mut self, name: &'a [u8]) {
        self.names.insert(name);
        if name.contains(&b'.') {
            self.names.extend(name.split(|byte| *byte == b'.'));
        }
    }

    /// A value at an encrypted path is not in the clear. A document and an array are what is in them, too.
    fn take_out(&mut self, path: String, element: &Element<'a>) -> Result<()> {
        let mut open = alloc::vec![*element];
        while let Some(element) = open.pop() {
            self.at
                .insert((path.clone(), element.bson_type, element.value));
            if matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
                for inner in elements(element.value)? {
                    open.push(inner?);
                }
                continue;
            }
            for key in keys_of(&element) {
                self.encrypted.insert(key);
                if let Some(count) = self.clear.get_mut(&key) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Whether the command has this value at this encrypted path.
    pub(super) fn has_at(&self, path: &str, value: &Element<'a>) -> bool {
        self.at
            .contains(&(path.to_string(), value.bson_type, value.value))
    }

    /// Whether all that stands in an element in the clear may stand there, and all markings hold values of the command.
    pub(super) fn explains(&self, element: &Element<'_>) -> Result<bool> {
        self.explains_at(element, 0)
    }

    fn explains_at(&self, element: &Element<'_>, depth: usize) -> Result<bool> {
        check_depth(depth)?;
        if let Some(value) = marked_value(element) {
            return Ok(self.values.contains(&(value.bson_type, value.value)));
        }
        if !matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
            return Ok(keys_of(element).iter().all(|key| self.is_clear(*key)));
        }
        for field in elements(element.value)? {
            let field = field?;
            let is_known = element.bson_type == ty::ARRAY || self.knows(field.name);
            if !is_known || !self.explains_at(&field, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_clear(&self, key: Key<'_>) -> bool {
        let is_given = self.clear.get(&key).is_some_and(|count| *count > 0);
        is_given || (key.is_filler() && !self.encrypted.contains(&key))
    }

    /// Names of the command, those that analysers put in, and strings of the command, as `$count` makes names of them.
    fn knows(&self, name: &[u8]) -> bool {
        self.names.contains(name) || NAMES.contains(&name) || self.is_clear(Key::Text(name))
    }
}

/// Of most values one; of a regular expression its two texts.
fn keys_of<'a>(element: &Element<'a>) -> Vec<Key<'a>> {
    if element.bson_type != ty::REGEX {
        return alloc::vec![Key::of(element)];
    }
    element
        .value
        .split(|byte| *byte == 0)
        .take(2)
        .map(Key::Text)
        .collect()
}

fn check_depth(depth: usize) -> Result<()> {
    match depth > MAX_DEPTH {
        true => Err(Error::new(
            Code::BsonTooDeep,
            "the command nests deeper than 200 levels",
        )),
        false => Ok(()),
    }
}
