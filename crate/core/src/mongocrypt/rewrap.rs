//! The same data keys under other master keys.

use alloc::vec::Vec;

use bson::{
    raw::{RawArrayBuf, RawBinaryRef, RawDocumentBuf, cstr},
    spec::BinarySubtype,
};

use super::{
    Call, MongoCryptContext, State,
    data_key::{check_configured, read_master_key, read_wrapped, wrap_or_ask},
    key_broker::KeyBroker,
    kms_phase::KmsPhase,
    operation::Operation,
};
use crate::{
    error::{Code, Error, Result},
    key_vault::{KeyId, MasterKey, WrappedKeyMaterial},
    secret::SecretBytes,
};

struct Rewrapped {
    id: KeyId,
    master_key: MasterKey,
    wrapped: Option<WrappedKeyMaterial>,
}

struct Rewrap {
    filter: Vec<u8>,
    /// Absent: every key stays under its own master key.
    target: Option<MasterKey>,
    keys: Vec<Rewrapped>,
    /// The second phase: wrapping. The first one, unwrapping, is the broker's.
    wrapping: Option<KmsPhase>,
    is_complete: bool,
}

impl MongoCryptContext {
    /// Rewraps the data keys that `filter` finds, under `master_key` or each under its own.
    ///
    /// Shape: out `{v: [{keyMaterial, masterKey, _id}]}`, in the order in which the documents were fed. Without documents
    /// there is no result: the context is done at once.
    ///
    /// DIFFERS: what is unwrapped is always what was fed. libmongocrypt takes a cached key together with the `masterKey`
    /// it was cached with, so that a rewrap may revert what another process did meanwhile.
    ///
    /// Errors: `MASTER_KEY_INVALID`, `KMS_*`.
    pub fn rewrap(call: &mut Call<'_>, filter: &[u8], master_key: Option<&[u8]>) -> Result<Self> {
        let target = master_key.map(read_master_key).transpose()?;
        let mut broker = KeyBroker::new(call);
        if let Some(master_key) = &target {
            call.library.admission().check_target(master_key)?;
            check_configured(master_key, broker.providers())?;
        }
        broker.request_any();
        let state = broker.state_after_requests();
        let operation = Rewrap {
            filter: filter.to_vec(),
            target,
            keys: Vec::new(),
            wrapping: None,
            is_complete: false,
        };
        Ok(Self::begin(state, operation, broker))
    }
}

impl Operation for Rewrap {
    fn filter(&self) -> Option<&[u8]> {
        Some(&self.filter)
    }

    fn keys_complete(&mut self, call: &mut Call<'_>, broker: &mut KeyBroker) -> Result<State> {
        let fed = broker.take_fed();
        if fed.is_empty() {
            return Ok(State::Done);
        }
        let mut wrapping = KmsPhase::new(broker.kms().end());
        for key in fed {
            let id = key.document.id;
            let material = key
                .material
                .ok_or_else(|| Error::new(Code::MachineOutOfOrder, "a key is not unwrapped yet"))?;
            let master_key = self.target.clone().unwrap_or(key.document.master_key);
            let wrapped = wrap_or_ask(
                call,
                broker.providers(),
                &mut wrapping,
                &material,
                &master_key,
            )
            .map_err(|error| error.with("keyId", id))?;
            self.keys.push(Rewrapped {
                id,
                master_key,
                wrapped,
            });
        }
        if !wrapping.has_requests() {
            self.is_complete = true;
            return Ok(State::Ready);
        }
        wrapping.begin(call)?;
        self.wrapping = Some(wrapping);
        Ok(State::NeedKms)
    }

    fn kms(&mut self) -> Option<&mut KmsPhase> {
        self.wrapping.as_mut()
    }

    fn kms_complete(&mut self, _call: &mut Call<'_>) -> Result<State> {
        let replies = match &mut self.wrapping {
            Some(wrapping) => wrapping.take_replies()?,
            None => Vec::new(),
        };
        let asked = self.keys.iter_mut().filter(|key| key.wrapped.is_none());
        for (key, reply) in asked.zip(replies) {
            let (master_key, wrapped) = read_wrapped(key.master_key.clone(), reply)?;
            key.master_key = master_key;
            key.wrapped = Some(wrapped);
        }
        self.is_complete = true;
        Ok(State::Ready)
    }

    fn has_result(&self) -> bool {
        self.is_complete
    }

    fn finalize(&mut self, _call: &mut Call<'_>, _broker: &KeyBroker) -> Result<SecretBytes> {
        let mut items = RawArrayBuf::new();
        for key in &self.keys {
            let wrapped = key.wrapped.as_ref().ok_or_else(|| {
                Error::new(
                    Code::MachineOutOfOrder,
                    "failed to encrypt datakey with new provider",
                )
            })?;
            let mut item = RawDocumentBuf::new();
            item.append(
                cstr!("keyMaterial"),
                RawBinaryRef {
                    subtype: BinarySubtype::Generic,
                    bytes: wrapped.as_bytes(),
                },
            );
            item.append(cstr!("masterKey"), key.master_key.to_stored()?);
            item.append(cstr!("_id"), key.id.to_bson());
            items.push(item);
        }
        let mut output = RawDocumentBuf::new();
        output.append(cstr!("v"), items);
        Ok(SecretBytes::adopt(output.into_bytes()))
    }
}
