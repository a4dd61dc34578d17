//! Constants that aggregation expressions compare or combine with encrypted values.

use alloc::{string::String, vec::Vec};

use super::{
    filters::says_whether,
    positions::{Reader, is_in, join, only_operator, operator_of},
    scope::{Scope, Variable},
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty, find_field},
    schema::encrypted_paths::{ObjectSchema, Place, resolve},
};

/// What an expression may give.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gives {
    /// An encrypted value, documents with such values, or the name of one.
    pub(super) encrypted: bool,
    /// A value that stands in the command in the clear.
    pub(super) constant: bool,
}

impl Gives {
    pub(super) const OTHER: Self = Self {
        encrypted: false,
        constant: false,
    };
    pub(super) const CONSTANT: Self = Self {
        encrypted: false,
        constant: true,
    };
    pub(super) const ENCRYPTED: Self = Self {
        encrypted: true,
        constant: false,
    };

    pub(super) fn or(self, other: Self) -> Self {
        Self {
            encrypted: self.encrypted || other.encrypted,
            constant: self.constant || other.constant,
        }
    }
}

/// They give a number or a flag, nothing of their operands.
const JUDGEMENTS: &[&[u8]] = &[
    b"$eq", b"$ne", b"$gt", b"$gte", b"$lt", b"$lte", b"$cmp", b"$in", b"$and", b"$or", b"$not",
];
/// They do not compare or combine their operands with each other.
const APART: &[&[u8]] = &[
    b"$cond",
    b"$ifNull",
    b"$switch",
    b"$and",
    b"$or",
    b"$not",
    b"$mergeObjects",
];
/// They name a field of their input.
const OF_FIELDS: &[&[u8]] = &[b"$getField", b"$setField", b"$unsetField"];
/// They give a part of their first operand; the numbers after it are positions and counts.
const PARTS: &[&[u8]] = &[b"$slice", b"$arrayElemAt"];
/// They call the elements of their input by a name.
const LOOPS: &[&[u8]] = &[b"$filter", b"$map", b"$reduce"];

