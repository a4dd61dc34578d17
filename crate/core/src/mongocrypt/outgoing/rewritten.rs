//! Filters, pipelines and projections in the analyser's own form: `{a: 1}` becomes `{a: {$eq: 1}}`, and there is no list of
//! all such forms. So it is not the form that is compared, but what is in it: each value and each name that stands there in
//! the clear must stand in the application's command too, at a place that the schema does not encrypt.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    Outgoing, marked_value,
    positions::{Reader, is_in},
};
use crate::{
    error::{Code, Error, Result},
    raw::{Element, MAX_DEPTH, all_elements, element_type as ty},
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

/// After a name of the command: names and texts that analysers put in with it, or in its place. Two blanks: an empty text.
const FORMS: &[u8] = b"\
$substr $substrBytes
$toString $convert input to string
$toInt $convert input to int
$toLong $convert input to long
$toDouble $convert input to double
$toDecimal $convert input to decimal
$toBool $convert input to bool
$toDate $convert input to date
$toObjectId $convert input to objectId
$year date
$month date
$week date
$dayOfYear date
$dayOfMonth date
$dayOfWeek date
$hour date
$minute date
$second date
$millisecond date
$isoWeek date
$isoWeekYear date
$isoDayOfWeek date
$map as this
$filter as this
$zip defaults useLongestLength
$getField field input $$CURRENT
$bucketAuto output count
$sortByCount count $sort
$sampleRate $lt $rand
$text  $language $caseSensitive $diacriticSensitive";
/// The names of types, by their numbers.
const TYPES: &[u8] = b"double string object array binData undefined objectId bool date null regex dbPointer javascript symbol \
                     javascriptWithScope int timestamp long decimal";

/// A value as analysers may write it: numbers in another type, the text of a regular expression as a string.
#[inline(never)]
pub(super) fn key_of(element: &Element<'_>) -> Vec<u8> {
    let integer = match element.bson_type {
        ty::STRING => return text_key(&element.value[4..element.value.len() - 1]),
        ty::BOOL => Some(i64::from(element.value != [0])),
        _ => integer_of(element)
            .filter(|(_, is_whole)| *is_whole)
            .map(|(integer, _)| integer),
    };
    match integer {
        Some(integer) => integer_key(integer),
        None => [&[element.bson_type], element.value].concat(),
    }
}

/// The integer part of a number, and whether it is the whole number.
#[inline(never)]
fn integer_of(element: &Element<'_>) -> Option<(i64, bool)> {
    let value = element.value;
    Some(match element.bson_type {
        ty::INT32 => (i32::from_le_bytes(value.try_into().ok()?).into(), true),
        ty::INT64 => (i64::from_le_bytes(value.try_into().ok()?), true),
        ty::DOUBLE => {
            let number = f64::from_le_bytes(value.try_into().ok()?);
            #[allow(clippy::cast_possible_truncation, reason = "as the server cuts it")]
            let integer = number as i64;
            #[allow(clippy::cast_precision_loss, reason = "compared with what it was")]
            let is_whole = integer as f64 == number;
            // No double equals the greatest integer: greater numbers become it.
            (integer, is_whole && integer != i64::MAX)
        }
        _ => return None,
    })
}

#[inline(never)]
fn integer_key(integer: i64) -> Vec<u8> {
    [&[ty::INT64][..], &integer.to_le_bytes()].concat()
}

#[inline(never)]
fn text_key(text: &[u8]) -> Vec<u8> {
    [&[ty::STRING], text].concat()
}

/// The keys of a value: one, or those of the two texts of a regular expression.
#[inline(never)]
fn keys_of(element: &Element<'_>) -> Vec<Vec<u8>> {
    if element.bson_type != ty::REGEX {
        return alloc::vec![key_of(element)];
    }
    let texts = element.value.split(|byte| *byte == 0).take(2);
    texts.map(text_key).collect()
}

/// Whether analysers add a value to any command: `$exists: true`, `$sum: 1`, `_id: null`, `$sort: {count: -1}`.
#[inline(never)]
fn is_filler(key: &[u8]) -> bool {
    key == [ty::NULL] || (-1..=1).any(|integer| key == integer_key(integer))
}

/// What is known of a value or a name in the application's command.
#[derive(Clone, Copy)]
enum Note {
    /// It is a value, of this type and these bytes.
    Value = 1,
    /// It is a name.
    Name,
    /// It is a value in the clear; the count is that of its places that the schema does not encrypt.
    Clear,
    /// It is a value at an encrypted path.
    Encrypted,
    /// It is a value at the encrypted path that is named before it.
    At,
    /// An analyser may add it, because a name or a value in the command allows it.
    Filler,
    /// The value at this address is counted as encrypted already.
    Taken,
}

/// The names and values of the application's command, with their counts.
pub(super) struct Given {
    notes: BTreeMap<Vec<u8>, usize>,
}

#[inline(never)]
fn noted(note: Note, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = alloc::vec![note as u8];
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

#[inline(never)]
fn at_key(path: &str, element: &Element<'_>) -> Vec<u8> {
    let parts: [&[u8]; 4] = [path.as_bytes(), &[0], &[element.bson_type], element.value];
    noted(Note::At, &parts)
}

impl Given {
    pub(super) fn read(schemas: &Outgoing, command: &[u8]) -> Result<Self> {
        let mut given = Self {
            notes: BTreeMap::new(),
        };
        given.add(command, None, 0)?;
        let mut take_out = |path: &str, element: &Element<'_>| given.take_out(path, element);
        Reader::new(schemas, &mut take_out).command(command)?;
        Ok(given)
    }

    #[inline(never)]
    fn has(&self, key: &[u8]) -> bool {
        self.notes.get(key).is_some_and(|count| *count > 0)
    }

    #[inline(never)]
    fn put(&mut self, key: Vec<u8>) {
        *self.notes.entry(key).or_default() += 1;
    }

    /// `list`: the name of the array that the elements are in.
    fn add(&mut self, document: &[u8], list: Option<&[u8]>, depth: usize) -> Result<()> {
        check_depth(depth)?;
        for field in all_elements(document)? {
            let name = list.unwrap_or(field.name);
            if list.is_none() {
                self.add_name(name);
            }
            match field.bson_type {
                ty::DOCUMENT => self.add(field.value, None, depth + 1)?,
                ty::ARRAY => self.add(field.value, Some(name), depth + 1)?,
                _ => {
                    self.add_forms(name, &field);
                    for key in keys_of(&field) {
                        self.put(noted(Note::Clear, &[&key]));
                    }
                    // Whole documents cannot be asked for: no marking in a filter holds one.
                    self.put(noted(Note::Value, &[&[field.bson_type], field.value]));
                }
            }
        }
        Ok(())
    }

    fn put_filler(&mut self, key: &[u8]) {
        self.put(noted(Note::Filler, &[key]));
    }

    /// Other forms of a value: the number of a type, an integer, the positions of bits.
    fn add_forms(&mut self, name: &[u8], value: &Element<'_>) {
        let text = value.as_str().unwrap_or_default().as_bytes();
        if let Some(path) = text.strip_prefix(b"$$CURRENT.") {
            self.put_filler(&text_key(&[b"$", path].concat()));
        }
        if name == b"$mod"
            && let Some((integer, _)) = integer_of(value)
        {
            self.put_filler(&integer_key(integer));
        }
        if name == b"$type" {
            let types = TYPES.split(|byte| *byte == b' ').chain([&b"maxKey"[..]]);
            for (code, known) in (1..).zip(types) {
                if known == text {
                    // The last one is not in the row.
                    self.put_filler(&integer_key(if code > 19 { 127 } else { code }));
                }
            }
        }
        if name.starts_with(b"$bits")
            && let Some((bits, _)) = integer_of(value)
        {
            for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
                self.put_filler(&integer_key(bit));
            }
        }
    }

    /// Counts a path, the names in it, and the words that analysers add with it.
    fn add_name(&mut self, name: &[u8]) {
        self.put(noted(Note::Name, &[name]));
        if name.starts_with(b"$") {
            for form in FORMS.split(|byte| *byte == b'\n') {
                let mut words = form.split(|byte| *byte == b' ');
                if words.next() == Some(name) {
                    for word in words {
                        self.put_filler(&text_key(word));
                    }
                }
            }
        }
        if name.contains(&b'.') {
            for part in name.split(|byte| *byte == b'.') {
                self.put(noted(Note::Name, &[part]));
            }
        }
    }

    /// Counts the values of an element at an encrypted path as encrypted. The values in a document or an array count one by one.
    fn take_out(&mut self, path: &str, element: &Element<'_>) -> Result<()> {
        if matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
            self.put(at_key(path, element));
        }
        let mut open = alloc::vec![*element];
        while let Some(element) = open.pop() {
            if matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
                open.extend(all_elements(element.value)?);
                continue;
            }
            self.put(at_key(path, &element));
            // A value may be found more than once: as an operand, and in the document that it is a part of.
            let place = noted(Note::Taken, &[&element.name.as_ptr().addr().to_le_bytes()]);
            if self.has(&place) {
                continue;
            }
            self.put(place);
            for key in keys_of(&element) {
                self.put(noted(Note::Encrypted, &[&key]));
                if let Some(count) = self.notes.get_mut(&noted(Note::Clear, &[&key])) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Whether the command has this value at this encrypted path.
    pub(super) fn has_at(&self, path: &str, value: &Element<'_>) -> bool {
        self.has(&at_key(path, value))
    }

    /// Whether the command has this value, in whatever type of number, at an encrypted path.
    pub(super) fn is_encrypted(&self, element: &Element<'_>) -> bool {
        let mut keys = keys_of(element).into_iter();
        keys.any(|key| self.has(&noted(Note::Encrypted, &[&key])))
    }

    /// Whether all that stands in an element in the clear may stand there, and all markings hold values of the command.
    pub(super) fn explains(&self, element: &Element<'_>) -> Result<bool> {
        self.explains_at(element, 0)
    }

    fn explains_at(&self, element: &Element<'_>, depth: usize) -> Result<bool> {
        check_depth(depth)?;
        if let Some(value) = marked_value(element) {
            let key = noted(Note::Value, &[&[value.bson_type], value.value]);
            return Ok(self.has(&key));
        }
        if !matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
            return Ok(keys_of(element).iter().all(|key| self.is_clear(key)));
        }
        for field in all_elements(element.value)? {
            let is_known = element.bson_type == ty::ARRAY || self.knows(field.name);
            if !is_known || !self.explains_at(&field, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    #[inline(never)]
    fn is_clear(&self, key: &[u8]) -> bool {
        let is_given = self.has(&noted(Note::Clear, &[key]));
        let is_allowed = is_filler(key) || self.has(&noted(Note::Filler, &[key]));
        is_given || (is_allowed && !self.has(&noted(Note::Encrypted, &[key])))
    }

    /// Names of the command, those that analysers put in, and strings of the command, as `$count` makes names of them.
    fn knows(&self, name: &[u8]) -> bool {
        is_in(NAMES, name)
            || self.has(&noted(Note::Name, &[name]))
            || self.is_clear(&text_key(name))
    }
}

#[inline(never)]
pub(super) fn check_depth(depth: usize) -> Result<()> {
    match depth > MAX_DEPTH {
        true => Err(Error::new(
            Code::BsonTooDeep,
            "the command nests deeper than 200 levels",
        )),
        false => Ok(()),
    }
}
