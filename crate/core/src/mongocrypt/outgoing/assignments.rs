//! `{path: expression}` in stages and projections.

use super::{
    filters::says_whether,
    positions::{Reader, field_path, join, only_operator, operator_of},
    scope::Scope,
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty},
    schema::encrypted_paths::{ObjectSchema, Place, resolve},
};

/// What fields are named for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Naming {
    /// What is computed is stored, not only returned.
    pub(super) writes: bool,
    /// Numbers and flags choose fields.
    pub(super) chooses: bool,
}

impl Naming {
    pub(super) const WRITTEN: Self = Self {
        writes: true,
        chooses: false,
    };
    pub(super) const COMPUTED: Self = Self {
        writes: false,
        chooses: false,
    };
    const PROJECTION: Self = Self {
        writes: false,
        chooses: true,
    };

    fn is_choice(self, field: &Element<'_>) -> bool {
        self.chooses && says_whether(field)
    }
}

impl<'a, 's> Reader<'a, 's, '_> {
    pub(super) fn projection(&mut self, fields: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        self.assigned(fields, &scope.objects, scope, Naming::PROJECTION, "")
    }

    /// A document, where a path may be an encrypted one. `objects`: what names mean; `scope`: what expressions do.
    pub(super) fn assigned(
        &mut self,
        fields: &Element<'a>,
        objects: &[&'s ObjectSchema],
        scope: &Scope<'s>,
        naming: Naming,
        at: &str,
    ) -> Result<()> {
        self.deeper(|reader| {
            // A name that an earlier stage gave to something may be given to something else: the schema counts.
            let names = Scope {
                mounts: match at.is_empty() {
                    true => scope.mounts.clone(),
                    false => alloc::vec::Vec::new(),
                },
                ..Scope::of(objects.to_vec())
            };
            for field in all_elements(fields.value)? {
                let path = join(at, field.name);
                match names.resolve(field.name) {
                    Place::Plain => {
                        reader.expression(&field, scope)?;
                    }
                    Place::Encrypted | Place::Inside => {
                        reader.assigned_encrypted(&field, scope, naming, &path)?;
                    }
                    Place::Above(objects) => {
                        reader.assigned_above(&field, &objects, scope, naming, &path)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// What is computed for a path above encrypted ones, or for the whole document.
    ///
    /// What is stored there is a document whose fields are known one by one, or one that already holds ciphertext at the same
    /// paths.
    #[inline(never)]
    pub(super) fn assigned_above(
        &mut self,
        value: &Element<'a>,
        objects: &[&'s ObjectSchema],
        scope: &Scope<'s>,
        naming: Naming,
        at: &str,
    ) -> Result<()> {
        if objects.is_empty() || naming.is_choice(value) {
            return self.expression(value, scope).map(|_| ());
        }
        let operator = only_operator(value)?;
        match (operator, value.bson_type) {
            (None, _) if operator_of(value)?.is_some() => self.value(at, value),
            (Some(operator), _) => match operator.name {
                b"$elemMatch" if naming.chooses && operator.bson_type == ty::DOCUMENT => {
                    self.filter(operator.value, &Scope::of(objects.to_vec()), at)
                }
                b"$literal" | b"$const" => self.nested(&operator, objects, at),
                b"$mergeObjects" => self.merged(&operator, objects, scope, naming, at),
                b"$slice" | b"$meta" if naming.chooses && !is_slice_expression(&operator)? => {
                    self.chosen(&operator, at)
                }
                // The elements that are stored are elements of the array.
                b"$slice" if naming.writes && operator.bson_type == ty::ARRAY => {
                    self.expression(value, scope)?;
                    self.merged(&operator, objects, scope, naming, at)
                }
                _ if naming.writes => self.value(at, value),
                _ => {
                    self.expression(value, scope)?;
                    self.computed_above(&operator, objects, scope, naming, at)
                }
            },
            (None, ty::DOCUMENT) => self.assigned(value, objects, scope, naming, at),
            (None, ty::ARRAY) => self.merged(value, objects, scope, naming, at),
            (None, ty::STRING) if naming.writes => match self.holds_ciphertext(value, objects) {
                true => Ok(()),
                false => self.value(at, value),
            },
            _ => Ok(()),
        }
    }

    /// Operands of any operator: each may become what stands above the encrypted paths.
    fn computed_above(
        &mut self,
        operands: &Element<'a>,
        objects: &[&'s ObjectSchema],
        scope: &Scope<'s>,
        naming: Naming,
        at: &str,
    ) -> Result<()> {
        self.deeper(|reader| {
            match operands.bson_type {
                ty::DOCUMENT if operator_of(operands)?.is_none() => {
                    reader.assigned(operands, objects, scope, naming, at)?;
                }
                ty::DOCUMENT => {
                    return reader.assigned_above(operands, objects, scope, naming, at);
                }
                ty::ARRAY => {}
                _ => return Ok(()),
            }
            for operand in all_elements(operands.value)? {
                reader.computed_above(&operand, objects, scope, naming, at)?;
            }
            Ok(())
        })
    }

    /// Checks an operator of projections: `{$slice: 1}`, `{$slice: [1, 2]}` or `{$meta: "textScore"}`.
    fn chosen(&mut self, operator: &Element<'a>, at: &str) -> Result<()> {
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic());
        let is_plain = match operator.bson_type {
            // `[skip, limit]`: anything else in an array is an expression.
            ty::ARRAY => operator.name == b"$slice",
            ty::STRING => operator.name == b"$meta" && operator.as_str().is_some_and(is_word),
            _ => says_whether(operator),
        };
        match is_plain {
            true => Ok(()),
            false => self.value(at, operator),
        }
    }

    fn merged(
        &mut self,
        operands: &Element<'a>,
        objects: &[&'s ObjectSchema],
        scope: &Scope<'s>,
        naming: Naming,
        at: &str,
    ) -> Result<()> {
        self.deeper(|reader| {
            if operands.bson_type != ty::ARRAY {
                return reader.assigned_above(operands, objects, scope, naming, at);
            }
            for operand in all_elements(operands.value)? {
                reader.assigned_above(&operand, objects, scope, naming, at)?;
            }
            Ok(())
        })
    }

    /// Whether a text names a field of the collection that holds ciphertext wherever the target must, or nothing. Only the
    /// schema says so: what an earlier stage gave a name to may be anything by now.
    #[inline(never)]
    fn holds_ciphertext(&self, value: &Element<'_>, objects: &[&'s ObjectSchema]) -> bool {
        let target = self.schemas.target();
        let has_all = |held: &[&ObjectSchema]| {
            let mut wanted = objects.iter();
            wanted.all(|object| held.iter().any(|known| core::ptr::eq(*known, *object)))
        };
        let text = value.as_str().unwrap_or_default();
        let path = match text {
            "$$REMOVE" => return true,
            "$$ROOT" | "$$CURRENT" => return has_all(&target),
            _ => field_path(text),
        };
        match path {
            None => !text.starts_with('$'),
            Some(path) => match resolve(&target, path.as_bytes()) {
                Place::Plain => false,
                Place::Encrypted | Place::Inside => true,
                Place::Above(held) => !objects.is_empty() && has_all(&held),
            },
        }
    }

    /// What is computed for an encrypted path: another encrypted field, or nothing that is in the command.
    fn assigned_encrypted(
        &mut self,
        field: &Element<'a>,
        scope: &Scope<'s>,
        naming: Naming,
        path: &str,
    ) -> Result<()> {
        if naming.is_choice(field) {
            return Ok(());
        }
        let text = field.as_str().filter(|text| text.starts_with('$'));
        match only_operator(field)? {
            // A variable may hold a value that stands elsewhere in the command; a plain field is no ciphertext to store.
            _ if text.is_some() => {
                let gives = self.expression(field, scope)?;
                let is_stored_plain = naming.writes
                    && text != Some("$$REMOVE")
                    && !field.as_str().is_some_and(|text| self.is_ciphertext(text));
                match gives.constant || is_stored_plain {
                    true => self.value(path, field),
                    false => Ok(()),
                }
            }
            Some(operator)
                if matches!(operator.name, b"$slice" | b"$meta")
                    && naming.chooses
                    && !is_slice_expression(&operator)? =>
            {
                self.chosen(&operator, path)
            }
            Some(operator) if matches!(operator.name, b"$literal" | b"$const") => {
                self.value(path, &operator)
            }
            // `$elemMatch` of a projection is a filter; an expression gives what its constants are.
            Some(operator) if !naming.writes && operator.name != b"$elemMatch" => {
                match self.expression(field, scope)?.constant {
                    true => self.value(path, field),
                    false => Ok(()),
                }
            }
            _ => self.value(path, field),
        }
    }

    /// Whether the schema encrypts the field that a text names.
    #[inline(never)]
    fn is_ciphertext(&self, text: &str) -> bool {
        field_path(text).is_some_and(|path| {
            matches!(
                resolve(&self.schemas.target(), path.as_bytes()),
                Place::Encrypted | Place::Inside
            )
        })
    }
}

/// Whether `$slice` is the operator of expressions, `{$slice: [array, 1]}`, and not that of projections, `{$slice: 1}` or
/// `{$slice: [1, 2]}`.
fn is_slice_expression(operator: &Element<'_>) -> Result<bool> {
    if operator.name != b"$slice" || operator.bson_type != ty::ARRAY {
        return Ok(false);
    }
    let items = all_elements(operator.value)?;
    Ok(!items.iter().all(says_whether))
}