impl<'a, 's> Reader<'a, 's, '_> {
    #[inline(never)]
    pub(super) fn expression(&mut self, element: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let mut gives = Gives::OTHER;
        self.deeper(|reader| {
            gives = match element.bson_type {
                ty::STRING => text(element, scope),
                ty::ARRAY => joined(&reader.operands(element, scope)?),
                ty::DOCUMENT => match only_operator(element)? {
                    Some(operator) => reader.operation(&operator, scope)?,
                    None => reader.object(element, scope)?,
                },
                ty::BINARY if super::payload_of(element).is_some() => Gives::OTHER,
                _ => Gives::CONSTANT,
            };
            Ok(())
        })?;
        Ok(gives)
    }

    /// `{name: expression}`; a name may be that of an encrypted field, in the document or as a text (`{k: name, v: ...}`).
    fn object(&mut self, element: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let mut operands = Vec::new();
        for field in all_elements(element.value)? {
            if field.name.starts_with(b"$") {
                let gives = self.operation(&field, scope)?;
                operands.push((field, gives));
                continue;
            }
            let gives = self.expression(&field, scope)?;
            if gives.constant && !matches!(scope.resolve(field.name), Place::Plain) {
                self.value(&join("", field.name), &field)?;
            }
            operands.push((field, gives));
        }
        let is_name = |field: &Element<'_>, gives: &Gives| {
            field.bson_type == ty::STRING && gives.encrypted && gives.constant
        };
        if let Some(named) = operands
            .iter()
            .position(|(field, kind)| is_name(field, kind))
        {
            for (index, (field, gives)) in operands.iter().enumerate() {
                if index != named && gives.constant {
                    self.value(&join("", field.name), field)?;
                }
            }
        }
        Ok(joined(&operands))
    }

    #[inline(never)]
    fn operands(
        &mut self,
        arguments: &Element<'a>,
        scope: &Scope<'s>,
    ) -> Result<Vec<(Element<'a>, Gives)>> {
        let mut operands = Vec::new();
        for operand in all_elements(arguments.value)? {
            operands.push((operand, self.expression(&operand, scope)?));
        }
        Ok(operands)
    }

    fn operation(&mut self, operator: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let name = operator.name;
        if matches!(name, b"$literal" | b"$const") {
            return Ok(match super::payload_of(operator) {
                Some(_) => Gives::OTHER,
                None if operator
                    .as_str()
                    .is_some_and(|text| scope.names(text.as_bytes())) =>
                {
                    Gives::CONSTANT.or(Gives::ENCRYPTED)
                }
                None => Gives::CONSTANT,
            });
        }
        let is_named = operator.bson_type == ty::DOCUMENT && operator_of(operator)?.is_none();
        if name == b"$let" && is_named {
            return self.let_variables(operator, scope);
        }
        if is_in(LOOPS, name) && is_named {
            return self.looped(operator, scope);
        }
        let mut operands = match operator.bson_type {
            ty::ARRAY => self.operands(operator, scope)?,
            ty::DOCUMENT if is_named => self.operands(operator, scope)?,
            _ => alloc::vec![(*operator, self.expression(operator, scope)?)],
        };
        if is_in(PARTS, name) && operator.bson_type == ty::ARRAY {
            let mut index = 0;
            operands.retain(|(operand, _)| {
                index += 1;
                index == 1 || !says_whether(operand)
            });
        }
        if !is_in(APART, name) {
            // Keys and values stand in one list there.
            let meets_itself = name == b"$arrayToObject";
            for (index, (operand, gives)) in operands.iter().enumerate() {
                let meets_encrypted = operands
                    .iter()
                    .enumerate()
                    .any(|(other, (_, kind))| kind.encrypted && (meets_itself || other != index));
                // A name is not compared with what it is looked for in.
                let is_name = is_named && operand.name == b"field" && is_in(OF_FIELDS, name);
                if gives.constant && meets_encrypted && !is_name {
                    self.value(&String::from_utf8_lossy(name), operand)?;
                }
            }
        }
        if is_in(JUDGEMENTS, name) {
            return Ok(Gives::OTHER);
        }
        let gives = joined(&operands);
        Ok(match name {
            name if is_in(OF_FIELDS, name) && scope.encrypts() => {
                let (field, input) = match is_named {
                    true => (
                        find_field(operator.value, "field")?,
                        find_field(operator.value, "input")?,
                    ),
                    false => (Some(*operator), None),
                };
                let is_whole = input
                    .is_none_or(|input| matches!(input.as_str(), Some("$$CURRENT" | "$$ROOT")));
                let literal = match field {
                    Some(field) => only_operator(&field)?,
                    None => None,
                };
                let literal = literal.filter(|known| matches!(known.name, b"$literal" | b"$const"));
                match literal.or(field).as_ref().and_then(Element::as_str) {
                    Some(text) if matches!(scope.resolve(text.as_bytes()), Place::Plain) => {
                        match name == b"$getField" && is_whole {
                            true => Gives {
                                constant: scope.is_constant(text.as_bytes()),
                                encrypted: false,
                            },
                            false => gives,
                        }
                    }
                    _ => gives.or(Gives::ENCRYPTED),
                }
            }
            _ => gives,
        })
    }

    /// Who gives `CURRENT` another meaning gives it to all paths.
    fn let_variables(&mut self, operator: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let mut inner = scope.clone();
        let mut gives = Gives::OTHER;
        let mut body = None;
        for field in all_elements(operator.value)? {
            match field.name {
                b"vars" => inner.variables.extend(self.variables(&field, scope)?),
                _ => body = Some(field),
            }
        }
        inner.is_unknown |= scope.encrypts() && inner.variable(b"CURRENT").is_some();
        if let Some(body) = body {
            gives = self.expression(&body, &inner)?;
        }
        Ok(gives)
    }

    /// `{name: expression}` of variables.
    #[inline(never)]
    pub(super) fn variables(
        &mut self,
        variables: &Element<'a>,
        scope: &Scope<'s>,
    ) -> Result<Vec<Variable<'s>>> {
        let mut found = Vec::new();
        if variables.bson_type == ty::DOCUMENT {
            for (variable, gives) in self.operands(variables, scope)? {
                found.push(Variable {
                    name: variable.name.to_vec(),
                    gives,
                    objects: documents(&variable, scope),
                });
            }
        }
        Ok(found)
    }

    fn looped(&mut self, operator: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let operands = all_elements(operator.value)?;
        let mut inner = scope.clone();
        let mut gives = Gives::OTHER;
        let mut objects = Vec::new();
        for operand in operands
            .iter()
            .filter(|operand| matches!(operand.name, b"input" | b"initialValue"))
        {
            gives = gives.or(self.expression(operand, scope)?);
            objects.extend(documents(operand, scope));
        }
        let named = operands.iter().find(|operand| operand.name == b"as");
        let name = named.and_then(Element::as_str).unwrap_or("this");
        for name in [name, "this", "value"] {
            inner.variables.push(Variable {
                name: name.as_bytes().to_vec(),
                gives,
                objects: objects.clone(),
            });
        }
        inner.is_unknown |= scope.encrypts() && name == "CURRENT";
        for operand in &operands {
            if !matches!(operand.name, b"input" | b"as" | b"initialValue") {
                let inside = self.expression(operand, &inner)?;
                if operand.name == b"in" {
                    gives = gives.or(inside);
                }
            }
        }
        Ok(gives)
    }
}

