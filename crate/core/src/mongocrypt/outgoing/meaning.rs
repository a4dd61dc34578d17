//! Whether a filter that was written in another way still asks for the same.
//!
//! A filter is read as conditions that hold together or one of which holds, with `$not` and its like moved down to the single
//! conditions. Two filters mean the same when these are the same, in any order. What an operator compares with counts for
//! equality and order; of other operators only the name counts.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    marked_value,
    positions::operator_of,
    rewritten::{check_depth, key_of},
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty},
};

/// Conditions, how often each is there, and whether all of them hold or one.
struct Conditions {
    is_all: bool,
    /// One of them never holds, or always: there is nothing else to say.
    is_settled: bool,
    found: BTreeMap<Vec<u8>, usize>,
    depth: usize,
}

/// A path; whether what is said of it is turned round.
#[derive(Clone, Copy)]
struct About<'p> {
    path: &'p [u8],
    not: bool,
}

/// Whether two filters have the same conditions. What is no document is no filter: it is compared as a value.
///
/// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`.
#[inline(never)]
pub(super) fn is_same_filter(before: &Element<'_>, after: &Element<'_>) -> Result<bool> {
    if (before.bson_type, after.bson_type) != (ty::DOCUMENT, ty::DOCUMENT) {
        return is_same_value(before, after);
    }
    Ok(meaning(before.value)? == meaning(after.value)?)
}

#[inline(never)]
fn meaning(filter: &[u8]) -> Result<Vec<u8>> {
    let mut conditions = Conditions::new(true, 0);
    conditions.add_filter(filter, false)?;
    Ok(conditions.key())
}

#[inline(never)]
pub(super) fn is_same_value(before: &Element<'_>, after: &Element<'_>) -> Result<bool> {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    add_value(before, &mut one, 0)?;
    add_value(after, &mut other, 0)?;
    Ok(one == other)
}

/// Whether two lists have the same filters in the same order.
///
/// Errors: those of [`is_same_filter`].
pub(super) fn are_same_filters(before: &Element<'_>, after: &Element<'_>) -> Result<bool> {
    let (before, after) = (all_elements(before.value)?, all_elements(after.value)?);
    let mut is_same = before.len() == after.len();
    for (before, after) in before.iter().zip(&after) {
        is_same = is_same && is_same_filter(before, after)?;
    }
    Ok(is_same)
}

impl Conditions {
    fn new(is_all: bool, depth: usize) -> Self {
        Self {
            is_all,
            is_settled: false,
            found: BTreeMap::new(),
            depth,
        }
    }

    #[inline(never)]
    fn put(&mut self, not: bool, parts: &[&[u8]], is_counted: bool) {
        let part = [&[u8::from(not)], &parts.concat()[..]].concat();
        self.put_part(&part, usize::from(is_counted));
    }

    #[inline(never)]
    fn put_part(&mut self, part: &[u8], count: usize) {
        if !self.is_settled {
            *self.found.entry(part.to_vec()).or_default() += count;
        }
    }

    /// An operator whose operand is not looked at: two of them are two conditions.
    fn put_named(&mut self, About { path, not }: About<'_>, name: &[u8]) {
        self.put(not, &[path, &[0], name], true);
    }

    /// What always holds, or never.
    fn put_known(&mut self, holds: bool) {
        if holds != self.is_all {
            self.is_settled = true;
            self.found.clear();
        }
    }

    /// Conditions of one kind among those of the other. One alone is of both.
    #[inline(never)]
    fn group(
        &mut self,
        is_all: bool,
        count: usize,
        work: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        check_depth(self.depth)?;
        self.depth += 1;
        if self.is_all == is_all || count == 1 {
            work(self)?;
            self.depth -= 1;
            return Ok(());
        }
        let mut inner = Self::new(is_all, self.depth);
        work(&mut inner)?;
        self.depth -= 1;
        match inner.found.len() {
            _ if inner.is_settled => {}
            0 => self.put_known(is_all),
            1 if inner.found.values().all(|count| *count < 2) => {
                for (part, count) in &inner.found {
                    self.put_part(part, *count);
                }
            }
            _ => self.put(is_all, &[&[2], &inner.key()], false),
        }
        Ok(())
    }

    /// Equal for conditions with the same meaning.
    #[inline(never)]
    fn key(&self) -> Vec<u8> {
        let mut key = alloc::vec![u8::from(self.is_settled)];
        for (part, count) in &self.found {
            key.extend((part.len() as u64).to_le_bytes());
            key.extend((*count as u64).to_le_bytes());
            key.extend_from_slice(part);
        }
        key
    }

    fn add_filter(&mut self, document: &[u8], not: bool) -> Result<()> {
        let fields = all_elements(document)?;
        self.group(!not, fields.len(), &mut |inner| {
            for field in &fields {
                inner.add(field, not)?;
            }
            Ok(())
        })
    }

