//! Operations on the key vault itself: rewrap data keys, compare their material. They never use the key cache: a cached
//! key may carry the master key of yesterday.

use alloc::{borrow::ToOwned, collections::VecDeque, rc::Rc, vec::Vec};

use bson::raw::{RawArrayBuf, RawDocument, RawDocumentBuf, cstr};
use subtle::ConstantTimeEq;

use super::{
    Context, Machine, Step, Work,
    create_data_key::{mismatch, with_reply_key_id, wrap_or_ask},
    key_lookup::unwrap_local,
    key_proof::open_each,
    kms_round::{KmsReply, KmsRound},
};
use crate::{
    engine::Wrapping,
    error::{Code, Error, Result},
    key_vault::{KeyDocument, MasterKey, WrappedKeyMaterial, check_unique},
    raw::split_documents,
    secret::{KeyMaterial, SecretBytes},
    value_cipher::DataKey,
};

/// Length in bytes of a fingerprint.
const FINGERPRINT_LEN: usize = 32;

/// What happens to each unwrapped key.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one per operation, so its size does not matter"
)]
enum Purpose {
    /// Wrap it under `target`, or under its own master key again.
    Rewrap {
        target: Option<MasterKey>,
        /// The fingerprint of the only right material. Without it the old wrapping is unwrapped twice.
        expected: Option<[u8; FINGERPRINT_LEN]>,
        /// Encrypted values that what a KMS unwraps has to open.
        values: Vec<u8>,
    },
    /// Tell its fingerprint, and which of `values` it opens.
    Fingerprint {
        values: Vec<u8>,
        /// Whether operations on values may use this very material from now on.
        keep: bool,
    },
}

/// Where the machine is. Each round of KMS requests belongs to one of these.
#[derive(PartialEq, Eq)]
enum Phase {
    Finding,
    Unwrapping,
    Confirming,
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
    fingerprint: [u8; FINGERPRINT_LEN],
    /// Values under this key that were tried, and how many of them it opened.
    tried: i32,
    opened: i32,
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
    /// No answer of a KMS is believed: the material is compared with the fingerprint `expected` of this engine, or, where
    /// that is not known, with a second answer for the old wrapping; it has to open one of those `values` (one document)
    /// that are under the key, as in [`Machine::fingerprint`]; then the new wrapping is unwrapped and compared with
    /// it. All comparisons take constant time. One that fails gives out nothing.
    /// Errors: those of creating a data key and of reading key documents; `KMS_REPLY_MISMATCH`;
    /// `CRYPTO_AUTHENTICATION_FAILED` for material that opens none of its values; `OPTION_INVALID` for a fingerprint that
    /// is none; `BSON_*` for `values`.
    pub fn rewrap(
        filter: &[u8],
        master_key: Option<&[u8]>,
        expected: Option<&[u8]>,
        values: &[u8],
    ) -> Result<Self> {
        crate::raw::elements(values)?;
        let target = master_key.map(MasterKey::from_bytes).transpose()?;
        let expected = expected
            .map(|bytes| {
                bytes.try_into().map_err(|_| {
                    Error::new(Code::OptionInvalid, "a fingerprint has 32 bytes")
                        .with("found", bytes.len())
                })
            })
            .transpose()?;
        let values = values.to_vec();
        Self::vault(
            filter,
            Purpose::Rewrap {
                target,
                expected,
                values,
            },
        )
    }

