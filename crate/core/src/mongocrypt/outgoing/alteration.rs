//! Compares the analyser's command with the one it was asked about.
//!
//! Documents, updates and everything else must be the same, field by field, but for markings that hold the value they stand
//! for. Filters, pipelines and projections may be written in another way, with the same in them ([`super::rewritten`]) and,
//! filters and pipelines, with the same meaning ([`super::meaning`], [`super::stage_meaning`]).

use alloc::vec::Vec;

use super::{
    Outgoing,
    fields::RemainingFields,
    marked_value,
    meaning::{are_same_filters, is_same_filter},
    positions::{Reader, is_in, join},
    rewritten::{Given, check_depth, key_of},
    stage_meaning::are_same_stages,
};
use crate::{
    error::{Error, Result},
    raw::{Element, all_elements, element_type as ty},
};

/// Fields that analysers write in their own form.
const REWRITTEN: &[&[u8]] = &[
    b"filter",
    b"query",
    b"q",
    b"partialFilterExpression",
    b"validator",
    b"pipeline",
    b"arrayFilters",
    b"projection",
    b"fields",
    b"let",
    b"min",
    b"max",
    b"c",
];
const STATEMENTS: &[&[u8]] = &[b"updates", b"deletes", b"ops", b"indexes"];
const UPDATES: &[&[u8]] = &[b"u", b"update", b"updateMods"];
/// Flags that analysers were seen to add, with their defaults.
const ADDED_FLAGS: &[(&[u8], u8)] = &[
    (b"multi", 0),
    (b"upsert", 0),
    (b"ordered", 1),
    (b"bypassDocumentValidation", 0),
];
const READ_MODES: &[&str] = &[
    "primary",
    "primaryPreferred",
    "secondary",
    "secondaryPreferred",
    "nearest",
];
const VERBOSITIES: &[&str] = &["queryPlanner", "executionStats", "allPlansExecution"];

pub(super) fn check(schemas: &Outgoing, command: &[u8], marked: &[u8]) -> Result<()> {
    let mut comparison = Comparison {
        schemas,
        command,
        given: None,
    };
    comparison.command(command, marked, "", 0)?;
    let Some(given) = comparison.given else {
        return Ok(());
    };
    // Something was rewritten: a marking at a path holds a value of that path.
    let mut check = |path: &str, element: &Element<'_>| match marked_value(element) {
        Some(value) if !given.has_at(path, &value) => Err(schemas.altered(path)),
        _ => Ok(()),
    };
    Reader::new(schemas, &mut check).command(marked)
}

struct Comparison<'a, 's> {
    schemas: &'s Outgoing,
    command: &'a [u8],
    /// The content of the command; `None` until a rewritten field needs it.
    given: Option<Given>,
}

