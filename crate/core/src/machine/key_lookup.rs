//! From key ids and alternate names to unwrapped data keys. Shared by every machine that touches values.

use alloc::{collections::BTreeMap, format, rc::Rc, string::String, vec::Vec};

use super::{
    Context, Step,
    kms_round::{KmsReply, KmsRound},
};
use crate::{
    engine::Wrapping,
    error::{Code, Error, Result},
    key_vault::{KeyDocument, KeyId, check_unique, keys_filter},
    raw::split_documents,
    secret::KeyMaterial,
    value_cipher::DataKey,
};

/// How an operation names a data key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyReference {
    Id(KeyId),
    AltName(String),
}

/// Unwrapped keys by id and by the names that were asked for.
#[derive(Default)]
pub(crate) struct KeyRing {
    by_id: BTreeMap<KeyId, Rc<DataKey>>,
    by_name: BTreeMap<String, KeyId>,
}

impl KeyRing {
    pub(crate) fn add(&mut self, key: Rc<DataKey>) {
        self.by_id.insert(*key.id(), key);
    }

    pub(crate) fn add_name(&mut self, name: String, id: KeyId) {
        self.by_name.insert(name, id);
    }

    pub(crate) fn by_id(&self, id: &KeyId) -> Option<&DataKey> {
        self.by_id.get(id).map(|key| &**key)
    }

    pub(crate) fn get(&self, reference: &KeyReference) -> Option<&DataKey> {
        match reference {
            KeyReference::Id(id) => self.by_id(id),
            KeyReference::AltName(name) => self.by_id(self.by_name.get(name)?),
        }
    }
}

/// The lookup under way.
pub(crate) struct KeyLookup {
    ring: KeyRing,
    wanted_ids: Vec<KeyId>,
    wanted_names: Vec<String>,
    filter: Vec<u8>,
    missing_is_fine: bool,
    waiting: Vec<KeyDocument>,
    round: KmsRound,
}

impl KeyLookup {
    /// Takes what the cache holds and asks for the rest. With `missing_is_fine` absent keys are left to the operation.
    pub(crate) fn new(
        context: &mut Context<'_>,
        references: Vec<KeyReference>,
        missing_is_fine: bool,
    ) -> Self {
        let mut lookup = Self {
            ring: KeyRing::default(),
            wanted_ids: Vec::new(),
            wanted_names: Vec::new(),
            filter: Vec::new(),
            missing_is_fine,
            waiting: Vec::new(),
            round: KmsRound::default(),
        };
        let (cache, now_ms) = (&mut context.engine.cache, context.now_ms);
        for reference in references {
            match reference {
                KeyReference::Id(id) => match cache.by_id(&id, now_ms) {
                    Some(key) => drop(lookup.ring.by_id.insert(id, key)),
                    None => lookup.wanted_ids.push(id),
                },
                KeyReference::AltName(name) => match cache.by_name(&name, now_ms) {
                    Some(key) => {
                        lookup.ring.by_name.insert(name, *key.id());
                        lookup.ring.by_id.insert(*key.id(), key);
                    }
                    None => lookup.wanted_names.push(name),
                },
            }
        }
        if lookup.wants_keys() {
            let names: Vec<&str> = lookup.wanted_names.iter().map(String::as_str).collect();
            lookup.filter = keys_filter(&lookup.wanted_ids, &names).into_bytes();
        }
        lookup
    }

    fn wants_keys(&self) -> bool {
        !(self.wanted_ids.is_empty() && self.wanted_names.is_empty())
    }

    /// `Done` when the ring is complete.
    pub(crate) fn step(&mut self, context: &mut Context<'_>) -> Step {
        if self.wants_keys() {
            return Step::NeedKeys;
        }
        if !self.round.is_answered() {
            return Step::NeedKms;
        }
        let replies = self.round.take_replies();
        for (document, reply) in core::mem::take(&mut self.waiting).into_iter().zip(replies) {
            if let KmsReply::Unwrapped(material) = reply {
                self.add(context, document, &material);
            }
        }
        Step::Done
    }

    pub(crate) fn filter(&self) -> &[u8] {
        &self.filter
    }