#[inline(never)]
fn text<'s>(element: &Element<'_>, scope: &Scope<'s>) -> Gives {
    let text = &element.value[4..element.value.len() - 1];
    let at = |place: Place<'s>| match place {
        Place::Plain => Gives::OTHER,
        _ => Gives::ENCRYPTED,
    };
    let of = |path: &[u8]| Gives {
        constant: scope.is_constant(path),
        ..at(scope.resolve(path))
    };
    match text {
        [b'$', b'$', variable @ ..] => {
            let mut parts = variable.splitn(2, |byte| *byte == b'.');
            let name = parts.next().unwrap_or_default();
            let path = parts.next();
            match (scope.variable(name), path) {
                (Some(known), Some(path)) if !known.objects.is_empty() => Gives {
                    constant: known.gives.constant,
                    ..at(resolve(&known.objects, path))
                },
                (Some(known), _) => known.gives,
                (None, Some(path)) if matches!(name, b"ROOT" | b"CURRENT") => of(path),
                (None, None) if matches!(name, b"ROOT" | b"CURRENT") && scope.has_encrypted() => {
                    Gives::ENCRYPTED
                }
                // Variables of the server begin with a capital; the others are constants of the command.
                (None, _) if name.first().is_some_and(u8::is_ascii_uppercase) => Gives::OTHER,
                (None, _) => Gives::CONSTANT,
            }
        }
        [b'$', path @ ..] => of(path),
        _ if scope.names(text) => Gives::CONSTANT.or(Gives::ENCRYPTED),
        _ => Gives::CONSTANT,
    }
}

/// What names mean in the documents that an expression gives: only of a path or a variable this is known.
#[inline(never)]
pub(super) fn documents<'s>(element: &Element<'_>, scope: &Scope<'s>) -> Vec<&'s ObjectSchema> {
    let at = |place: Place<'s>| match place {
        Place::Above(objects) => objects,
        _ => Vec::new(),
    };
    let Some(text) = element.as_str().filter(|text| text.starts_with('$')) else {
        return Vec::new();
    };
    let is_simple = scope.mounts.is_empty() && scope.named.is_empty() && !scope.is_unknown;
    let path = match text {
        "$$ROOT" | "$$CURRENT" if is_simple => return scope.objects.clone(),
        _ => text
            .strip_prefix("$$ROOT.")
            .or_else(|| text.strip_prefix("$$CURRENT."))
            .unwrap_or(text),
    };
    if let Some(variable) = path.strip_prefix("$$") {
        let (name, path) = variable.split_once('.').unwrap_or((variable, ""));
        return match scope.variable(name.as_bytes()) {
            Some(known) if path.is_empty() => known.objects.clone(),
            Some(known) => at(resolve(&known.objects, path.as_bytes())),
            None => Vec::new(),
        };
    }
    at(scope.resolve(path.trim_start_matches('$').as_bytes()))
}

#[inline(never)]
fn joined(operands: &[(Element<'_>, Gives)]) -> Gives {
    operands
        .iter()
        .fold(Gives::OTHER, |gives, (_, kind)| gives.or(*kind))
}