impl<'a> Comparison<'a, '_> {
    fn altered(&self, path: &str) -> Error {
        self.schemas.altered(path)
    }

    #[inline(never)]
    fn check_all_taken(&self, fields: &RemainingFields<'_>, at: &str) -> Result<()> {
        match fields.rest().next() {
            Some(field) => Err(self.altered(&join(at, field.name))),
            None => Ok(()),
        }
    }

    /// Compares a command or a statement; the order of its fields is free.
    fn command(&mut self, before: &'a [u8], after: &[u8], at: &str, depth: usize) -> Result<()> {
        check_depth(depth)?;
        let mut left = RemainingFields::of(before)?.ok_or_else(|| self.altered(at))?;
        for field in all_elements(after)? {
            let path = join(at, field.name);
            match left.take(field.name) {
                Some(given) => self.field(&given, &field, &path, depth)?,
                None if self.may_be_added(&field, at)? => {}
                // A name that only the analyser knows may be a value: it is not told.
                None => return Err(self.altered(at)),
            }
        }
        left.take(b"$db");
        self.check_all_taken(&left, at)
    }

    /// Whether an analyser may add this field: a driver told it to the analyser, or it is a flag with its default.
    fn may_be_added(&mut self, field: &Element<'_>, at: &str) -> Result<bool> {
        Ok(match field.name {
            // It is about this database; in an `explain` it is there twice.
            b"$db" => {
                let database = self.schemas.namespace.split('.').next();
                at.matches('.').count() <= 1 && field.as_str() == database
            }
            b"verbosity" => field
                .as_str()
                .is_some_and(|text| VERBOSITIES.contains(&text)),
            b"$readPreference" if field.bson_type == ty::DOCUMENT => {
                all_elements(field.value)?.iter().all(|mode| {
                    let text = mode.as_str();
                    mode.name == b"mode" && text.is_some_and(|text| READ_MODES.contains(&text))
                })
            }
            b"maxTimeMS" => {
                matches!(field.bson_type, ty::INT32 | ty::INT64)
                    && !self.given()?.is_encrypted(field)
            }
            name => {
                field.bson_type == ty::BOOL
                    && ADDED_FLAGS
                        .iter()
                        .any(|(known, value)| *known == name && field.value == [*value])
            }
        })
    }

    fn field(
        &mut self,
        before: &Element<'a>,
        after: &Element<'_>,
        path: &str,
        depth: usize,
    ) -> Result<()> {
        if (before.bson_type, before.value) == (after.bson_type, after.value) {
            return Ok(());
        }
        let types = (before.bson_type, after.bson_type);
        let name = before.name;
        match types {
            (ty::DOCUMENT, ty::DOCUMENT) if name == b"explain" => {
                self.command(before.value, after.value, path, depth + 1)
            }
            (ty::ARRAY, ty::ARRAY) if is_in(STATEMENTS, name) => {
                let mut given = all_elements(before.value)?.into_iter();
                for statement in all_elements(after.value)? {
                    let path = join(path, statement.name);
                    match given.next() {
                        Some(given)
                            if (given.bson_type, statement.bson_type)
                                == (ty::DOCUMENT, ty::DOCUMENT) =>
                        {
                            self.command(given.value, statement.value, &path, depth + 1)?;
                        }
                        _ => return Err(self.altered(&path)),
                    }
                }
                match given.next() {
                    Some(_) => Err(self.altered(path)),
                    None => Ok(()),
                }
            }
            (ty::DOCUMENT, ty::DOCUMENT) if is_in(UPDATES, name) => {
                self.update(before.value, after.value, path, depth)
            }
            (ty::ARRAY, ty::ARRAY) if is_in(UPDATES, name) => self.rewritten(before, after, path),
            _ if is_in(REWRITTEN, name) && types.0 == types.1 => {
                self.rewritten(before, after, path)
            }
            _ => self.same(before, after, path, depth),
        }
    }

    /// Compares an update: operators and their fields, whose order is free, or a replacement document.
    fn update(&mut self, before: &'a [u8], after: &[u8], path: &str, depth: usize) -> Result<()> {
        let has_operators = all_elements(before)?
            .first()
            .is_some_and(|first| first.name.starts_with(b"$"));
        if !has_operators {
            return self.document(before, after, path, depth + 1);
        }
        let mut left = RemainingFields::of(before)?.ok_or_else(|| self.altered(path))?;
        for operator in all_elements(after)? {
            let known = left.take(operator.name);
            let given = known.ok_or_else(|| self.altered(path))?;
            let at = join(path, operator.name);
            if (given.bson_type, operator.bson_type) != (ty::DOCUMENT, ty::DOCUMENT) {
                self.same(&given, &operator, &at, depth)?;
                continue;
            }
            let mut fields = RemainingFields::of(given.value)?.ok_or_else(|| self.altered(&at))?;
            for field in all_elements(operator.value)? {
                let known = fields.take(field.name);
                let given = known.ok_or_else(|| self.altered(&at))?;
                let at = join(&at, field.name);
                if let Some((given, field)) = without_form(operator.name, &given, &field)? {
                    self.same(&given, &field, &at, depth)?;
                }
            }
            self.check_all_taken(&fields, &at)?;
        }
        self.check_all_taken(&left, path)
    }

    fn same(
        &mut self,
        before: &Element<'a>,
        after: &Element<'_>,
        path: &str,
        depth: usize,
    ) -> Result<()> {
        if (before.bson_type, before.value) == (after.bson_type, after.value) {
            return Ok(());
        }
        if let Some(value) = marked_value(after) {
            return match (value.bson_type, value.value) == (before.bson_type, before.value) {
                true => Ok(()),
                false => Err(self.altered(path)),
            };
        }
        match (before.bson_type, after.bson_type) {
            (ty::DOCUMENT, ty::DOCUMENT) | (ty::ARRAY, ty::ARRAY) => {
                self.document(before.value, after.value, path, depth + 1)
            }
            _ => Err(self.altered(path)),
        }
    }

    fn document(&mut self, before: &'a [u8], after: &[u8], at: &str, depth: usize) -> Result<()> {
        check_depth(depth)?;
        let mut given = all_elements(before)?.into_iter();
        for field in all_elements(after)? {
            let before = given.next();
            match before.filter(|given| given.name == field.name) {
                Some(before)
                    if (before.bson_type, before.value) == (field.bson_type, field.value) => {}
                Some(before) => self.same(&before, &field, &join(at, field.name), depth)?,
                None => return Err(self.altered(at)),
            }
        }
        match given.next() {
            Some(_) => Err(self.altered(at)),
            None => Ok(()),
        }
    }

    fn given(&mut self) -> Result<&Given> {
        let given = match self.given.take() {
            Some(given) => given,
            None => Given::read(self.schemas, self.command)?,
        };
        Ok(self.given.insert(given))
    }

    fn rewritten(&mut self, before: &Element<'a>, after: &Element<'_>, path: &str) -> Result<()> {
        let is_same = match (before.name, before.bson_type) {
            (
                b"filter" | b"query" | b"q" | b"partialFilterExpression" | b"validator",
                ty::DOCUMENT,
            ) => is_same_filter(before, after)?,
            (b"arrayFilters", _) => are_same_filters(before, after)?,
            (_, ty::ARRAY) => are_same_stages(Some(before), Some(after), 0)?,
            _ => true,
        };
        match is_same && self.given()?.explains(after)? {
            true => Ok(()),
            false => Err(self.altered(path)),
        }
    }
}