    fn add(&mut self, field: &Element<'_>, not: bool) -> Result<()> {
        let (path, about) = (field.name, About { path: b"", not });
        match path {
            b"$and" | b"$or" | b"$nor" if field.bson_type == ty::ARRAY => {
                let items = all_elements(field.value)?;
                let not = not != (path == b"$nor");
                return self.group((path == b"$and") != not, items.len(), &mut |inner| {
                    for item in &items {
                        inner.add_filter(item.value, not)?;
                    }
                    Ok(())
                });
            }
            b"$comment" | b"$alwaysTrue" => self.put_known(!not),
            b"$alwaysFalse" => self.put_known(not),
            // It is an `$expr` with a random number.
            b"$sampleRate" => self.put_named(about, b"$expr"),
            path if path.starts_with(b"$") => self.put_named(about, path),
            path => return self.add_operand(About { path, not }, field),
        }
        Ok(())
    }

    /// What a path is compared with: a value, or operators.
    fn add_operand(&mut self, about: About<'_>, element: &Element<'_>) -> Result<()> {
        match operator_of(element)? {
            Some(first) if !matches!(first.name, b"$ref" | b"$id" | b"$db") => {
                let operations = all_elements(element.value)?;
                self.group(!about.not, operations.len(), &mut |inner| {
                    for operation in &operations {
                        inner.add_operation(about, operation)?;
                    }
                    Ok(())
                })
            }
            _ if element.bson_type == ty::REGEX => {
                self.put_named(about, b"$regex");
                Ok(())
            }
            _ => self.add_compared(about, b"", element),
        }
    }

    fn add_operation(&mut self, about: About<'_>, operation: &Element<'_>) -> Result<()> {
        let About { path, not } = about;
        let turned = About { path, not: !not };
        match operation.name {
            b"$eq" => self.add_compared(about, b"", operation)?,
            b"$ne" => self.add_compared(turned, b"", operation)?,
            name @ (b"$in" | b"$nin" | b"$all") if operation.bson_type == ty::ARRAY => {
                let items = all_elements(operation.value)?;
                let is_all = name == b"$all";
                let about = match name {
                    b"$nin" => turned,
                    _ => about,
                };
                if is_all && items.is_empty() {
                    self.put_known(about.not);
                    return Ok(());
                }
                self.group(is_all != about.not, items.len(), &mut |inner| {
                    for item in &items {
                        match is_all || item.bson_type == ty::REGEX {
                            true => inner.add_operand(about, item)?,
                            false => inner.add_compared(about, b"", item)?,
                        }
                    }
                    Ok(())
                })?;
            }
            b"$not" => self.add_operand(turned, operation)?,
            b"$exists" => {
                let is_no = operation.value.iter().all(|byte| *byte == 0);
                self.put(not != is_no, &[path, b"\0$exists"], false);
            }
            name @ (b"$gt" | b"$gte" | b"$lt" | b"$lte") => {
                self.add_compared(about, name, operation)?;
            }
            b"$elemMatch" if operation.bson_type == ty::DOCUMENT => {
                let mut inner = Self::new(true, self.depth + 1);
                let about = About {
                    path: b"",
                    not: false,
                };
                match operator_of(operation)? {
                    Some(first) if !matches!(first.name, b"$and" | b"$or" | b"$nor" | b"$expr") => {
                        inner.add_operand(about, operation)?;
                    }
                    _ => inner.add_filter(operation.value, false)?,
                }
                self.put(not, &[path, b"\0$elemMatch", &inner.key()], false);
            }
            // The first goes with `$regex`.
            b"$options" | b"$comment" => self.put_known(!not),
            name => self.put_named(about, name),
        }
        Ok(())
    }

    fn add_compared(&mut self, about: About<'_>, name: &[u8], value: &Element<'_>) -> Result<()> {
        let mut key = Vec::new();
        add_value(value, &mut key, 0)?;
        self.put(about.not, &[about.path, &[0], name, &[0], &key], false);
        Ok(())
    }
}

/// A value, whether it is marked or not, with numbers of all types alike.
#[inline(never)]
fn add_value(element: &Element<'_>, key: &mut Vec<u8>, depth: usize) -> Result<()> {
    check_depth(depth)?;
    let marked = marked_value(element);
    let element = marked.as_ref().unwrap_or(element);
    match element.bson_type {
        ty::DOCUMENT | ty::ARRAY => {
            key.push(element.bson_type);
            for field in all_elements(element.value)? {
                key.extend_from_slice(field.name);
                key.push(0);
                add_value(&field, key, depth + 1)?;
            }
            key.push(0);
        }
        ty::BOOL => key.extend([ty::BOOL, element.value[0]]),
        _ => {
            let value = key_of(element);
            key.extend_from_slice(&(value.len() as u64).to_le_bytes());
            key.extend_from_slice(&value);
        }
    }
    Ok(())
}