    pub(crate) fn round(&mut self) -> &mut KmsRound {
        &mut self.round
    }

    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(crate) fn provide_keys(
        &mut self,
        context: &mut Context<'_>,
        documents: &[u8],
    ) -> Result<()> {
        let documents = split_documents(documents)
            .map_err(|error| {
                Error::new(
                    Code::KeyVaultDocumentMalformed,
                    format!("malformed BSON for key document: {error}"),
                )
            })?
            .into_iter()
            .map(KeyDocument::parse)
            .collect::<Result<Vec<_>>>()?;
        check_unique(&documents)?;
        for document in &documents {
            let names = document
                .key_alt_names
                .iter()
                .filter(|name| self.wanted_names.contains(name));
            let matching_names: Vec<String> = names.cloned().collect();
            if matching_names.is_empty() && !self.wanted_ids.contains(&document.id) {
                return Err(Error::new(
                    Code::KeyVaultUnexpectedKey,
                    "unexpected key returned, does not match any requests",
                )
                .with("keyId", document.id));
            }
            for name in matching_names {
                self.ring.by_name.insert(name, document.id);
            }
        }
        self.check_complete(&documents)?;
        self.wanted_ids.clear();
        self.wanted_names.clear();
        for document in documents {
            match unwrap_local(context, &document)? {
                Some(material) => self.add(context, document, &material),
                None => {
                    self.round.unwrap(
                        &document.key_material,
                        &document.master_key,
                        Some(&document.id),
                        &document.key_alt_names,
                    );
                    self.waiting.push(document);
                }
            }
        }
        Ok(())
    }

    fn check_complete(&self, documents: &[KeyDocument]) -> Result<()> {
        if self.missing_is_fine {
            return Ok(());
        }
        let ids: Vec<String> = self
            .wanted_ids
            .iter()
            .filter(|id| !documents.iter().any(|document| document.id == **id))
            .map(|id| format!("{id}"))
            .collect();
        let names: Vec<&str> = self
            .wanted_names
            .iter()
            .filter(|name| !self.ring.by_name.contains_key(*name))
            .map(String::as_str)
            .collect();
        if ids.is_empty() && names.is_empty() {
            return Ok(());
        }
        let mut message = String::from(
            "not all keys requested were satisfied. Verify that key vault DB/collection name was correctly specified.",
        );
        if !ids.is_empty() {
            message.push_str(&format!(" Missing key id: {}.", ids.join(", ")));
        }
        if !names.is_empty() {
            message.push_str(&format!(
                " Missing key alternate name: \"{}\".",
                names.join("\", \"")
            ));
        }
        let mut error = Error::new(Code::KeyVaultKeyNotFound, message);
        if !ids.is_empty() {
            error = error.with("keyIds", ids.join(", "));
        }
        if !names.is_empty() {
            error = error.with("keyAltNames", names.join(", "));
        }
        Err(error)
    }

    fn add(&mut self, context: &mut Context<'_>, document: KeyDocument, material: &KeyMaterial) {
        let host = context.engine.host;
        let key = DataKey::with_host(document.id, material, host);
        let key = Rc::new(key);
        context
            .engine
            .cache
            .insert(Rc::clone(&key), document.key_alt_names, context.now_ms);
        self.ring.by_id.insert(document.id, key);
    }
}

/// Admits a key document, and unwraps it here when its master key is local; `None` when the KMS must be asked. Every key
/// document of this interface goes through here.
///
/// Errors: `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`, `KMS_ENDPOINT_NOT_ALLOWED`, `KMS_PROVIDER_NOT_CONFIGURED`, `CRYPTO_AUTHENTICATION_FAILED`, `MASTER_KEY_INVALID` for KMIP without `keyId`;
/// all with the key's id and names.
pub(crate) fn unwrap_local(
    context: &mut Context<'_>,
    document: &KeyDocument,
) -> Result<Option<KeyMaterial>> {
    context.engine.admission().check_stored(document)?;
    let unwrapped = match context.engine.wrapping(document.master_key.provider()) {
        // A KMIP key without `keyId` is met here: the callback could not tell which object opens it.
        Ok(Wrapping::Remote) => document.master_key.check_usable().map(|()| None),
        Ok(Wrapping::Local(master_key)) => master_key
            .unwrap(document.key_material.as_bytes())
            .map(Some),
        Err(error) => Err(error),
    };
    unwrapped.map_err(|error| {
        let error = error
            .with("keyId", document.id)
            .with("provider", document.master_key.provider());
        match document.key_alt_names.is_empty() {
            true => error,
            false => error.with("keyAltNames", document.key_alt_names.join(", ")),
        }
    })
}
