//! One operation under way.

use csfle_core::{Step, kms::KmsOperation};
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{
    bytes::{read, write},
    engine::{Shared, with_context},
    error::thrown,
};

/// A state machine of the core, bound to the engine it came from. `free()` wipes what it holds.
#[wasm_bindgen]
pub struct Machine {
    machine: csfle_core::Machine,
    shared: Shared,
    now_ms: f64,
}

type Answer<T> = std::result::Result<T, JsValue>;

impl Machine {
    pub(crate) fn new(machine: csfle_core::Machine, shared: Shared) -> Self {
        Self {
            machine,
            shared,
            now_ms: 0.0,
        }
    }
}

#[wasm_bindgen]
impl Machine {
    /// Goes as far as possible. 1 = keys are wanted, 2 = KMS replies are wanted, 3 = done.
    ///
    /// # Errors
    /// Those of the operation; they are sticky.
    pub fn step(&mut self, now_ms: f64) -> Answer<u32> {
        self.now_ms = now_ms;
        let machine = &mut self.machine;
        let step =
            with_context(&self.shared, now_ms, |context| machine.step(context)).map_err(thrown)?;
        Ok(match step {
            Step::NeedKeys => 1,
            Step::NeedKms => 2,
            Step::Done => 3,
        })
    }

    /// The filter for the key vault, as BSON.
    ///
    /// # Errors
    /// `MACHINE_OUT_OF_ORDER`.
    pub fn filter(&self) -> Answer<Uint8Array> {
        self.machine.filter().map(write).map_err(thrown)
    }

    /// Takes all key documents that were found, end to end.
    ///
    /// # Errors
    /// Those of `csfle_core::Machine::provide_keys`.
    #[wasm_bindgen(js_name = provideKeys)]
    pub fn provide_keys(&mut self, documents: &Uint8Array) -> Answer<()> {
        let (machine, documents) = (&mut self.machine, read(documents));
        with_context(&self.shared, self.now_ms, |context| {
            machine.provide_keys(context, documents.expose())
        })
        .map_err(thrown)
    }

    /// The KMS requests that have no reply yet, as plain objects.
    ///
    /// # Errors
    /// `MACHINE_OUT_OF_ORDER`.
    #[wasm_bindgen(js_name = kmsRequests)]
    pub fn kms_requests(&mut self) -> Answer<Array> {
        let requests = Array::new();
        for request in self.machine.kms_requests().map_err(thrown)? {
            let object = Object::new();
            let set = |name: &str, value: JsValue| Reflect::set(&object, &name.into(), &value);
            let input = match &request.operation {
                KmsOperation::Wrap(material) => write(material.expose()),
                KmsOperation::Unwrap(wrapped) => write(wrapped.as_bytes()),
            };
            set("id", request.id.into())?;
            set("operation", request.operation.as_str().into())?;
            set("provider", request.master_key.provider().to_string().into())?;
            set(
                "masterKey",
                write(request.master_key.to_raw().as_bytes()).into(),
            )?;
            set("input", input.into())?;
            if let Some(key_id) = &request.key_id {
                set("keyId", key_id.to_string().into())?;
            }
            let names: Array = request
                .key_alt_names
                .iter()
                .map(|name| JsValue::from(name.as_str()))
                .collect();
            set("keyAltNames", names.into())?;
            requests.push(&object);
        }
        Ok(requests)
    }

    /// Takes the reply to one KMS request; `key_id` names the object that a KMIP server made.
    ///
    /// # Errors
    /// `KMS_REPLY_LENGTH`, `MACHINE_OUT_OF_ORDER`.
    #[wasm_bindgen(js_name = provideKms)]
    pub fn provide_kms(
        &mut self,
        id: u32,
        reply: &Uint8Array,
        key_id: Option<String>,
    ) -> Answer<()> {
        let reply = read(reply);
        self.machine
            .provide_kms(id, reply.expose(), key_id.as_deref())
            .map_err(thrown)
    }

    /// The result, once.
    ///
    /// # Errors
    /// `MACHINE_OUT_OF_ORDER`.
    pub fn output(&mut self) -> Answer<Uint8Array> {
        self.machine
            .output()
            .map(|output| write(output.expose()))
            .map_err(thrown)
    }
}
