//! Stages of pipelines, in aggregations and updates.

use alloc::vec::Vec;

use super::{
    assignments::Naming,
    positions::{Reader, is_in, join, only_operator, operator_of, text_of},
    renames::texts,
    scope::Scope,
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty, find_field},
    schema::encrypted_paths::Place,
};

/// Stages in which no value of a document stands.
const WITHOUT_VALUES: &[&[u8]] = &[
    b"$limit", b"$skip", b"$sample", b"$sort", b"$count", b"$unset", b"$unwind",
];
/// Other stages that pass documents of the collection on, or what they make of them.
const OF_READS: &[&[u8]] = &[
    b"$count",
    b"$unionWith",
    b"$graphLookup",
    b"$facet",
    b"$geoNear",
    b"$bucket",
    b"$bucketAuto",
    b"$sortByCount",
    b"$setWindowFields",
];
/// Stages of a pipeline that writes: what they make of a document can be followed.
const OF_WRITES: &[&[u8]] = &[
    b"$match",
    b"$limit",
    b"$skip",
    b"$sample",
    b"$sort",
    b"$unset",
    b"$unwind",
    b"$redact",
    b"$lookup",
    b"$project",
    b"$addFields",
    b"$set",
    b"$group",
    b"$replaceWith",
    b"$replaceRoot",
    b"$merge",
    b"$out",
];

/// Whether the names after a stage are followed.
pub(super) fn is_known(stage: &[u8]) -> bool {
    is_in(OF_WRITES, stage) || is_in(OF_READS, stage)
}

