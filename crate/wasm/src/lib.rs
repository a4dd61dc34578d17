//! WebAssembly bindings of csfle-core: opaque handles that take and give bytes.
//!
//! This is the only crate that knows wasm-bindgen. Whole documents cross as BSON in one call; secrets cross as
//! `Uint8Array` handles that are copied straight into wiped memory, never as slices, which wasm-bindgen would free
//! unwiped. Errors are thrown as plain objects `{code, message, details}`.

mod bytes;
mod engine;
mod error;
mod host;
mod machine;
mod mongocrypt;
mod report;
mod sealed_backup;
mod trust;

pub use engine::Engine;
pub use host::set_host_primitives;
pub use machine::Machine;
pub use mongocrypt::{MongoCrypt, MongoCryptContext};
pub use report::{
    assess_vault, census, containers, parse_master_key, rewrite_schema, strip_schema,
};
pub use sealed_backup::{describe_backup, sha256};
pub use trust::trust_master_keys;

use wasm_bindgen::prelude::*;

/// Every error code of the core, in the order of its table.
#[wasm_bindgen(js_name = errorCodes)]
#[must_use]
pub fn error_codes() -> Vec<String> {
    csfle_core::Code::ALL
        .iter()
        .map(|code| code.as_str().to_owned())
        .collect()
}

/// The version of the core.
#[wasm_bindgen]
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
