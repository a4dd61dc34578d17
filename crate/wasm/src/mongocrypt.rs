//! libmongocrypt's interface: what js/mongocrypt builds the classes of `mongodb-client-encryption` from.
//!
//! Only making a library or a context throws. Whatever goes wrong later is a state, and a failure to ask for.

use std::{cell::RefCell, rc::Rc};

use csfle_core::{
    Error, Result,
    key_vault::TrustedMasterKey,
    kms::wire::WireRequest,
    mongocrypt::{self, Call, ExplicitOptions, MongoCryptOptions},
    secret::{SecretBytes, scrub_stack},
};
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{
    bytes::{self, write},
    error::thrown,
    host::{HostEntropy, host_primitives},
    trust,
};

type Answer<T> = std::result::Result<T, JsValue>;

struct Inner {
    library: mongocrypt::MongoCrypt,
    entropy: HostEntropy,
    /// Beside what the whole process trusts.
    trusted: Option<Vec<TrustedMasterKey>>,
    generation: u32,
}

/// A context keeps its library alive.
type Shared = Rc<RefCell<Inner>>;

fn with_call<T>(shared: &Shared, now_ms: f64, work: impl FnOnce(&mut Call<'_>) -> T) -> T {
    let inner = &mut *shared.borrow_mut();
    let generation = trust::generation();
    if inner.generation != generation {
        inner.generation = generation;
        inner
            .library
            .set_admission(trust::process_wide(inner.trusted.as_ref()));
    }
    let result = work(&mut Call {
        library: &mut inner.library,
        entropy: &mut inner.entropy,
        now_ms,
    });
    // Whatever the call did with keys, its dead frames are what would outlive `free()`.
    scrub_stack();
    result
}

/// Longest input, in bytes. No message of MongoDB's has more than 48 MB.
const MAX_INPUT_LEN: u32 = 256 << 20;

/// Longer input counts as none, and is refused like that: its copies could use up the memory of the instance, which then
/// ends.
fn read(array: &Uint8Array) -> SecretBytes {
    match array.length() {
        ..=MAX_INPUT_LEN => bytes::read(array),
        _ => SecretBytes::with_capacity(0),
    }
}

fn read_optional(array: Option<&Uint8Array>) -> Option<SecretBytes> {
    array.map(read)
}

fn exposed(bytes: &Option<SecretBytes>) -> Option<&[u8]> {
    bytes.as_ref().map(SecretBytes::expose)
}

/// Providers, maps and caches. `free()` wipes them once no context is left.
#[wasm_bindgen]
pub struct MongoCrypt(Shared);

#[wasm_bindgen]
impl MongoCrypt {
    /// Units: `key_expiration_ms` in milliseconds, 0 = never. Documents are BSON; `trusted` is a list of patterns.
    ///
    /// # Errors
    /// Those of `csfle_core::mongocrypt::MongoCrypt::new`.
    #[wasm_bindgen(constructor)]
    pub fn new(
        kms_providers: Option<Uint8Array>,
        schema_map: Option<Uint8Array>,
        encrypted_fields_map: Option<Uint8Array>,
        bypass_query_analysis: bool,
        key_expiration_ms: f64,
        trusted: Option<Array>,
    ) -> Answer<Self> {
        let trusted = match trusted {
            None => None,
            Some(list) => trust::read_lists(&Array::of1(&list)).map_err(thrown)?.pop(),
        };
        let providers = read_optional(kms_providers.as_ref());
        let schemas = read_optional(schema_map.as_ref());
        let fields = read_optional(encrypted_fields_map.as_ref());
        let mut library = mongocrypt::MongoCrypt::new(&MongoCryptOptions {
            kms_providers: exposed(&providers),
            schema_map: exposed(&schemas),
            encrypted_fields_map: exposed(&fields),
            bypass_query_analysis,
            key_ttl_ms: key_expiration_ms,
            host: host_primitives(),
        })
        .map_err(thrown)?;
        library.set_admission(trust::process_wide(trusted.as_ref()));
        Ok(Self(Rc::new(RefCell::new(Inner {
            library,
            entropy: HostEntropy::new(),
            trusted,
            generation: trust::generation(),
        }))))
    }

    fn context(
        &self,
        now_ms: f64,
        make: impl FnOnce(&mut Call<'_>) -> Result<mongocrypt::MongoCryptContext>,
    ) -> Answer<MongoCryptContext> {
        let context = with_call(&self.0, now_ms, make).map_err(thrown)?;
        Ok(MongoCryptContext {
            context,
            shared: Rc::clone(&self.0),
        })
    }

    /// A command for a database.
    ///
    /// # Errors
    /// Those of `csfle_core::mongocrypt::MongoCryptContext::encrypt`.
    pub fn encrypt(
        &self,
        database: &str,
        command: &Uint8Array,
        now_ms: f64,
    ) -> Answer<MongoCryptContext> {
        let command = read(command);
        self.context(now_ms, |call| {
            mongocrypt::MongoCryptContext::encrypt(call, database, command.expose())
        })
    }

    /// `{v: value}` to `{v: binary subtype 6}`.
    ///
    /// # Errors
    /// Those of `csfle_core::mongocrypt::MongoCryptContext::explicit_encrypt`.
    #[wasm_bindgen(js_name = explicitEncrypt)]
    #[allow(clippy::too_many_arguments, reason = "the options cross one by one")]
    pub fn explicit_encrypt(
        &self,
        value: &Uint8Array,
        key_id: Option<Uint8Array>,
        key_alt_name: Option<Uint8Array>,
        algorithm: Option<String>,
        has_contention_factor: bool,
        query_type: Option<String>,
        has_text_options: bool,
        is_expression: bool,
        now_ms: f64,
    ) -> Answer<MongoCryptContext> {
        let value = read(value);
        let key_id = read_optional(key_id.as_ref());
        let key_alt_name = read_optional(key_alt_name.as_ref());
        let options = ExplicitOptions {
            key_id: exposed(&key_id),
            key_alt_name: exposed(&key_alt_name),
            algorithm: algorithm.as_deref(),
            has_contention_factor,
            query_type: query_type.as_deref(),
            has_text_options,
            is_expression,
        };
        self.context(now_ms, |call| {
            mongocrypt::MongoCryptContext::explicit_encrypt(call, value.expose(), &options)
        })
    }

    /// `{v: binary subtype 6}` to `{v: value}`.
    ///
    /// # Errors
    /// Those of `csfle_core::mongocrypt::MongoCryptContext::explicit_decrypt`.
    #[wasm_bindgen(js_name = explicitDecrypt)]
    pub fn explicit_decrypt(&self, value: &Uint8Array, now_ms: f64) -> Answer<MongoCryptContext> {
        let value = read(value);
        self.context(now_ms, |call| {
            mongocrypt::MongoCryptContext::explicit_decrypt(call, value.expose())
        })
    }

    /// A reply of the server.
    ///
    /// # Errors
    /// Those of `csfle_core::mongocrypt::MongoCryptContext::decrypt`.
    pub fn decrypt(&self, reply: &Uint8Array, now_ms: f64) -> Answer<MongoCryptContext> {
        let reply = read(reply);
        self.context(now_ms, |call| {
            mongocrypt::MongoCryptContext::decrypt(call, reply.expose())
        })
    }

    /// A new data key under `master_key` = `{provider, ...}`.
    ///
    /// # Errors
    /// Those of `csfle_core::mongocrypt::MongoCryptContext::create_data_key`.
    #[wasm_bindgen(js_name = createDataKey)]
    pub fn create_data_key(
        &self,
        master_key: &Uint8Array,
        key_alt_names: Vec<Uint8Array>,
        key_material: Option<Uint8Array>,
        now_ms: f64,
    ) -> Answer<MongoCryptContext> {
        let master_key = read(master_key);
        let names: Vec<SecretBytes> = key_alt_names.iter().map(read).collect();
        let names: Vec<&[u8]> = names.iter().map(SecretBytes::expose).collect();
        let material = read_optional(key_material.as_ref());
        self.context(now_ms, |call| {
            mongocrypt::MongoCryptContext::create_data_key(
                call,
                master_key.expose(),
                &names,
                exposed(&material),
            )
        })
    }

    /// The data keys that `filter` finds, under another master key or each under its own.
    ///
    /// # Errors
    /// Those of `csfle_core::mongocrypt::MongoCryptContext::rewrap`.
    pub fn rewrap(
        &self,
        filter: &Uint8Array,
        master_key: Option<Uint8Array>,
        now_ms: f64,
    ) -> Answer<MongoCryptContext> {
        let filter = read(filter);
        let master_key = read_optional(master_key.as_ref());
        self.context(now_ms, |call| {
            mongocrypt::MongoCryptContext::rewrap(call, filter.expose(), exposed(&master_key))
        })
    }
}

/// One operation under way. `free()` wipes what it holds.
#[wasm_bindgen]
pub struct MongoCryptContext {
    context: mongocrypt::MongoCryptContext,
    shared: Shared,
}

#[wasm_bindgen]
impl MongoCryptContext {
    /// The state by its number.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.context.state() as u32
    }

    /// Why it failed, as `{code, message, details}`.
    #[must_use]
    pub fn failure(&self) -> JsValue {
        described(self.context.failure())
    }

    /// What to ask the server.
    #[wasm_bindgen(js_name = mongoOperation)]
    pub fn mongo_operation(&mut self, now_ms: f64) -> Option<Uint8Array> {
        let context = &mut self.context;
        let asked = with_call(&self.shared, now_ms, |call| context.mongo_operation(call));
        asked.map(|bytes| write(bytes.expose()))
    }

    /// Takes one document of the answer.
    #[wasm_bindgen(js_name = feedMongo)]
    pub fn feed_mongo(&mut self, reply: &Uint8Array, now_ms: f64) {
        let (context, reply) = (&mut self.context, read(reply));
        with_call(&self.shared, now_ms, |call| {
            context.feed_mongo(call, reply.expose());
        });
    }

    /// The answer is complete.
    #[wasm_bindgen(js_name = finishMongo)]
    pub fn finish_mongo(&mut self, now_ms: f64) {
        let context = &mut self.context;
        with_call(&self.shared, now_ms, |call| context.finish_mongo(call));
    }

    /// Takes credentials that were missing.
    #[wasm_bindgen(js_name = provideKmsProviders)]
    pub fn provide_kms_providers(&mut self, providers: &Uint8Array, now_ms: f64) {
        let (context, providers) = (&mut self.context, read(providers));
        with_call(&self.shared, now_ms, |call| {
            context.provide_kms_providers(call, providers.expose());
        });
    }

    /// What to sign before the next request, as `[PKCS#8 key, input]`. The key is a secret.
    #[wasm_bindgen(js_name = signatureWanted)]
    #[must_use]
    pub fn signature_wanted(&mut self) -> Option<Array> {
        let wanted = self.context.signature_wanted()?;
        let parts = [write(wanted.private_key), write(wanted.input)];
        Some(parts.iter().collect())
    }

    /// Takes that signature; an empty one says that the host could not sign.
    #[wasm_bindgen(js_name = provideSignature)]
    pub fn provide_signature(&mut self, signature: &Uint8Array) {
        self.context.provide_signature(read(signature).expose());
    }

    /// The number of the next request to a KMS.
    #[wasm_bindgen(js_name = nextKmsRequest)]
    pub fn next_kms_request(&mut self) -> Option<u32> {
        self.context.next_kms_request()
    }

    /// The requests that were told of are answered.
    #[wasm_bindgen(js_name = finishKms)]
    pub fn finish_kms(&mut self, now_ms: f64) {
        let context = &mut self.context;
        with_call(&self.shared, now_ms, |call| context.finish_kms(call));
    }

    /// The result.
    pub fn finalize(&mut self, now_ms: f64) -> Option<Uint8Array> {
        let context = &mut self.context;
        let result = with_call(&self.shared, now_ms, |call| context.finalize(call));
        result.map(|bytes| write(bytes.expose()))
    }

    fn request(&mut self, number: u32) -> Option<&mut WireRequest> {
        self.context.kms_request(number)
    }

    /// The provider's full identifier.
    #[wasm_bindgen(js_name = kmsProvider)]
    pub fn kms_provider(&mut self, number: u32) -> Option<String> {
        let request = self.request(number)?;
        Some(request.master_key().provider().to_string())
    }

    /// `host:port`.
    #[wasm_bindgen(js_name = kmsEndpoint)]
    pub fn kms_endpoint(&mut self, number: u32) -> Option<String> {
        self.request(number)?.endpoint().ok().map(String::from)
    }

    /// The bytes to send. They hold secrets.
    #[wasm_bindgen(js_name = kmsMessage)]
    pub fn kms_message(&mut self, number: u32) -> Option<Uint8Array> {
        self.request(number)?.message().ok().map(write)
    }

    /// How many bytes of the answer may be fed next.
    #[wasm_bindgen(js_name = kmsBytesNeeded)]
    pub fn kms_bytes_needed(&mut self, number: u32) -> u32 {
        self.request(number)
            .map_or(0, |request| request.bytes_needed() as u32)
    }

    /// Takes bytes of the answer. What is wrong with them is the request's failure from then on.
    #[wasm_bindgen(js_name = kmsFeed)]
    pub fn kms_feed(&mut self, number: u32, bytes: &Uint8Array) {
        let bytes = read(bytes);
        if let Some(request) = self.request(number) {
            let _ = request.feed(bytes.expose());
        }
    }

    /// The connection failed. Says whether the request will be offered again.
    #[wasm_bindgen(js_name = kmsFail)]
    pub fn kms_fail(&mut self, number: u32) -> bool {
        self.request(number).is_some_and(WireRequest::fail)
    }

    /// How long to wait before sending, in microseconds, from 32 random bits.
    #[wasm_bindgen(js_name = kmsSleep)]
    pub fn kms_sleep(&mut self, number: u32, random: u32) -> f64 {
        self.request(number)
            .map_or(0.0, |request| request.sleep_us(random) as f64)
    }

    /// Why a request failed, as `{code, message, details}`.
    #[wasm_bindgen(js_name = kmsFailure)]
    pub fn kms_failure(&mut self, number: u32) -> JsValue {
        described(self.request(number).and_then(|request| request.failure()))
    }
}

fn described(error: Option<&Error>) -> JsValue {
    error.map_or(JsValue::UNDEFINED, |error| thrown(error.clone()))
}
