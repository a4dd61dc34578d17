//! Sealed backups across the boundary.

use csfle_core::{
    crypto::Argon2Parameters,
    sealed_backup::{DEFAULT_CHUNK_LEN, Header, KeyMethod},
};
use js_sys::{Reflect, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::{
    bytes::{read, write},
    engine::{Engine, with_context},
    error::{thrown, to_js},
    machine::Machine,
};

/// What the header of a sealed backup tells without a key.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    method: &'static str,
    #[serde(rename = "memoryKiB")]
    memory_kib: Option<u32>,
    iterations: Option<u32>,
    lanes: Option<u32>,
}

#[wasm_bindgen]
impl Engine {
    /// A sealed backup under a master key.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::seal_backup`.
    #[wasm_bindgen(js_name = sealBackup)]
    pub fn seal_backup(
        &self,
        master_key: &Uint8Array,
        facts: &Uint8Array,
        records: &Uint8Array,
    ) -> Result<Machine, JsValue> {
        self.machine(with_context(&self.0, 0.0, |context| {
            csfle_core::Machine::seal_backup(
                context,
                read(master_key).expose(),
                read(facts).expose(),
                read(records).expose(),
                DEFAULT_CHUNK_LEN,
            )
        }))
    }

    /// A sealed backup under a passphrase. Argon2id runs within this call.
    ///
    /// Units: `memory_kib` in KiB; 0 for it and for `iterations` means the default.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::seal_backup_with_passphrase`.
    #[wasm_bindgen(js_name = sealBackupWithPassphrase)]
    pub fn seal_backup_with_passphrase(
        &self,
        passphrase: &Uint8Array,
        memory_kib: u32,
        iterations: u32,
        facts: &Uint8Array,
        records: &Uint8Array,
    ) -> Result<Machine, JsValue> {
        let default = Argon2Parameters::DEFAULT;
        let or = |given: u32, default: u32| if given == 0 { default } else { given };
        let parameters = Argon2Parameters {
            memory_kib: or(memory_kib, default.memory_kib),
            iterations: or(iterations, default.iterations),
            ..default
        };
        self.machine(with_context(&self.0, 0.0, |context| {
            csfle_core::Machine::seal_backup_with_passphrase(
                context,
                &read(passphrase),
                parameters,
                read(facts).expose(),
                read(records).expose(),
                DEFAULT_CHUNK_LEN,
            )
        }))
    }

    /// The content of a sealed backup.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::open_backup`.
    #[wasm_bindgen(js_name = openBackup)]
    pub fn open_backup(
        &self,
        file: &Uint8Array,
        passphrase: Option<Uint8Array>,
    ) -> Result<Machine, JsValue> {
        self.machine(with_context(&self.0, 0.0, |context| {
            let passphrase = passphrase.as_ref().map(read);
            csfle_core::Machine::open_backup(context, read(file).expose(), passphrase.as_ref())
        }))
    }
}

/// Reads the header of a sealed backup: `{method, memoryKiB, iterations, lanes}`, and `masterKey` as BSON.
///
/// # Errors
/// Those of `csfle_core::sealed_backup::Header::parse`.
#[wasm_bindgen(js_name = describeBackup)]
pub fn describe_backup(file: &Uint8Array) -> Result<JsValue, JsValue> {
    match Header::parse(read(file).expose()).map_err(thrown)?.method {
        KeyMethod::Passphrase { parameters, .. } => Ok(to_js(&Described {
            method: "passphrase",
            memory_kib: Some(parameters.memory_kib),
            iterations: Some(parameters.iterations),
            lanes: Some(parameters.lanes),
        })),
        KeyMethod::MasterKey { master_key, .. } => {
            let described = to_js(&Described {
                method: "masterKey",
                ..Described::default()
            });
            let stored = write(master_key.to_stored().map_err(thrown)?.as_bytes());
            Reflect::set(&described, &"masterKey".into(), &stored)?;
            Ok(described)
        }
    }
}

/// The SHA-256 hash of bytes.
#[wasm_bindgen]
#[must_use]
pub fn sha256(bytes: &Uint8Array) -> Uint8Array {
    write(&csfle_core::crypto::sha256(read(bytes).expose()))
}
