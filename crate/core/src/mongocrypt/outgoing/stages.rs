//! Stages of pipelines, in aggregations and updates, and projections.

use alloc::vec::Vec;

use super::{
    expressions::Gives,
    positions::{Reader, Scope, join, operator_of},
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty, find_field},
    schema::encrypted_paths::{ObjectSchema, Place},
};

/// What fields are named for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// They are written.
    Update,
    /// They are computed for the answer.
    Computed,
    /// They are chosen, by numbers and flags.
    Projection,
}

/// Stages in which no value of a document stands.
const WITHOUT_VALUES: &[&[u8]] = &[
    b"$limit",
    b"$skip",
    b"$sample",
    b"$sort",
    b"$count",
    b"$unset",
    b"$unwind",
    b"$out",
    b"$collStats",
    b"$indexStats",
];

impl<'a, 's> Reader<'a, 's, '_> {
    /// Names keep their meaning from stage to stage: where an earlier stage gave a name to something else, the schema's
    /// meaning still counts.
    pub(super) fn pipeline(
        &mut self,
        pipeline: &Element<'a>,
        mut scope: Scope<'s>,
        is_update: bool,
    ) -> Result<()> {
        if pipeline.bson_type != ty::ARRAY {
            return Ok(());
        }
        self.deeper(|reader| {
            for stage in all_elements(pipeline.value)? {
                if let Some(operator) = operator_of(&stage)? {
                    reader.stage(&operator, &mut scope, is_update)?;
                }
            }
            Ok(())
        })
    }

    fn stage(&mut self, stage: &Element<'a>, scope: &mut Scope<'s>, is_update: bool) -> Result<()> {
        let is_document = stage.bson_type == ty::DOCUMENT;
        let computed = match is_update {
            true => Naming::Update,
            false => Naming::Computed,
        };
        match stage.name {
            b"$match" if is_document => self.filter(stage.value, scope, ""),
            b"$lookup" | b"$unionWith" | b"$graphLookup" if is_document => self.join(stage, scope),
            b"$facet" if is_document => {
                for pipeline in all_elements(stage.value)? {
                    self.pipeline(&pipeline, scope.clone(), false)?;
                }
                Ok(())
            }
            b"$geoNear" if is_document => match find_field(stage.value, "query")? {
                Some(query) if query.bson_type == ty::DOCUMENT => {
                    self.filter(query.value, scope, "")
                }
                _ => Ok(()),
            },
            b"$project" if is_document => {
                self.assigned(stage, &scope.objects.clone(), scope, Naming::Projection, "")
            }
            b"$addFields" | b"$set" | b"$group" | b"$replaceWith" if is_document => {
                self.assigned(stage, &scope.objects.clone(), scope, computed, "")
            }
            b"$replaceRoot" if is_document => match find_field(stage.value, "newRoot")? {
                Some(root) if root.bson_type == ty::DOCUMENT => {
                    self.assigned(&root, &scope.objects.clone(), scope, computed, "")
                }
                _ => Ok(()),
            },
            name if WITHOUT_VALUES.contains(&name) => Ok(()),
            b"$bucket" | b"$bucketAuto" | b"$redact" | b"$sortByCount" => {
                let stages = Element {
                    name: b"$stage",
                    ..*stage
                };
                self.stage_operands(&stages, scope)
            }
            _ => self.anything(stage, scope),
        }
    }

    /// Fields of a stage that meet each other, such as `groupBy` and `boundaries`.
    fn stage_operands(&mut self, stage: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        if stage.bson_type != ty::DOCUMENT || operator_of(stage)?.is_some() {
            return self.expression(stage, scope).map(|_| ());
        }
        let mut constants = Vec::new();
        let mut has_encrypted = false;
        for field in all_elements(stage.value)? {
            match self.expression(&field, scope)? {
                Gives::Encrypted if field.name == b"groupBy" => has_encrypted = true,
                Gives::Constant => constants.push(field),
                _ => {}
            }
        }
        for field in constants.iter().filter(|_| has_encrypted) {
            self.value(&join("", field.name), field)?;
        }
        Ok(())
    }

    fn join(&mut self, stage: &Element<'a>, scope: &mut Scope<'s>) -> Result<()> {
        let text = |name: &str| -> Result<Option<&'a str>> {
            Ok(find_field(stage.value, name)?.and_then(|field| field.as_str()))
        };
        let named = text("from")?.or(text("coll")?);
        let objects = named.map_or_else(Vec::new, |name| self.schemas.collection(name.as_bytes()));
        let mut inner = Scope::of(objects.clone());
        for field in all_elements(stage.value)? {
            match field.name {
                b"let" => inner.variables = self.encrypted_variables(&field, scope)?,
                b"restrictSearchWithMatch" if field.bson_type == ty::DOCUMENT => {
                    self.filter(field.value, &inner, "")?;
                }
                b"startWith" => {
                    self.expression(&field, scope)?;
                }
                _ => {}
            }
        }
        for field in all_elements(stage.value)? {
            if field.name == b"pipeline" {
                self.pipeline(&field, inner.clone(), false)?;
            }
        }
        if let Some(name) = text("as")? {
            scope.mounts.push((name.as_bytes().to_vec(), objects));
        }
        Ok(())
    }

    pub(super) fn projection(&mut self, fields: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        self.assigned(fields, &scope.objects, scope, Naming::Projection, "")
    }

    /// `{path: expression}`, where a path may be an encrypted one. `objects`: what names mean; `scope`: what expressions do.
    fn assigned(
        &mut self,
        fields: &Element<'a>,
        objects: &[&'s ObjectSchema],
        scope: &Scope<'s>,
        naming: Naming,
        at: &str,
    ) -> Result<()> {
        self.deeper(|reader| {
            if operator_of(fields)?.is_some() {
                return reader.expression(fields, scope).map(|_| ());
            }
            let names = Scope {
                objects: objects.to_vec(),
                ..scope.clone()
            };
            for field in all_elements(fields.value)? {
                let path = join(at, field.name);
                let operator = operator_of(&field)?;
                match names.resolve(field.name) {
                    Place::Plain => {
                        reader.expression(&field, scope)?;
                    }
                    Place::Encrypted | Place::Inside => {
                        reader.assigned_encrypted(&field, scope, naming, &path)?;
                    }
                    Place::Above(objects) => match operator {
                        Some(operator)
                            if operator.name == b"$elemMatch"
                                && operator.bson_type == ty::DOCUMENT =>
                        {
                            reader.filter(operator.value, &Scope::of(objects), &path)?;
                        }
                        Some(operator) if matches!(operator.name, b"$literal" | b"$const") => {
                            reader.nested(&operator, &objects, &path)?;
                        }
                        Some(_) => {
                            reader.expression(&field, scope)?;
                        }
                        None if field.bson_type == ty::DOCUMENT => {
                            reader.assigned(&field, &objects, scope, naming, &path)?;
                        }
                        None => reader.nested(&field, &objects, &path)?,
                    },
                }
            }
            Ok(())
        })
    }

    /// What is computed for an encrypted path: another encrypted field, or nothing that is in the command.
    fn assigned_encrypted(
        &mut self,
        field: &Element<'a>,
        scope: &Scope<'s>,
        naming: Naming,
        path: &str,
    ) -> Result<()> {
        let is_choice = matches!(
            field.bson_type,
            ty::BOOL | ty::INT32 | ty::INT64 | ty::DOUBLE
        );
        let text = field.as_str().filter(|text| text.starts_with('$'));
        let is_operation = operator_of(field)?;
        match is_operation {
            _ if is_choice && naming == Naming::Projection => Ok(()),
            // A variable may hold a value that stands elsewhere in the command; a plain field is no ciphertext to store.
            _ if text.is_some() => match (self.expression(field, scope)?, naming) {
                (Gives::Encrypted, _) => Ok(()),
                (Gives::Other, Naming::Update) if text != Some("$$REMOVE") => {
                    self.value(path, field)
                }
                (Gives::Other, _) => Ok(()),
                (Gives::Constant, _) => self.value(path, field),
            },
            Some(operator)
                if matches!(operator.name, b"$slice" | b"$meta")
                    && naming == Naming::Projection =>
            {
                Ok(())
            }
            Some(operator) if matches!(operator.name, b"$literal" | b"$const") => {
                self.value(path, &operator)
            }
            Some(_) if naming != Naming::Update => self.expression(field, scope).map(|_| ()),
            _ => self.value(path, field),
        }
    }
}