    /// Tells for each data key that `filter` finds a fingerprint of its unwrapped material, and how many of `values` are
    /// under it and open with it. With `keep`, the same material serves operations on values from now on.
    ///
    /// A deterministic value opens when its plaintext gives the same initialisation vector again: a random one says nothing
    /// about the third of the material that derives it. So deterministic values alone count where there are any.
    ///
    /// Shape: `values` = one document, searched at any depth. Out `{v: [{_id, fingerprint: binary (32 bytes), masterKey,
    /// tried, opened}]}`. Equal fingerprints of one engine mean equal material; they tell nothing else, since they are
    /// keyed by random bytes that never leave the engine.
    /// Errors: those of reading key documents; `BSON_*` for `values`.
    pub fn fingerprint(filter: &[u8], values: &[u8], keep: bool) -> Result<Self> {
        crate::raw::elements(values)?;
        let values = values.to_vec();
        Self::vault(filter, Purpose::Fingerprint { values, keep })
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
                Phase::Confirming => {
                    self.check_confirmed()?;
                    self.wrap(context)?;
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
                fingerprint: [0; FINGERPRINT_LEN],
                tried: 0,
                opened: 0,
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
            Purpose::Fingerprint { values, keep } => {
                for key in &mut self.keys {
                    if let Some(material) = key.material.take() {
                        key.fingerprint = context.engine.fingerprint(&material, context.entropy)?;
                        let host = context.engine.host;
                        let data_key = DataKey::with_host(key.document.id, &material, host);
                        (key.tried, key.opened) = open_each(values, &data_key)?;
                        if *keep {
                            let (data_key, now_ms) = (Rc::new(data_key), context.now_ms);
                            context.engine.cache.insert(data_key, Vec::new(), now_ms);
                        }
                    }
                }
                self.finish()
            }
            Purpose::Rewrap {
                expected: Some(expected),
                values,
                ..
            } => {
                require_proof(context, &self.keys, values)?;
                for key in &self.keys {
                    let Some(material) = &key.material else {
                        continue;
                    };
                    let found = context.engine.fingerprint(material, context.entropy)?;
                    if !bool::from(found.ct_eq(expected)) {
                        return Err(differs(key));
                    }
                }
                self.wrap(context)
            }
            Purpose::Rewrap {
                expected: None,
                values,
                ..
            } => {
                require_proof(context, &self.keys, values)?;
                for (index, key) in self.keys.iter().enumerate() {
                    let document = &key.document;
                    let provider = document.master_key.provider();
                    if let Wrapping::Remote = context.engine.wrapping(provider)? {
                        self.round.unwrap(
                            &document.key_material,
                            &document.master_key,
                            Some(&document.id),
                            &document.key_alt_names,
                        );
                        self.asked.push_back(index);
                    }
                }
                self.phase = Phase::Confirming;
                Ok(())
            }
        }
    }

    fn check_confirmed(&mut self) -> Result<()> {
        for (index, reply) in self.replies().collect::<Vec<_>>() {
            if !self.is_material_of(index, &reply) {
                return Err(differs(&self.keys[index]));
            }
        }
        Ok(())
    }

    fn is_material_of(&self, index: usize, reply: &KmsReply) -> bool {
        match (reply, &self.keys[index].material) {
            (KmsReply::Unwrapped(found), Some(expected)) => found.ct_eq(expected),
            _ => false,
        }
    }

    fn wrap(&mut self, context: &mut Context<'_>) -> Result<()> {
        let Purpose::Rewrap { target, .. } = &self.purpose else {
            return Ok(());
        };
        for (index, key) in self.keys.iter_mut().enumerate() {
            let Some(material) = &key.material else {
                continue;
            };
            if let Some(target) = target {
                key.new_master_key = target.clone();
            }
            let (document, round) = (&key.document, &mut self.round);
            let (id, names) = (Some(&document.id), &document.key_alt_names);
            key.rewrapped = wrap_or_ask(context, round, material, &key.new_master_key, id, names)
                .map_err(|error| error.with("keyId", document.id))?;
            if key.rewrapped.is_none() {
                self.asked.push_back(index);
            }
        }
        self.phase = Phase::Wrapping;
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
            if !self.is_material_of(index, &reply) {
                let key = &self.keys[index];
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
                Purpose::Fingerprint { .. } => {
                    item.append(cstr!("fingerprint"), generic(&key.fingerprint));
                    item.append(cstr!("masterKey"), document.master_key.to_raw());
                    item.append(cstr!("tried"), key.tried);
                    item.append(cstr!("opened"), key.opened);
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

/// Refuses what a KMS unwrapped when values are under the key and it opens none of them. The wrapping under a local
/// master key authenticates itself.
fn require_proof(context: &Context<'_>, keys: &[VaultKey], values: &[u8]) -> Result<()> {
    for key in keys {
        let provider = key.document.master_key.provider();
        let Some(material) = &key.material else {
            continue;
        };
        if !matches!(context.engine.wrapping(provider)?, Wrapping::Remote) {
            continue;
        }
        let data_key = DataKey::with_host(key.document.id, material, context.engine.host);
        let (tried, opened) = open_each(values, &data_key)?;
        if tried > 0 && opened == 0 {
            return Err(Error::new(
                Code::CryptoAuthenticationFailed,
                "the KMS unwrapped the data key to key material that opens none of the values under it; nothing was wrapped",
            )
            .with("provider", provider)
            .with("keyId", key.document.id)
            .with("tried", tried));
        }
    }
    Ok(())
}

fn differs(key: &VaultKey) -> Error {
    let document = &key.document;
    Error::new(
        Code::KmsReplyMismatch,
        "the KMS unwrapped the data key to other key material than before; nothing was wrapped",
    )
    .with("provider", document.master_key.provider())
    .with("keyId", document.id)
}

fn generic(bytes: &[u8]) -> bson::raw::RawBinaryRef<'_> {
    bson::raw::RawBinaryRef {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes,
    }
}
