//! Which master keys are trusted: what JavaScript hands over, and what holds for the whole process.

use std::cell::{Cell, RefCell};

use csfle_core::{
    Code, Error, Result,
    key_vault::{Admission, MasterKeyPattern, TrustedMasterKey},
};
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{bytes::read, error::thrown};

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
pub fn trust_master_keys(lists: &Array) -> std::result::Result<(), JsValue> {
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

/// Reads lists of patterns. A pattern is a text, its short form, or the bytes of its document.
///
/// Errors: `OPTION_INVALID`, with the index of the pattern.
pub(crate) fn read_lists(lists: &Array) -> Result<Vec<List>> {
    lists
        .iter()
        .map(|list| {
            let list = list.dyn_into::<Array>().map_err(|_| invalid("an array"))?;
            read_list(&list)
        })
        .collect()
}

fn read_list(patterns: &Array) -> Result<List> {
    let read = |(index, pattern): (usize, JsValue)| {
        let trusted = match (pattern.as_string(), pattern.dyn_into::<Uint8Array>()) {
            (Some(text), _) => TrustedMasterKey::from_text(&text),
            (None, Ok(document)) => TrustedMasterKey::from_bytes(read(&document).expose()),
            (None, Err(_)) => Err(invalid("a text or a document")),
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

fn invalid(expected: &str) -> Error {
    Error::new(Code::OptionInvalid, format!("expected {expected}"))
}

/// The rules of an engine: lists of patterns, allowed endpoints, and for a migration the master keys that it reads from
/// and the one that it wraps under, as they are.
///
/// Errors: `OPTION_INVALID`, those of [`MasterKeyPattern::from_bytes`].
pub(crate) fn read_admission(
    lists: &Array,
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