/// What is left to compare where an analyser writes the operand of an update in full: `{$push: {a: 1}}` as
/// `{$push: {a: {$each: [1]}}}`, `{$currentDate: {a: true}}` as `{$type: "date"}`, `{$unset: {a: ""}}` as `1`.
fn without_form<'a, 'm>(
    operator: &[u8],
    before: &Element<'a>,
    after: &Element<'m>,
) -> Result<Option<(Element<'a>, Element<'m>)>> {
    let same = Some((*before, *after));
    let only = |element: &Element<'m>, bson_type: u8| -> Result<Option<Element<'m>>> {
        let has_type = element.bson_type == bson_type;
        let fields = match has_type {
            true => all_elements(element.value)?,
            false => Vec::new(),
        };
        Ok(fields.first().filter(|_| fields.len() == 1).copied())
    };
    let inner = only(after, ty::DOCUMENT)?;
    Ok(match (operator, inner) {
        (b"$push" | b"$addToSet", Some(each)) if each.name == b"$each" => {
            let has_each = before.bson_type == ty::DOCUMENT
                && all_elements(before.value)?
                    .iter()
                    .any(|field| field.name == b"$each");
            match only(&each, ty::ARRAY)? {
                Some(item) if !has_each => Some((*before, item)),
                _ => same,
            }
        }
        (b"$currentDate", Some(kind)) if kind.name == b"$type" && kind.as_str() == Some("date") => {
            same.filter(|_| before.bson_type != ty::BOOL)
        }
        // A number of another type.
        (b"$pop", _) if key_of(before) == key_of(after) => None,
        // The operand says nothing.
        (b"$unset", _) if (after.bson_type, after.value) == (ty::INT32, &[1, 0, 0, 0][..]) => None,
        _ => same,
    })
}
