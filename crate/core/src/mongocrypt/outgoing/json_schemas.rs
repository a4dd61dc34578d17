//! Constants that a JSON schema compares encrypted values with, in filters and validators.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use super::{
    positions::{Reader, is_in, join},
    scope::Scope,
};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty, find_field},
    schema::{encrypted_paths::Place, name_pattern::NamePattern},
};

/// Keywords that tell no value: types, texts for people, counts.
const WITHOUT_VALUES: &[&[u8]] = &[
    b"encrypt",
    b"encryptMetadata",
    b"bsonType",
    b"type",
    b"title",
    b"description",
    b"required",
    b"uniqueItems",
    b"minLength",
    b"maxLength",
    b"minItems",
    b"maxItems",
    b"minProperties",
    b"maxProperties",
];

impl<'a, 's> Reader<'a, 's, '_> {
    /// A schema or a list of schemas. Where all names are encrypted, no other keyword may have a value.
    pub(super) fn json_schema(
        &mut self,
        schema: &Element<'a>,
        scope: &Scope<'s>,
        at: &str,
    ) -> Result<()> {
        if !scope.encrypts() || !matches!(schema.bson_type, ty::DOCUMENT | ty::ARRAY) {
            return Ok(());
        }
        self.deeper(|reader| {
            for keyword in all_elements(schema.value)? {
                match keyword.name {
                    _ if schema.bson_type == ty::ARRAY => {
                        reader.json_schema(&keyword, scope, at)?;
                    }
                    b"properties" | b"patternProperties" if keyword.bson_type == ty::DOCUMENT => {
                        for property in all_elements(keyword.value)? {
                            let place = match keyword.name {
                                b"properties" => scope.resolve(property.name),
                                _ => matched(property.name, scope),
                            };
                            reader.subschema(&property, place, &join(at, property.name))?;
                        }
                    }
                    b"additionalProperties" => {
                        let named = match find_field(schema.value, "properties")? {
                            Some(named) if named.bson_type == ty::DOCUMENT => {
                                all_elements(named.value)?
                            }
                            _ => Vec::new(),
                        };
                        let named: BTreeSet<&[u8]> = named.iter().map(|field| field.name).collect();
                        let is_meant = |name: &[u8]| !named.contains(name);
                        reader.subschema(&keyword, scope.several(&is_meant), at)?;
                    }
                    b"allOf" | b"anyOf" | b"oneOf" | b"not" | b"items" | b"additionalItems" => {
                        reader.json_schema(&keyword, scope, at)?;
                    }
                    name if is_in(WITHOUT_VALUES, name) => {}
                    _ if scope.is_unknown => reader.value(at, &keyword)?,
                    _ => reader.anything(&keyword, scope)?,
                }
            }
            Ok(())
        })
    }

    fn subschema(&mut self, schema: &Element<'a>, place: Place<'s>, at: &str) -> Result<()> {
        let scope = match place {
            Place::Plain => return Ok(()),
            Place::Above(objects) => Scope::of(objects),
            Place::Encrypted | Place::Inside => Scope {
                is_unknown: true,
                ..Scope::default()
            },
        };
        self.json_schema(schema, &scope, at)
    }
}

fn matched<'s>(pattern: &[u8], scope: &Scope<'s>) -> Place<'s> {
    let text = core::str::from_utf8(pattern).ok();
    let pattern = text.and_then(NamePattern::parse);
    scope.several(&|name| {
        let name = String::from_utf8_lossy(name);
        pattern
            .as_ref()
            .is_none_or(|pattern| pattern.matches(&name))
    })
}
