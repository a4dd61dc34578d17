//! Providers and the key cache, and the operations that start from them.

use std::{cell::RefCell, rc::Rc};

use csfle_core::{Code, Context, Error, Result, kms::KmsProvider, secret::scrub_stack};
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{
    bytes::{read, read_key_material},
    error::thrown,
    host::{HostEntropy, host_primitives},
    machine::Machine,
    trust::read_admission,
};

/// What machines share with the engine they came from. `None` once the engine was freed: its keys are wiped then, and
/// machines that are still under way fail with `MACHINE_OUT_OF_ORDER`.
pub(crate) type Shared = Rc<RefCell<Option<Inner>>>;

pub(crate) struct Inner {
    engine: csfle_core::Engine,
    entropy: HostEntropy,
}

/// Lends an engine to a call.
pub(crate) fn with_context<T>(
    shared: &Shared,
    now_ms: f64,
    call: impl FnOnce(&mut Context<'_>) -> Result<T>,
) -> Result<T> {
    let result = match &mut *shared.borrow_mut() {
        Some(inner) => call(&mut Context {
            engine: &mut inner.engine,
            entropy: &mut inner.entropy,
            now_ms,
        }),
        None => Err(Error::new(
            Code::MachineOutOfOrder,
            "the engine was freed while a machine was under way",
        )),
    };
    // Whatever the call did with keys, its dead frames are what would outlive `free()`.
    scrub_stack();
    result
}

/// Providers and cached data keys. `free()` wipes them.
#[wasm_bindgen]
pub struct Engine(pub(crate) Shared);

impl Drop for Engine {
    fn drop(&mut self) {
        self.0.borrow_mut().take();
    }
}

#[wasm_bindgen]
impl Engine {
    /// Units: `key_expiration_ms` in milliseconds, 0 = never; `max_cached_keys` in keys.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new(key_expiration_ms: f64, max_cached_keys: u32) -> Self {
        let mut engine = csfle_core::Engine::new(key_expiration_ms, max_cached_keys as usize);
        engine.lend_host(host_primitives());
        Self(Rc::new(RefCell::new(Some(Inner {
            engine,
            entropy: HostEntropy::new(),
        }))))
    }

    /// Adds a local provider, such as `local` or `local:name`, with its master key of 96 bytes.
    ///
    /// # Errors
    /// `KMS_PROVIDER_UNRECOGNIZED`, `KEY_MATERIAL_LENGTH`, `OPTION_INVALID`.
    #[wasm_bindgen(js_name = addLocalProvider)]
    pub fn add_local_provider(
        &self,
        id: &str,
        key: &Uint8Array,
    ) -> std::result::Result<(), JsValue> {
        self.configure(|engine| {
            let provider = KmsProvider::parse(id)?;
            engine.add_local(provider, &read_key_material(key)?)
        })
    }

    /// Adds a provider whose wrapping the host does, such as `aws` or `aws:eu`.
    ///
    /// # Errors
    /// `KMS_PROVIDER_UNRECOGNIZED`, `OPTION_INVALID`.
    #[wasm_bindgen(js_name = addRemoteProvider)]
    pub fn add_remote_provider(&self, id: &str) -> std::result::Result<(), JsValue> {
        self.configure(|engine| engine.add_remote(KmsProvider::parse(id)?))
    }

    /// Says which master keys are used from now on: `lists` of patterns, each of which has to have a key, endpoints beside
    /// the clouds' own, and for a migration the master keys that it reads from and those that it wraps under.
    ///
    /// # Errors
    /// `OPTION_INVALID`, `MASTER_KEY_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`.
    pub fn admit(
        &self,
        lists: &Array,
        allowed_endpoints: Vec<String>,
        sources: Option<Vec<Uint8Array>>,
        targets: Option<Vec<Uint8Array>>,
    ) -> std::result::Result<(), JsValue> {
        self.configure(|engine| {
            let (sources, targets) = (sources.as_deref(), targets.as_deref());
            engine.set_admission(read_admission(lists, &allowed_endpoints, sources, targets)?);
            Ok(())
        })
    }

    /// Forgets and wipes all cached data keys.
    ///
    /// # Errors
    /// None while the engine lives.
    #[wasm_bindgen(js_name = clearCache)]
    pub fn clear_cache(&self) -> std::result::Result<(), JsValue> {
        self.configure(|engine| {
            engine.clear_cache();
            Ok(())
        })
    }

    /// `{v: value}` and `{algorithm, keyId | keyAltName}` to `{v: binary subtype 6}`.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::encrypt`.
    pub fn encrypt(
        &self,
        value: &Uint8Array,
        options: &Uint8Array,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(csfle_core::Machine::encrypt(
            read(value).expose(),
            read(options).expose(),
        ))
    }

    /// `{v: binary subtype 6}` to `{v: value}`.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::decrypt`.
    pub fn decrypt(&self, value: &Uint8Array) -> std::result::Result<Machine, JsValue> {
        self.machine(csfle_core::Machine::decrypt(read(value).expose()))
    }

    /// A new key document under `master_key` = `{provider, ...}`.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::create_data_key`.
    #[wasm_bindgen(js_name = createDataKey)]
    pub fn create_data_key(
        &self,
        master_key: &Uint8Array,
        key_alt_names: Vec<String>,
        key_material: Option<Uint8Array>,
        now_ms: f64,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(with_context(&self.0, now_ms, |context| {
            let material = key_material.as_ref().map(read_key_material).transpose()?;
            csfle_core::Machine::create_data_key(
                context,
                read(master_key).expose(),
                key_alt_names,
                material,
            )
        }))
    }

    /// As `createDataKey`; the engine goes on with the material that was made.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::create_and_keep_data_key`.
    #[wasm_bindgen(js_name = createAndKeepDataKey)]
    pub fn create_and_keep_data_key(
        &self,
        master_key: &Uint8Array,
        key_alt_names: Vec<String>,
        now_ms: f64,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(with_context(&self.0, now_ms, |context| {
            csfle_core::Machine::create_and_keep_data_key(
                context,
                read(master_key).expose(),
                key_alt_names,
            )
        }))
    }

    /// Rewraps the data keys that `filter` finds, whose material has this fingerprint, if it is known, and opens one of
    /// the `values` under it, if there are any.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::rewrap`.
    pub fn rewrap(
        &self,
        filter: &Uint8Array,
        master_key: Option<Uint8Array>,
        fingerprint: Option<Uint8Array>,
        values: &Uint8Array,
    ) -> std::result::Result<Machine, JsValue> {
        let master_key = master_key.as_ref().map(read);
        let master_key = master_key.as_ref().map(|bytes| bytes.expose());
        let fingerprint = fingerprint.as_ref().map(read);
        let fingerprint = fingerprint.as_ref().map(|bytes| bytes.expose());
        self.machine(csfle_core::Machine::rewrap(
            read(filter).expose(),
            master_key,
            fingerprint,
            read(values).expose(),
        ))
    }

    /// Fingerprints of the material of the data keys that `filter` finds, and what they open of `values`.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::fingerprint`.
    pub fn fingerprint(
        &self,
        filter: &Uint8Array,
        values: &Uint8Array,
        keep: bool,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(csfle_core::Machine::fingerprint(
            read(filter).expose(),
            read(values).expose(),
            keep,
        ))
    }

    /// Wraps random bytes under a master key and unwraps them again.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::probe`.
    pub fn probe(&self, master_key: &Uint8Array) -> std::result::Result<Machine, JsValue> {
        self.machine(with_context(&self.0, 0.0, |context| {
            csfle_core::Machine::probe(context, read(master_key).expose())
        }))
    }

    /// Decrypts all values of documents laid end to end.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::decrypt_documents`.
    #[wasm_bindgen(js_name = decryptDocuments)]
    pub fn decrypt_documents(
        &self,
        documents: &Uint8Array,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(csfle_core::Machine::decrypt_documents(
            read(documents).expose(),
        ))
    }

    /// Encrypts values of documents laid end to end by rules `{path: {algorithm, keyId | keyAltName}}`.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::encrypt_documents`.
    #[wasm_bindgen(js_name = encryptDocuments)]
    pub fn encrypt_documents(
        &self,
        documents: &Uint8Array,
        rules: &Uint8Array,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(csfle_core::Machine::encrypt_documents(
            read(documents).expose(),
            read(rules).expose(),
        ))
    }

    /// Updates that re-encrypt documents under other data keys, `mapping` = `{v: [{from, to}]}`.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::reencrypt_documents`.
    #[wasm_bindgen(js_name = reencryptDocuments)]
    pub fn reencrypt_documents(
        &self,
        documents: &Uint8Array,
        mapping: &Uint8Array,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(csfle_core::Machine::reencrypt_documents(
            read(documents).expose(),
            read(mapping).expose(),
        ))
    }

    /// Updates that put plaintext back, `key_ids` = `{v: [UUID, ...]}`; an empty array means every key.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::leave_documents`.
    #[wasm_bindgen(js_name = leaveDocuments)]
    pub fn leave_documents(
        &self,
        documents: &Uint8Array,
        key_ids: &Uint8Array,
    ) -> std::result::Result<Machine, JsValue> {
        self.machine(csfle_core::Machine::leave_documents(
            read(documents).expose(),
            read(key_ids).expose(),
        ))
    }

    pub(crate) fn machine(
        &self,
        machine: Result<csfle_core::Machine>,
    ) -> std::result::Result<Machine, JsValue> {
        machine
            .map(|machine| Machine::new(machine, Rc::clone(&self.0)))
            .map_err(thrown)
    }

    fn configure(
        &self,
        call: impl FnOnce(&mut csfle_core::Engine) -> Result<()>,
    ) -> std::result::Result<(), JsValue> {
        with_context(&self.0, 0.0, |context| call(context.engine)).map_err(thrown)
    }
}
