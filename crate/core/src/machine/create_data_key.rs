//! New data keys, and the probe that shows whether a master key works.

use alloc::{rc::Rc, string::String, vec::Vec};

use super::{
    Context, Machine, Step, Work,
    kms_round::{KmsReply, KmsRound},
};
use crate::{
    engine::Wrapping,
    error::{Code, Error, Result},
    key_vault::{KeyDocument, KeyId, MasterKey, WrappedKeyMaterial, check_new_alt_names},
    secret::{KeyMaterial, SecretBytes},
    value_cipher::DataKey,
};

struct CreateDataKey {
    id: KeyId,
    key_alt_names: Vec<String>,
    master_key: MasterKey,
    now_ms: i64,
    material: KeyMaterial,
    /// Whether operations on values may use the material without asking the KMS for it.
    keep: bool,
    wrapped: Option<WrappedKeyMaterial>,
    done: bool,
    round: KmsRound,
    document: Option<Vec<u8>>,
}

struct Probe {
    material: KeyMaterial,
    master_key: MasterKey,
    unwrapping: bool,
    done: bool,
    round: KmsRound,
}

/// Admits a master key, and wraps here or adds a request to the round. Every new wrapping of this interface goes through
/// here.
///
/// Errors: `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`, `KMS_PROVIDER_NOT_CONFIGURED`, `CRYPTO_RANDOM_UNAVAILABLE`.
pub(super) fn wrap_or_ask(
    context: &mut Context<'_>,
    round: &mut KmsRound,
    material: &KeyMaterial,
    master_key: &MasterKey,
    key_id: Option<&KeyId>,
    key_alt_names: &[String],
) -> Result<Option<WrappedKeyMaterial>> {
    context.engine.admission().check_target(master_key)?;
    match context.engine.wrapping(master_key.provider())? {
        Wrapping::Local(local) => Ok(Some(WrappedKeyMaterial::new(
            local.wrap(material, context.entropy)?,
        ))),
        Wrapping::Remote => {
            round.wrap(
                KeyMaterial::copy_from(material.expose())?,
                master_key,
                key_id,
                key_alt_names,
            );
            Ok(None)
        }
    }
}

/// The stored descriptor: a KMIP server may have made the object whose id goes in.
pub(crate) fn with_reply_key_id(master_key: MasterKey, kmip_key_id: Option<String>) -> MasterKey {
    match kmip_key_id {
        Some(id) => master_key.with_kmip_key_id(id),
        None => master_key,
    }
}

impl Machine {
    /// Makes a data key: 96 random bytes, or `key_material`, wrapped under a master key. The wrapping is unwrapped again and
    /// compared in constant time before the document is given out.
    ///
    /// Shape: `master_key` = `{provider, ...}`; out: the key document to insert.
    /// Errors: `MASTER_KEY_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`, `KMS_PROVIDER_NOT_CONFIGURED`,
    /// `KEY_ALT_NAME_INVALID`, `CRYPTO_RANDOM_UNAVAILABLE`, `KMS_REPLY_LENGTH`, `KMS_REPLY_MISMATCH`.
    pub fn create_data_key(
        context: &mut Context<'_>,
        master_key: &[u8],
        key_alt_names: Vec<String>,
        key_material: Option<KeyMaterial>,
    ) -> Result<Self> {
        Self::new_data_key(context, master_key, key_alt_names, key_material, false)
    }

    /// As [`Machine::create_data_key`]; operations on values use the material that was made, whatever a KMS says later.
    pub fn create_and_keep_data_key(
        context: &mut Context<'_>,
        master_key: &[u8],
        key_alt_names: Vec<String>,
    ) -> Result<Self> {
        Self::new_data_key(context, master_key, key_alt_names, None, true)
    }

    fn new_data_key(
        context: &mut Context<'_>,
        master_key: &[u8],
        key_alt_names: Vec<String>,
        key_material: Option<KeyMaterial>,
        keep: bool,
    ) -> Result<Self> {
        let master_key = MasterKey::from_bytes(master_key)?;
        check_new_alt_names(&key_alt_names)?;
        let material = match key_material {
            Some(material) => material,
            None => KeyMaterial::fill_with(|out| context.entropy.fill(out))?,
        };
        let mut random = [0; 16];
        context.entropy.fill(&mut random)?;
        let id = KeyId::v4_from_random(random);
        let mut round = KmsRound::default();
        let wrapped = wrap_or_ask(
            context,
            &mut round,
            &material,
            &master_key,
            Some(&id),
            &key_alt_names,
        )
        .map_err(|error| {
            if error.code() != Code::KmsProviderNotConfigured {
                return error;
            }
            let provider = master_key.provider();
            // The space before the closing backtick is missing in the reference too.
            Error::new(
                Code::KmsProviderNotConfigured,
                alloc::format!(
                    "requested kms provider required by datakey is not configured: `{provider}`"
                ),
            )
            .with("provider", provider)
        })?;
        Ok(Self::new(CreateDataKey {
            id,
            key_alt_names,
            master_key,
            now_ms: context.now_ms as i64,
            material,
            keep,
            wrapped,
            done: false,
            round,
            document: None,
        }))
    }

