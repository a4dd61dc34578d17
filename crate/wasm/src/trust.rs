//! Which master keys are trusted: what JavaScript hands over, and what holds for the whole process.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use csfle_core::{
    Code, Error, Result,
    key_vault::{Admission, MasterKeyPattern, PatternValue, TrustedMasterKey},
};
use js_sys::Uint8Array;
use serde::Deserialize;
use wasm_bindgen::prelude::*;

use crate::{bytes::read, error::thrown};

/// A pattern as it crosses: its short form, or its fields.
#[derive(Deserialize)]
#[serde(untagged)]
enum Pattern {
    Text(String),
    Fields(BTreeMap<String, Field>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Flag(bool),
}

type List = Vec<TrustedMasterKey>;

thread_local! {
    static PROCESS_WIDE: RefCell<Vec<List>> = const { RefCell::new(Vec::new()) };
    static GENERATION: Cell<u32> = const { Cell::new(0) };
}

/// Sets what every library of libmongocrypt's interface trusts, those that are there included: a list of lists of
/// patterns, each of which has to have a key. None at all means no restriction.
///
/// # Errors
/// `OPTION_INVALID`; then everything stays as it was.
#[wasm_bindgen(js_name = trustMasterKeys)]
pub fn trust_master_keys(lists: JsValue) -> std::result::Result<(), JsValue> {
    let lists = read_lists(lists).map_err(thrown)?;
    PROCESS_WIDE.set(lists);
    GENERATION.set(GENERATION.get().wrapping_add(1));
    Ok(())
}

/// A number that changes with what is trusted.
pub(crate) fn generation() -> u32 {
    GENERATION.get()
}

/// The rules of a library of libmongocrypt's interface, with a list of its own if it was given one.
pub(crate) fn process_wide(own: Option<&List>) -> Admission {
    let mut admission = Admission::any_endpoint();
    for list in PROCESS_WIDE.with_borrow(Clone::clone) {
        admission.trust(list);
    }
    if let Some(list) = own {
        admission.trust(list.clone());
    }
    admission
}

/// Reads lists of patterns.
///
/// Errors: `OPTION_INVALID`, with the index of the pattern.
pub(crate) fn read_lists(lists: JsValue) -> Result<Vec<List>> {
    let lists: Vec<Vec<Pattern>> = serde_wasm_bindgen::from_value(lists).map_err(|_| {
        Error::new(
            Code::OptionInvalid,
            "trustedMasterKeys must be an array of texts and objects of texts",
        )
        .with("option", "trustedMasterKeys")
    })?;
    lists.iter().map(|list| read_list(list)).collect()
}

fn read_list(patterns: &[Pattern]) -> Result<List> {
    let read = |(index, pattern): (usize, &Pattern)| {
        let trusted = match pattern {
            Pattern::Text(text) => TrustedMasterKey::from_text(text),
            Pattern::Fields(fields) => {
                TrustedMasterKey::from_fields(fields.iter().map(|(name, value)| match value {
                    Field::Text(text) => (name.as_str(), PatternValue::Text(text)),
                    Field::Flag(flag) => (name.as_str(), PatternValue::Flag(*flag)),
                }))
            }
        };
        trusted.map_err(|error| {
            let message = format!("trustedMasterKeys[{index}]: {error}");
            let whole = Error::new(Code::OptionInvalid, message)
                .with("option", "trustedMasterKeys")
                .with("index", index);
            match error.details().iter().find(|(name, _)| *name == "field") {
                Some((_, field)) => whole.with("field", field),
                None => whole,
            }
        })
    };
    patterns.iter().enumerate().map(read).collect()
}

/// The rules of an engine: lists of patterns, allowed endpoints, and for a migration the master keys that it reads from
/// and the one that it wraps under, as they are.
///
/// Errors: `OPTION_INVALID`, those of [`MasterKeyPattern::from_bytes`].
pub(crate) fn read_admission(
    lists: JsValue,
    allowed_endpoints: &[String],
    sources: Option<&[Uint8Array]>,
    targets: Option<&[Uint8Array]>,
) -> Result<Admission> {
    let mut admission = Admission::default();
    for list in read_lists(lists)? {
        admission.trust(list);
    }
    for endpoint in allowed_endpoints {
        admission.allow_endpoint(endpoint)?;
    }
    if let Some(sources) = sources {
        admission.trust(exactly(sources)?);
    }
    if let Some(targets) = targets {
        admission.wrap_only_under(exactly(targets)?);
    }
    Ok(admission)
}

fn exactly(master_keys: &[Uint8Array]) -> Result<List> {
    master_keys
        .iter()
        .map(|bytes| {
            MasterKeyPattern::from_bytes(read(bytes).expose()).map(TrustedMasterKey::exactly)
        })
        .collect()
}
