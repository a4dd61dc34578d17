//! Errors across the boundary.

use std::collections::BTreeMap;

use csfle_core::Error;
use serde::Serialize;
use wasm_bindgen::JsValue;

#[derive(Serialize)]
struct Thrown<'a> {
    code: &'static str,
    message: &'a str,
    details: BTreeMap<&'static str, &'a str>,
}

/// The object that JavaScript catches.
pub(crate) fn thrown(error: Error) -> JsValue {
    let thrown = Thrown {
        code: error.code().as_str(),
        message: error.message(),
        details: error
            .details()
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect(),
    };
    to_js(&thrown)
}

/// A small report as a plain object.
pub(crate) fn to_js(value: &impl Serialize) -> JsValue {
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true);
    value.serialize(&serializer).unwrap_or(JsValue::UNDEFINED)
}
