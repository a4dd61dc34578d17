//! Constants that aggregation expressions compare or combine with encrypted values.

use alloc::{string::String, vec::Vec};

use super::positions::{Reader, Scope, join, operator_of};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty},
    schema::encrypted_paths::Place,
};

/// What an expression gives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// An encrypted value, or documents with such values.
    Encrypted,
    /// A value that stands in the command in the clear.
    Constant,
    /// Something else.
    Other,
}

const COMPARISONS: &[&[u8]] = &[
    b"$eq", b"$ne", b"$gt", b"$gte", b"$lt", b"$lte", b"$cmp", b"$in",
];
/// Their operands do not meet each other.
const APART: &[&[u8]] = &[
    b"$cond",
    b"$ifNull",
    b"$switch",
    b"$and",
    b"$or",
    b"$not",
    b"$mergeObjects",
];
const BOOLEAN: &[&[u8]] = &[b"$and", b"$or", b"$not"];
/// They call the elements of their input by a name.
const LOOPS: &[&[u8]] = &[b"$filter", b"$map", b"$reduce"];

impl<'a, 's> Reader<'a, 's, '_> {
    pub(super) fn expression(&mut self, element: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let mut gives = Gives::Other;
        self.deeper(|reader| {
            gives = match element.bson_type {
                ty::STRING => reader.text(element, scope),
                ty::ARRAY => {
                    let kinds = reader.operands(element, scope)?;
                    joined(kinds.iter().map(|(_, kind)| *kind))
                }
                ty::DOCUMENT => match operator_of(element)? {
                    Some(operator) => reader.operation(&operator, scope)?,
                    None => reader.object(element, scope)?,
                },
                ty::BINARY if super::payload_of(element).is_some() => Gives::Other,
                _ => Gives::Constant,
            };
            Ok(())
        })?;
        Ok(gives)
    }

    fn text(&mut self, element: &Element<'a>, scope: &Scope<'s>) -> Gives {
        let text = &element.value[4..element.value.len() - 1];
        let encrypted_at = |path: &[u8]| match scope.resolve(path) {
            Place::Plain => Gives::Other,
            _ => Gives::Encrypted,
        };
        match text {
            [b'$', b'$', variable @ ..] => {
                let mut parts = variable.splitn(2, |byte| *byte == b'.');
                let name = parts.next().unwrap_or_default();
                match (name, parts.next()) {
                    (b"ROOT" | b"CURRENT", Some(path)) => encrypted_at(path),
                    _ if scope.variables.iter().any(|known| known == name) => Gives::Encrypted,
                    // Variables of the server and of joined pipelines begin with a capital, or are `this` and `value`.
                    (b"this" | b"value", _) => Gives::Other,
                    _ if name.first().is_some_and(u8::is_ascii_uppercase) => Gives::Other,
                    _ => Gives::Constant,
                }
            }
            [b'$', path @ ..] => encrypted_at(path),
            _ => Gives::Constant,
        }
    }

    /// `{name: expression}`; a name may be that of an encrypted field.
    fn object(&mut self, element: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let mut gives = Gives::Other;
        for field in all_elements(element.value)? {
            let kind = self.expression(&field, scope)?;
            if kind == Gives::Constant && !matches!(scope.resolve(field.name), Place::Plain) {
                self.value(&join("", field.name), &field)?;
            }
            if kind == Gives::Encrypted {
                gives = kind;
            }
        }
        Ok(gives)
    }

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
                Some(_) => Gives::Other,
                None => Gives::Constant,
            });
        }
        let is_named = operator.bson_type == ty::DOCUMENT && operator_of(operator)?.is_none();
        if name == b"$let" && is_named {
            return self.let_variables(operator, scope);
        }
        if LOOPS.contains(&name) && is_named {
            return self.looped(operator, scope);
        }
        let operands = match operator.bson_type {
            ty::ARRAY => self.operands(operator, scope)?,
            ty::DOCUMENT if is_named => self.operands(operator, scope)?,
            _ => alloc::vec![(*operator, self.expression(operator, scope)?)],
        };
        let has_encrypted = operands.iter().any(|(_, kind)| *kind == Gives::Encrypted);
        if has_encrypted && !APART.contains(&name) {
            for (operand, kind) in &operands {
                if *kind == Gives::Constant {
                    self.value(&String::from_utf8_lossy(name), operand)?;
                }
            }
        }
        let is_boolean = COMPARISONS.contains(&name) || BOOLEAN.contains(&name);
        Ok(match has_encrypted && !is_boolean {
            true => Gives::Encrypted,
            false => Gives::Other,
        })
    }

    fn let_variables(&mut self, operator: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let mut inner = scope.clone();
        let mut gives = Gives::Other;
        let mut body = None;
        for field in all_elements(operator.value)? {
            match field.name {
                b"vars" => inner
                    .variables
                    .extend(self.encrypted_variables(&field, scope)?),
                _ => body = Some(field),
            }
        }
        if let Some(body) = body {
            gives = self.expression(&body, &inner)?;
        }
        Ok(gives)
    }

    /// The names of variables that are given encrypted values.
    pub(super) fn encrypted_variables(
        &mut self,
        variables: &Element<'a>,
        scope: &Scope<'s>,
    ) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        if variables.bson_type == ty::DOCUMENT {
            for (variable, kind) in self.operands(variables, scope)? {
                if kind == Gives::Encrypted {
                    names.push(variable.name.to_vec());
                }
            }
        }
        Ok(names)
    }

    fn looped(&mut self, operator: &Element<'a>, scope: &Scope<'s>) -> Result<Gives> {
        let operands = all_elements(operator.value)?;
        let mut inner = scope.clone();
        let mut gives = Gives::Other;
        for operand in operands.iter().filter(|operand| operand.name == b"input") {
            gives = self.expression(operand, scope)?;
        }
        if gives == Gives::Encrypted {
            let named = operands.iter().find(|operand| operand.name == b"as");
            let name = named.and_then(Element::as_str).unwrap_or("this");
            inner.variables.extend([
                name.as_bytes().to_vec(),
                b"this".to_vec(),
                b"value".to_vec(),
            ]);
        }
        for operand in &operands {
            if !matches!(operand.name, b"input" | b"as") {
                self.expression(operand, &inner)?;
            }
        }
        Ok(gives)
    }
}

fn joined(kinds: impl Iterator<Item = Gives>) -> Gives {
    let mut gives = Gives::Other;
    for kind in kinds {
        match kind {
            Gives::Encrypted => return kind,
            Gives::Constant => gives = kind,
            Gives::Other => {}
        }
    }
    gives
}
