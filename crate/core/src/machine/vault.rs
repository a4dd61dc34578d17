//! Operations on the key vault itself: rewrap data keys, compare their material. They never use the key cache: a cached
//! key may carry the master key of yesterday.

use alloc::{borrow::ToOwned, collections::VecDeque, vec::Vec};

use bson::raw::{RawArrayBuf, RawDocument, RawDocumentBuf, cstr};

use super::{
    Context, Machine, Step, Work,
    create_data_key::{mismatch, with_reply_key_id, wrap_or_ask},
    key_lookup::unwrap_local,
    kms_round::{KmsReply, KmsRound},
};
use crate::{
    engine::Wrapping,
    error::{Code, Error, Result},
    key_vault::{KeyDocument, MasterKey, WrappedKeyMaterial, check_unique},
    raw::split_documents,
    secret::{KeyMaterial, SecretBytes},
};

/// What happens to each unwrapped key.
enum Purpose {
    /// Wrap it under `target`, or under its own master key again; with `verify`, prove the new wrapping.
    Rewrap {
        target: Option<MasterKey>,
        verify: bool,
    },
    /// Tell its fingerprint.
    Fingerprint,
}

/// Where the machine is. Each round of KMS requests belongs to one of these.
#[derive(PartialEq, Eq)]
enum Phase {
    Finding,
    Unwrapping,
    Wrapping,
    Verifying,
    Done,
}

struct VaultKey {
    document: KeyDocument,
    /// `masterKey` as it is stored, whatever its order of fields and spelling of endpoints: a conditional write compares
    /// with it.
    stored_master_key: RawDocumentBuf,
    material: Option<KeyMaterial>,
    new_master_key: MasterKey,
    rewrapped: Option<WrappedKeyMaterial>,
    fingerprint: [u8; 32],
}

struct Vault {
    filter: Vec<u8>,
    purpose: Purpose,
    phase: Phase,
    keys: Vec<VaultKey>,
    /// Indexes of the keys that the requests of the round are about, in order.
    asked: VecDeque<usize>,
    round: KmsRound,
    output: Option<Vec<u8>>,
}

impl Machine {
    /// Wraps the data keys that `filter` finds under another master key, or freshly under their own.
    ///
    /// Shape: out `{v: [{_id, keyMaterial, masterKey, previousKeyMaterial, previousMasterKey}]}`, in the order provided.
    /// With `verify`, each new wrapping is unwrapped again and compared in constant time before it is given out.
    /// Errors: those of creating a data key and of reading key documents; `KMS_REPLY_MISMATCH`.
    pub fn rewrap(filter: &[u8], master_key: Option<&[u8]>, verify: bool) -> Result<Self> {
        let target = master_key.map(MasterKey::from_bytes).transpose()?;
        Self::vault(filter, Purpose::Rewrap { target, verify })
    }

    /// Tells for each data key that `filter` finds a fingerprint of its unwrapped material.
    ///
    /// Shape: out `{v: [{_id, fingerprint: binary (32 bytes), masterKey}]}`. Equal fingerprints of one engine mean equal
    /// material; they tell nothing else, since they are keyed by random bytes that never leave the engine.
    /// Errors: those of reading key documents.
    pub fn fingerprint(filter: &[u8]) -> Result<Self> {
        Self::vault(filter, Purpose::Fingerprint)
    }

    fn vault(filter: &[u8], purpose: Purpose) -> Result<Self> {
        crate::raw::elements(filter)?;
        Ok(Self::new(Vault {
            filter: filter.to_vec(),
            purpose,
            phase: Phase::Finding,
            keys: Vec::new(),
            asked: VecDeque::new(),
            round: KmsRound::default(),
            output: None,
        }))
    }
}

impl Work for Vault {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Step> {
        loop {
            match self.phase {
                Phase::Finding => return Ok(Step::NeedKeys),
                Phase::Done => return Ok(Step::Done),
                _ if !self.round.is_answered() => return Ok(Step::NeedKms),
                Phase::Unwrapping => {
                    self.take_unwrapped();
                    self.after_unwrapping(context)?;
                }
                Phase::Wrapping => {
                    self.take_wrapped();
                    self.after_wrapping(context)?;
                }
                Phase::Verifying => {
                    self.check_verified()?;
                    self.finish()?;
                }
            }
        }
    }

    fn filter(&self) -> &[u8] {
        &self.filter
    }

    fn provide_keys(&mut self, context: &mut Context<'_>, documents: &[u8]) -> Result<()> {
        let stored = split_documents(documents).map_err(|error| {
            Error::new(
                Code::KeyVaultDocumentMalformed,
                alloc::format!("malformed BSON for key document: {error}"),
            )
        })?;
        let documents: Vec<KeyDocument> = stored
            .iter()
            .map(|bytes| KeyDocument::parse(bytes))
            .collect::<Result<_>>()?;
        check_unique(&documents)?;
        for (index, (document, bytes)) in documents.into_iter().zip(stored).enumerate() {
            let material = unwrap_local(context, &document)?;
            if material.is_none() {
                self.round.unwrap(
                    &document.key_material,
                    &document.master_key,
                    Some(&document.id),
                    &document.key_alt_names,
                );
                self.asked.push_back(index);
            }
            self.keys.push(VaultKey {
                new_master_key: document.master_key.clone(),
                stored_master_key: stored_master_key(bytes, &document),
                document,
                material,
                rewrapped: None,
                fingerprint: [0; 32],
            });
        }
        self.phase = Phase::Unwrapping;
        Ok(())
    }