impl<'a, 's> Reader<'a, 's, '_> {
    /// Names keep their meaning from stage to stage: where an earlier stage gave a name to something else, the schema's
    /// meaning still counts. Gives what names mean after the last stage.
    pub(super) fn pipeline(
        &mut self,
        pipeline: &Element<'a>,
        mut scope: Scope<'s>,
        is_update: bool,
    ) -> Result<Scope<'s>> {
        if pipeline.bson_type != ty::ARRAY {
            if pipeline.bson_type == ty::DOCUMENT {
                self.value("pipeline", pipeline)?;
            }
            return Ok(scope);
        }
        self.deeper(|reader| {
            let mut stages = Vec::new();
            for stage in all_elements(pipeline.value)? {
                match only_operator(&stage)? {
                    Some(stage) => stages.push(stage),
                    None => reader.value("pipeline", &stage)?,
                }
            }
            let writes = is_update
                || stages
                    .iter()
                    .any(|stage| matches!(stage.name, b"$merge" | b"$out"));
            for stage in &stages {
                reader.stage(stage, &mut scope, writes)?;
                reader.follow(stage, &mut scope)?;
            }
            Ok(())
        })?;
        Ok(scope)
    }

    fn stage(&mut self, stage: &Element<'a>, scope: &mut Scope<'s>, writes: bool) -> Result<()> {
        let is_document = stage.bson_type == ty::DOCUMENT;
        let computed = match writes {
            true => Naming::WRITTEN,
            false => Naming::COMPUTED,
        };
        if writes && scope.encrypts() && !is_in(OF_WRITES, stage.name) {
            self.value(&join("", stage.name), stage)?;
        }
        match stage.name {
            b"$match" if is_document => self.filter(stage.value, scope, ""),
            b"$lookup" | b"$unionWith" | b"$graphLookup" if is_document => {
                self.join(stage, scope, writes)
            }
            b"$facet" if is_document => {
                let before = scope.clone();
                for pipeline in all_elements(stage.value)? {
                    let after = self.pipeline(&pipeline, before.clone(), false)?;
                    scope.mount(pipeline.name, &after);
                }
                Ok(())
            }
            b"$geoNear" if is_document => self.near(stage, scope),
            b"$project" if is_document => {
                let naming = Naming {
                    chooses: true,
                    ..computed
                };
                self.assigned(stage, &scope.objects.clone(), scope, naming, "")
            }
            b"$addFields" | b"$set" | b"$group" if is_document => {
                self.assigned(stage, &scope.objects.clone(), scope, computed, "")
            }
            b"$replaceWith" => {
                self.assigned_above(stage, &scope.objects.clone(), scope, computed, "")
            }
            b"$replaceRoot" if is_document => match find_field(stage.value, "newRoot")? {
                Some(root) => {
                    self.assigned_above(&root, &scope.objects.clone(), scope, computed, "")
                }
                _ => Ok(()),
            },
            b"$merge" | b"$out" => self.write(stage, scope),
            name if is_in(WITHOUT_VALUES, name) => Ok(()),
            b"$bucket" | b"$bucketAuto" | b"$redact" | b"$sortByCount" => {
                self.stage_operands(stage, scope)
            }
            b"$setWindowFields" => self.expression(stage, scope).map(|_| ()),
            _ => self.unknown(stage, scope),
        }
    }

    /// A stage that cannot be followed. When it names an encrypted path, it holds nothing in the clear.
    fn unknown(&mut self, stage: &Element<'a>, scope: &mut Scope<'s>) -> Result<()> {
        self.anything(stage, scope)?;
        if !scope.encrypts() {
            return Ok(());
        }
        let mut found = Vec::new();
        texts(stage, &mut found)?;
        let mut names = found.iter().map(|text| match text {
            [b'$', b'$', ..] | [b'$'] => *text,
            [b'$', path @ ..] => path,
            _ => text,
        });
        let is_named = names.any(|text| {
            text.starts_with(b"$$ROOT")
                || text.starts_with(b"$$CURRENT")
                || !matches!(scope.resolve(text), Place::Plain)
        });
        match is_named {
            true => self.value(&join("", stage.name), stage),
            false => Ok(()),
        }
    }

    /// Fields of a stage that are compared with each other, such as `groupBy` and `boundaries`.
    fn stage_operands(&mut self, stage: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        if stage.bson_type != ty::DOCUMENT || operator_of(stage)?.is_some() {
            return self.expression(stage, scope).map(|_| ());
        }
        let mut constants = Vec::new();
        let mut has_encrypted = false;
        for field in all_elements(stage.value)? {
            let gives = self.expression(&field, scope)?;
            has_encrypted |= gives.encrypted && field.name == b"groupBy";
            if gives.constant && matches!(field.name, b"boundaries" | b"default") {
                constants.push(field);
            }
        }
        for field in constants.iter().filter(|_| has_encrypted) {
            self.value(&join("", field.name), field)?;
        }
        Ok(())
    }

    /// `$geoNear`: a point, near the field that `key` names.
    fn near(&mut self, stage: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        let key = text_of(stage, "key")?;
        let is_encrypted =
            key.is_some_and(|key| !matches!(scope.resolve(key.as_bytes()), Place::Plain));
        for field in all_elements(stage.value)? {
            match field.name {
                b"query" if field.bson_type == ty::DOCUMENT => {
                    self.filter(field.value, scope, "")?;
                }
                b"near" if is_encrypted => self.value("near", &field)?,
                _ => self.anything(&field, scope)?,
            }
        }
        Ok(())
    }

    fn join(&mut self, stage: &Element<'a>, scope: &mut Scope<'s>, writes: bool) -> Result<()> {
        let named = text_of(stage, "from")?.or(text_of(stage, "coll")?);
        let objects = named.map_or_else(Vec::new, |name| self.schemas.collection(name.as_bytes()));
        let mut inner = Scope::of(objects);
        // Variables of the pipeline around it are known in this one, too.
        inner.variables.clone_from(&scope.variables);
        let is_plain =
            |scope: &Scope<'_>, name: &str| matches!(scope.resolve(name.as_bytes()), Place::Plain);
        if let (Some(local), Some(foreign)) = (
            text_of(stage, "localField")?,
            text_of(stage, "foreignField")?,
        ) {
            // What equals an encrypted field is one.
            match (is_plain(scope, local), is_plain(&inner, foreign)) {
                (true, false) if scope.is_constant(local.as_bytes()) => {
                    self.value("localField", stage)?;
                }
                (false, true) => inner.alias(foreign.as_bytes()),
                _ => {}
            }
        }
        let connected = text_of(stage, "connectToField")?.unwrap_or_default();
        for field in all_elements(stage.value)? {
            match field.name {
                b"let" => inner.variables.extend(self.variables(&field, scope)?),
                b"restrictSearchWithMatch" if field.bson_type == ty::DOCUMENT => {
                    self.filter(field.value, &inner, "")?;
                }
                b"startWith" => {
                    let gives = self.expression(&field, scope)?;
                    if gives.constant && !is_plain(&inner, connected) {
                        self.value("startWith", &field)?;
                    }
                }
                _ => {}
            }
        }
        let mut after = inner.clone();
        for field in all_elements(stage.value)? {
            if field.name == b"pipeline" {
                after = self.pipeline(&field, inner.clone(), false)?;
            }
        }
        match text_of(stage, "as")? {
            Some(name) => {
                // What the stage joins may be no ciphertext.
                if writes && !is_plain(scope, name) {
                    self.value(name, stage)?;
                }
                scope.mount(name.as_bytes(), &after);
            }
            None => scope.mount(b"", &after),
        }
        Ok(())
    }

    /// `$merge` and `$out`. The schema of another collection is not the one that the pipeline was read with.
    fn write(&mut self, stage: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        let mut target = *stage;
        if stage.name == b"$merge" && stage.bson_type == ty::DOCUMENT {
            match find_field(stage.value, "into")? {
                Some(into) => target = into,
                None => return Ok(()),
            }
        }
        let (database, name) = match target.bson_type {
            ty::DOCUMENT => (text_of(&target, "db")?, text_of(&target, "coll")?),
            _ => (None, target.as_str()),
        };
        let name = name.unwrap_or_default();
        let is_same = self.schemas.is_target(database, name);
        if !is_same && self.schemas.encrypts_collection(database, name) {
            self.value(&join("", stage.name), stage)?;
        }
        if stage.name == b"$merge"
            && stage.bson_type == ty::DOCUMENT
            && let Some(pipeline) = find_field(stage.value, "whenMatched")?
        {
            let mut inner = match is_same {
                true => Scope::of(self.schemas.target()),
                false => Scope::default(),
            };
            if let Some(variables) = find_field(stage.value, "let")? {
                inner.variables = self.variables(&variables, scope)?;
            }
            self.pipeline(&pipeline, inner, true)?;
        }
        Ok(())
    }
}
