//! Values that updates write to encrypted paths.

use alloc::vec::Vec;

use super::{
    filters::says_whether,
    positions::{Reader, join, operator_of},
    scope::Scope,
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty, find_field},
    schema::encrypted_paths::{Place, resolve},
};

impl<'a, 's> Reader<'a, 's, '_> {
    pub(super) fn update(&mut self, update: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        if update.bson_type == ty::ARRAY {
            return self.pipeline(update, scope.clone(), true).map(|_| ());
        }
        for field in all_elements(update.value)? {
            match field.name.starts_with(b"$") {
                true => self.modifier(&field, scope)?,
                false => self.document_field(&field, &scope.objects, "")?,
            }
        }
        Ok(())
    }

    fn modifier(&mut self, modifier: &Element<'a>, scope: &Scope<'s>) -> Result<()> {
        if modifier.bson_type != ty::DOCUMENT {
            return self.anything(modifier, scope);
        }
        for field in all_elements(modifier.value)? {
            let path = join("", field.name);
            let place = scope.resolve(field.name);
            if modifier.name == b"$rename" {
                self.renamed(&field, &place, scope)?;
                continue;
            }
            let is_empty = matches!(field.value, [] | [1, 0, 0, 0, 0]);
            if modifier.name == b"$unset" && (says_whether(&field) || is_empty) {
                continue;
            }
            match place {
                Place::Plain => {}
                Place::Encrypted | Place::Inside => self.value(&path, &field)?,
                // A filter of the elements.
                Place::Above(objects)
                    if modifier.name == b"$pull" && field.bson_type == ty::DOCUMENT =>
                {
                    self.filter(field.value, &Scope::of(objects), &path)?;
                }
                // `$each` of a `$push`.
                Place::Above(objects) if operator_of(&field)?.is_some() => {
                    for operand in all_elements(field.value)? {
                        self.nested(&operand, &objects, &path)?;
                    }
                }
                Place::Above(objects) => self.nested(&field, &objects, &path)?,
            }
        }
        Ok(())
    }

    /// Values move between encrypted paths, or between others.
    fn renamed(&mut self, field: &Element<'a>, from: &Place<'_>, scope: &Scope<'s>) -> Result<()> {
        let to = field
            .as_str()
            .map_or(Place::Plain, |to| scope.resolve(to.as_bytes()));
        match (from, to) {
            (Place::Plain, Place::Plain) | (Place::Encrypted, Place::Encrypted) => Ok(()),
            _ => self.value(&join("", field.name), field),
        }
    }

    /// Filters of array elements that an update names: `a.$[x].b` says where `x.b` is. `filters`: a list of documents.
    pub(super) fn array_filters(
        &mut self,
        command: &'a [u8],
        filters: &Element<'a>,
        scope: &Scope<'s>,
    ) -> Result<()> {
        let mut elements_of = Scope::default();
        for name in ["u", "update", "updateMods"] {
            let Some(update) = find_field(command, name)? else {
                continue;
            };
            if update.bson_type != ty::DOCUMENT {
                continue;
            }
            for modifier in all_elements(update.value)? {
                if modifier.bson_type != ty::DOCUMENT {
                    continue;
                }
                for field in all_elements(modifier.value)? {
                    add_identifiers(field.name, scope, &mut elements_of);
                }
            }
        }
        for filter in all_elements(filters.value)? {
            self.filter(filter.value, &elements_of, "")?;
            self.last_names(&filter, scope, &elements_of)?;
        }
        Ok(())
    }

    /// An identifier may stand for any element: a path that ends as an encrypted one does counts as one.
    /// `known`: what was looked at already.
    fn last_names(
        &mut self,
        filter: &Element<'a>,
        scope: &Scope<'s>,
        known: &Scope<'s>,
    ) -> Result<()> {
        self.deeper(|reader| {
            for field in all_elements(filter.value)? {
                let has_name = filter.bson_type == ty::DOCUMENT;
                if has_name && !matches!(known.resolve(field.name), Place::Plain) {
                    continue;
                }
                if has_name && scope.names(field.name) {
                    reader.compared(&field, &join("", field.name))?;
                } else if matches!(field.bson_type, ty::DOCUMENT | ty::ARRAY) {
                    reader.last_names(&field, scope, known)?;
                }
            }
            Ok(())
        })
    }
}

fn add_identifiers<'s>(path: &[u8], scope: &Scope<'s>, into: &mut Scope<'s>) {
    let mut before = Vec::new();
    for part in path.split(|byte| *byte == b'.') {
        if let Some(identifier) = part
            .strip_prefix(b"$[")
            .and_then(|rest| rest.strip_suffix(b"]"))
            && !identifier.is_empty()
            && let Place::Above(objects) = resolve(&scope.objects, &before)
        {
            into.mounts.push((identifier.to_vec(), objects));
        }
        if !before.is_empty() {
            before.push(b'.');
        }
        before.extend_from_slice(part);
    }
}