    /// Wraps 96 random bytes under a master key, unwraps them again and compares. Out: an empty document.
    ///
    /// Errors: those of [`Machine::create_data_key`]; `KMS_REPLY_MISMATCH` when other bytes come back.
    pub fn probe(context: &mut Context<'_>, master_key: &[u8]) -> Result<Self> {
        let master_key = MasterKey::from_bytes(master_key)?;
        let material = KeyMaterial::fill_with(|out| context.entropy.fill(out))?;
        let mut round = KmsRound::default();
        let done = wrap_or_ask(context, &mut round, &material, &master_key, None, &[])?.is_some();
        Ok(Self::new(Probe {
            material,
            master_key,
            unwrapping: false,
            done,
            round,
        }))
    }
}

impl CreateDataKey {
    /// Builds the document, when the wrapping is proven.
    fn finish(&mut self, context: &mut Context<'_>, wrapped: WrappedKeyMaterial) -> Result<()> {
        let names = &self.key_alt_names;
        let master_key = self.master_key.clone();
        let document = KeyDocument::build(self.id, names, wrapped, self.now_ms, master_key)?;
        self.document = Some(document.to_bytes()?);
        self.done = true;
        if self.keep {
            let host = context.engine.host;
            let key = Rc::new(DataKey::with_host(self.id, &self.material, host));
            // Without its names: whether the key vault takes them is not known yet.
            let now_ms = context.now_ms;
            context.engine.cache.insert(key, Vec::new(), now_ms);
        }
        Ok(())
    }
}

impl Work for CreateDataKey {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Step> {
        if self.done {
            return Ok(Step::Done);
        }
        if !self.round.is_answered() {
            return Ok(Step::NeedKms);
        }
        let found = match self.round.take_replies().pop() {
            Some(KmsReply::Wrapped(wrapped, kmip_key_id)) if self.wrapped.is_none() => {
                self.master_key = with_reply_key_id(self.master_key.clone(), kmip_key_id);
                self.master_key.check_usable()?;
                let (id, names) = (Some(&self.id), &self.key_alt_names);
                self.round.unwrap(&wrapped, &self.master_key, id, names);
                self.wrapped = Some(wrapped);
                return Ok(Step::NeedKms);
            }
            Some(KmsReply::Unwrapped(material)) => Some(material),
            _ => match (
                context.engine.wrapping(self.master_key.provider())?,
                &self.wrapped,
            ) {
                (Wrapping::Local(local), Some(wrapped)) => Some(local.unwrap(wrapped.as_bytes())?),
                _ => None,
            },
        };
        match (found, self.wrapped.take()) {
            (Some(material), Some(wrapped)) if material.ct_eq(&self.material) => {
                self.finish(context, wrapped)?;
                Ok(Step::Done)
            }
            _ => Err(mismatch(self.master_key.provider()).with("keyId", self.id)),
        }
    }

    fn round(&mut self) -> Option<&mut KmsRound> {
        Some(&mut self.round)
    }

    fn output(&mut self) -> Option<SecretBytes> {
        self.document.take().map(SecretBytes::adopt)
    }
}

impl Work for Probe {
    fn step(&mut self, _context: &mut Context<'_>) -> Result<Step> {
        if self.done {
            return Ok(Step::Done);
        }
        if !self.round.is_answered() {
            return Ok(Step::NeedKms);
        }
        match self.round.take_replies().pop() {
            Some(KmsReply::Wrapped(wrapped, kmip_key_id)) if !self.unwrapping => {
                let master_key = with_reply_key_id(self.master_key.clone(), kmip_key_id);
                self.round.unwrap(&wrapped, &master_key, None, &[]);
                self.unwrapping = true;
                Ok(Step::NeedKms)
            }
            Some(KmsReply::Unwrapped(material)) if material.ct_eq(&self.material) => {
                self.done = true;
                Ok(Step::Done)
            }
            _ => Err(mismatch(self.master_key.provider())),
        }
    }

    fn round(&mut self) -> Option<&mut KmsRound> {
        Some(&mut self.round)
    }

    fn output(&mut self) -> Option<SecretBytes> {
        self.done
            .then(|| SecretBytes::adopt(alloc::vec![5, 0, 0, 0, 0]))
    }
}

pub(super) fn mismatch(provider: impl alloc::string::ToString) -> Error {
    Error::new(
        Code::KmsReplyMismatch,
        "the KMS unwrapped other key material than it was given to wrap; the new wrapping was discarded",
    )
    .with("provider", provider)
}
