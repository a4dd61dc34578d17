//! What the names of documents mean after a stage.

use alloc::vec::Vec;

use super::{
    expressions::{Gives, documents},
    filters::says_whether,
    positions::{Reader, is_in, operator_of},
    scope::{Scope, below},
    stages::is_known,
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty, find_field},
};

/// They give one of their operands, or a list of such.
const PASSING: &[&[u8]] = &[
    b"$mergeObjects",
    b"$first",
    b"$last",
    b"$push",
    b"$addToSet",
    b"$min",
    b"$max",
    b"$ifNull",
    b"$reverseArray",
];

/// Where the events of a change stream have documents of the collection.
const EVENT: &[&[u8]] = &[
    b"fullDocument",
    b"fullDocumentBeforeChange",
    b"documentKey",
    b"updateDescription.updatedFields",
];

impl<'a, 's> Reader<'a, 's, '_> {
    /// Adds the names that a stage gives to encrypted values. A name that had one keeps it.
    pub(super) fn follow(&mut self, stage: &Element<'a>, scope: &mut Scope<'s>) -> Result<()> {
        let before = scope.clone();
        self.is_silent = true;
        let result = self.follow_names(stage, &before, scope);
        self.is_silent = false;
        result
    }

    fn follow_names(
        &mut self,
        stage: &Element<'a>,
        before: &Scope<'s>,
        scope: &mut Scope<'s>,
    ) -> Result<()> {
        match stage.name {
            b"$changeStream" => {
                for name in EVENT {
                    scope.mount(name, before);
                }
                Ok(())
            }
            b"$documents" | b"$fill" => {
                scope.named.push((Vec::new(), Gives::CONSTANT));
                Ok(())
            }
            b"$project" | b"$addFields" | b"$set" | b"$group" | b"$replaceWith" => {
                self.renamed_to(stage, before, b"", scope, stage.name == b"$project")
            }
            b"$replaceRoot" => match find_field(stage.value, "newRoot")? {
                Some(root) => self.renamed_to(&root, before, b"", scope, false),
                None => Ok(()),
            },
            b"$sortByCount" => self.renamed_to(stage, before, b"_id", scope, false),
            b"$bucket" | b"$bucketAuto" | b"$setWindowFields"
                if stage.bson_type == ty::DOCUMENT =>
            {
                for field in all_elements(stage.value)? {
                    match field.name {
                        b"groupBy" => self.renamed_to(&field, before, b"_id", scope, false)?,
                        b"output" => self.renamed_to(&field, before, b"", scope, false)?,
                        _ => {}
                    }
                }
                Ok(())
            }
            name if is_known(name) => Ok(()),
            // Statistics and reports hold filters and documents at paths of their own.
            _ => {
                scope.any_suffix = true;
                Ok(())
            }
        }
    }

    /// The value of an expression stands at a path from now on; at the root, where the path is empty. `chooses`: numbers and
    /// flags are no values.
    fn renamed_to(
        &mut self,
        value: &Element<'a>,
        before: &Scope<'s>,
        at: &[u8],
        after: &mut Scope<'s>,
        chooses: bool,
    ) -> Result<()> {
        self.deeper(|reader| match operator_of(value)? {
            None if value.bson_type == ty::DOCUMENT => {
                for field in all_elements(value.value)? {
                    reader.renamed_to(&field, before, &below(at, field.name), after, chooses)?;
                }
                Ok(())
            }
            Some(operator) if is_in(PASSING, operator.name) => {
                let operands = match operator.bson_type {
                    ty::ARRAY => all_elements(operator.value)?,
                    _ => alloc::vec![operator],
                };
                for operand in operands {
                    reader.renamed_to(&operand, before, at, after, false)?;
                }
                Ok(())
            }
            _ => {
                let text = value.as_str().unwrap_or_default();
                if matches!(text, "$$ROOT" | "$$CURRENT") {
                    if !at.is_empty() {
                        after.mount(at, before);
                    }
                    return Ok(());
                }
                let gives = reader.expression(value, before)?;
                if gives.constant && !(chooses && says_whether(value)) {
                    after.named.push((at.to_vec(), Gives::CONSTANT));
                }
                match documents(value, before) {
                    objects if !objects.is_empty() => after.mount(at, &Scope::of(objects)),
                    _ if gives.encrypted && is_computed(value) => after.alias(at),
                    _ => {}
                }
                Ok(())
            }
        })
    }
}

/// A text that only equals a name is not the value of it.
fn is_computed(value: &Element<'_>) -> bool {
    value.as_str().is_none_or(|text| text.starts_with('$'))
}

/// The texts of a document and the names in it.
pub(super) fn texts<'a>(element: &Element<'a>, found: &mut Vec<&'a [u8]>) -> Result<()> {
    let mut open = alloc::vec![*element];
    while let Some(element) = open.pop() {
        match element.bson_type {
            ty::STRING => found.push(&element.value[4..element.value.len() - 1]),
            ty::DOCUMENT | ty::ARRAY => {
                for field in all_elements(element.value)? {
                    if element.bson_type == ty::DOCUMENT {
                        found.push(field.name);
                    }
                    open.push(field);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
