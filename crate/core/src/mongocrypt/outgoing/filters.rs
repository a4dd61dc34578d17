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
                    if inner.bson_type == ty::DOCUMENT {
                        self.filter(inner.value, scope, at)?;
                    }
                }
                Ok(())
            }
            b"$not" if field.bson_type == ty::DOCUMENT => self.filter(field.value, scope, at),
            b"$expr" => self.expression(field, scope).map(|_| ()),
            b"$comment" => Ok(()),
            // Code may compare anything; what it names cannot be told.
            b"$where" if scope.encrypts() => self.value("$where", field),
            name if name.starts_with(b"$") => self.anything(field, scope),
            name => match scope.resolve(name) {
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
                    b"$exists" | b"$comment" => {}
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
                    _ => reader.nested(&operation, objects, path)?,
                }
            }
            Ok(())
        })
    }
}