    fn round(&mut self) -> Option<&mut KmsRound> {
        Some(&mut self.round)
    }

    fn output(&mut self) -> Option<SecretBytes> {
        self.output.take().map(SecretBytes::adopt)
    }
}

impl Vault {
    fn replies(&mut self) -> impl Iterator<Item = (usize, KmsReply)> {
        core::mem::take(&mut self.asked)
            .into_iter()
            .zip(self.round.take_replies())
    }

    fn take_unwrapped(&mut self) {
        for (index, reply) in self.replies().collect::<Vec<_>>() {
            if let KmsReply::Unwrapped(material) = reply {
                self.keys[index].material = Some(material);
            }
        }
    }

    fn after_unwrapping(&mut self, context: &mut Context<'_>) -> Result<()> {
        match &self.purpose {
            Purpose::Fingerprint => {
                for key in &mut self.keys {
                    if let Some(material) = key.material.take() {
                        key.fingerprint = context.engine.fingerprint(&material, context.entropy)?;
                    }
                }
                return self.finish();
            }
            Purpose::Rewrap { target, .. } => {
                for (index, key) in self.keys.iter_mut().enumerate() {
                    let Some(material) = &key.material else {
                        continue;
                    };
                    if let Some(target) = target {
                        key.new_master_key = target.clone();
                    }
                    let (document, round) = (&key.document, &mut self.round);
                    let (id, names) = (Some(&document.id), &document.key_alt_names);
                    key.rewrapped =
                        wrap_or_ask(context, round, material, &key.new_master_key, id, names)
                            .map_err(|error| error.with("keyId", document.id))?;
                    if key.rewrapped.is_none() {
                        self.asked.push_back(index);
                    }
                }
                self.phase = Phase::Wrapping;
            }
        }
        Ok(())
    }

    fn take_wrapped(&mut self) {
        for (index, reply) in self.replies().collect::<Vec<_>>() {
            if let KmsReply::Wrapped(wrapped, kmip_key_id) = reply {
                let key = &mut self.keys[index];
                key.new_master_key = with_reply_key_id(key.new_master_key.clone(), kmip_key_id);
                key.rewrapped = Some(wrapped);
            }
        }
    }

    fn after_wrapping(&mut self, context: &mut Context<'_>) -> Result<()> {
        if !matches!(self.purpose, Purpose::Rewrap { verify: true, .. }) {
            return self.finish();
        }
        for (index, key) in self.keys.iter_mut().enumerate() {
            let (Some(wrapped), Some(material)) = (&key.rewrapped, &key.material) else {
                continue;
            };
            let document = &key.document;
            match context.engine.wrapping(key.new_master_key.provider())? {
                Wrapping::Local(local) => {
                    if !local.unwrap(wrapped.as_bytes())?.ct_eq(material) {
                        return Err(
                            mismatch(key.new_master_key.provider()).with("keyId", document.id)
                        );
                    }
                }
                Wrapping::Remote => {
                    self.round.unwrap(
                        wrapped,
                        &key.new_master_key,
                        Some(&document.id),
                        &document.key_alt_names,
                    );
                    self.asked.push_back(index);
                }
            }
        }
        self.phase = Phase::Verifying;
        Ok(())
    }

    fn check_verified(&mut self) -> Result<()> {
        for (index, reply) in self.replies().collect::<Vec<_>>() {
            let key = &self.keys[index];
            let same = match (&reply, &key.material) {
                (KmsReply::Unwrapped(found), Some(expected)) => found.ct_eq(expected),
                _ => false,
            };
            if !same {
                return Err(mismatch(key.new_master_key.provider()).with("keyId", key.document.id));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let mut items = RawArrayBuf::new();
        for key in &mut self.keys {
            key.material = None;
            let document = &key.document;
            let mut item = RawDocumentBuf::new();
            item.append(cstr!("_id"), document.id.to_bson());
            match self.purpose {
                Purpose::Fingerprint => {
                    item.append(cstr!("fingerprint"), generic(&key.fingerprint));
                    item.append(cstr!("masterKey"), document.master_key.to_raw());
                }
                Purpose::Rewrap { .. } => {
                    let rewrapped = key
                        .rewrapped
                        .as_ref()
                        .map_or(&[][..], WrappedKeyMaterial::as_bytes);
                    item.append(cstr!("keyMaterial"), generic(rewrapped));
                    item.append(cstr!("masterKey"), key.new_master_key.to_stored()?);
                    item.append(
                        cstr!("previousKeyMaterial"),
                        generic(document.key_material.as_bytes()),
                    );
                    item.append(cstr!("previousMasterKey"), &*key.stored_master_key);
                }
            }
            items.push(item);
        }
        let mut output = RawDocumentBuf::new();
        output.append(cstr!("v"), items);
        self.output = Some(output.into_bytes());
        self.phase = Phase::Done;
        Ok(())
    }
}

/// The `masterKey` of the bytes that `document` was parsed from.
fn stored_master_key(bytes: &[u8], document: &KeyDocument) -> RawDocumentBuf {
    RawDocument::from_bytes(bytes)
        .ok()
        .and_then(|stored| stored.get_document("masterKey").ok())
        .map_or_else(|| document.master_key.to_raw(), RawDocument::to_owned)
}

fn generic(bytes: &[u8]) -> bson::raw::RawBinaryRef<'_> {
    bson::raw::RawBinaryRef {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes,
    }
}
