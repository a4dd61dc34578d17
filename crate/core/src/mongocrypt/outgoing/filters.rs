//! Values that filters compare encrypted paths with.

use super::{
    positions::{Reader, join, operator_of},
    scope::Scope,
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty},
    schema::encrypted_paths::{ObjectSchema, Place},
};

impl<'a, 's> Reader<'a, 's, '_> {
    pub(super) fn filter(&mut self, filter: &'a [u8], scope: &Scope<'s>, at: &str) -> Result<()> {
        if !scope.encrypts() {
            return Ok(());
        }
        self.deeper(|reader| {
            for field in all_elements(filter)? {
                reader.predicate(&field, scope, at)?;
            }
            Ok(())
        })
    }

    pub(super) fn predicate(
        &mut self,
        field: &Element<'a>,
        scope: &Scope<'s>,
        at: &str,
    ) -> Result<()> {
        match field.name {
            b"$and" | b"$or" | b"$nor" if field.bson_type == ty::ARRAY => {
                for inner in all_elements(field.value)? {
                    match inner.bson_type {
                        ty::DOCUMENT => self.filter(inner.value, scope, at)?,
                        _ => self.anything(&inner, scope)?,
                    }
                }
                Ok(())
            }
            b"$not" if field.bson_type == ty::DOCUMENT => self.filter(field.value, scope, at),
            b"$expr" => self.expression(field, scope).map(|_| ()),
            b"$comment" => Ok(()),
            b"$jsonSchema" => self.json_schema(field, scope, at),
            // Code may compare anything; what it names cannot be told.
            b"$where" if scope.encrypts() => self.value("$where", field),
            name if name.starts_with(b"$") => self.anything(field, scope),
            name => match scope.resolve(name) {
                Place::Plain if scope.any_suffix => self.anything(field, scope),
                Place::Plain => Ok(()),
                Place::Encrypted | Place::Inside => self.compared(field, &join(at, name)),
                Place::Above(objects) => self.compared_above(field, &objects, &join(at, name)),
            },
        }
    }

    /// The operand of an encrypted path.
    pub(super) fn compared(&mut self, operand: &Element<'a>, path: &str) -> Result<()> {
        if operator_of(operand)?.is_none() {
            return self.value(path, operand);
        }
        self.deeper(|reader| {
            for operation in all_elements(operand.value)? {
                match operation.name {
                    // They say whether there is a value, or nothing of it.
                    b"$exists" if says_whether(&operation) => {}
                    b"$comment" => {}
                    b"$not" => reader.compared(&operation, path)?,
                    b"$in" | b"$nin" | b"$all" if operation.bson_type == ty::ARRAY => {
                        for item in all_elements(operation.value)? {
                            reader.value(path, &item)?;
                        }
                    }
                    _ => reader.value(path, &operation)?,
                }
            }
            Ok(())
        })
    }

    /// The operand of a path above encrypted ones.
    fn compared_above(
        &mut self,
        operand: &Element<'a>,
        objects: &[&'s ObjectSchema],
        path: &str,
    ) -> Result<()> {
        if operator_of(operand)?.is_none() {
            return self.nested(operand, objects, path);
        }
        self.deeper(|reader| {
            for operation in all_elements(operand.value)? {
                match operation.name {
                    b"$not" => reader.compared_above(&operation, objects, path)?,
                    b"$elemMatch" if operation.bson_type == ty::DOCUMENT => {
                        reader.filter(operation.value, &Scope::of(objects.to_vec()), path)?;
                    }
                    b"$all" if operation.bson_type == ty::ARRAY => {
                        for item in all_elements(operation.value)? {
                            reader.compared_above(&item, objects, path)?;
                        }
                    }
                    b"$eq" | b"$ne" | b"$gt" | b"$gte" | b"$lt" | b"$lte" | b"$in" | b"$nin" => {
                        reader.nested(&operation, objects, path)?;
                    }
                    _ => reader.anything(&operation, &Scope::of(objects.to_vec()))?,
                }
            }
            Ok(())
        })
    }
}

/// A flag or a number that stands for one.
pub(super) fn says_whether(element: &Element<'_>) -> bool {
    matches!(
        element.bson_type,
        ty::BOOL | ty::INT32 | ty::INT64 | ty::DOUBLE
    )
}
