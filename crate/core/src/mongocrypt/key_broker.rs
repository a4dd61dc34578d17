//! From key ids and alternate names to unwrapped data keys, in the order libmongocrypt asks for them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    string::String,
    vec::Vec,
};

use super::{Call, State, kms_phase::KmsPhase};
use crate::{
    crypto::LocalMasterKey,
    error::{Code, Error, Result},
    key_vault::{KeyDocument, KeyId, keys_filter},
    kms::{
        KmsOperation,
        wire::{Credentials, KmsProviders, WireReply, WireRequest},
    },
    machine::key_lookup::{KeyReference, KeyRing},
    secret::KeyMaterial,
    value_cipher::DataKey,
};

struct Wanted {
    reference: KeyReference,
    is_there: bool,
}

/// A key document that was fed, and its key once it is unwrapped.
pub(super) struct FedKey {
    pub(super) document: KeyDocument,
    pub(super) material: Option<KeyMaterial>,
}

/// The keys of one context.
pub(super) struct KeyBroker {
    providers: Rc<KmsProviders>,
    wanted: Vec<Wanted>,
    /// Where in `wanted` a reference is: replies name as many keys as their server likes.
    asked: BTreeMap<KeyReference, usize>,
    /// Whether any key is welcome: the filter is the caller's.
    takes_any: bool,
    filter: Option<Vec<u8>>,
    ring: KeyRing,
    fed: Vec<FedKey>,
    fed_ids: BTreeSet<KeyId>,
    fed_names: BTreeSet<String>,
    kms: KmsPhase,
}

impl KeyBroker {
    pub(super) fn new(call: &Call<'_>) -> Self {
        Self {
            providers: call.library.providers(),
            wanted: Vec::new(),
            asked: BTreeMap::new(),
            takes_any: false,
            filter: None,
            ring: KeyRing::default(),
            fed: Vec::new(),
            fed_ids: BTreeSet::new(),
            fed_names: BTreeSet::new(),
            kms: KmsPhase::new(0),
        }
    }

    pub(super) fn providers(&self) -> &KmsProviders {
        &self.providers
    }

    pub(super) fn use_credentials(&mut self, answer: &KmsProviders) {
        self.providers = Rc::new(self.providers.with_answer(answer));
    }

    /// Asks for a key, once; the cache may have it.
    pub(super) fn request(&mut self, call: &mut Call<'_>, reference: KeyReference) {
        if self.asked.contains_key(&reference) {
            return;
        }
        let cached = match &reference {
            KeyReference::Id(id) => call.library.keys.by_id(id, call.now_ms),
            KeyReference::AltName(name) => call.library.keys.by_name(name, call.now_ms),
        };
        let is_there = cached.is_some();
        if let Some(key) = cached {
            if let KeyReference::AltName(name) = &reference {
                self.ring.add_name(name.clone(), *key.id());
            }
            self.ring.add(key);
        }
        self.asked.insert(reference.clone(), self.wanted.len());
        self.wanted.push(Wanted {
            reference,
            is_there,
        });
    }

    /// Takes every key that is fed.
    pub(super) fn request_any(&mut self) {
        self.takes_any = true;
    }

    /// Whether a key was asked for, be it cached.
    pub(super) fn was_asked(&self) -> bool {
        !self.wanted.is_empty()
    }

    pub(super) fn wants_documents(&self) -> bool {
        self.takes_any || self.wanted.iter().any(|wanted| !wanted.is_there)
    }

    /// Where a context goes when it has asked for all its keys.
    pub(super) fn state_after_requests(&self) -> State {
        if !self.wants_documents() {
            State::Ready
        } else if self.wants_credentials() {
            State::NeedKmsCredentials
        } else {
            State::NeedMongoKeys
        }
    }

    /// COMPAT: one provider without credentials is enough, be it another than the keys'.
    pub(super) fn wants_credentials(&self) -> bool {
        !self.providers.on_demand().is_empty()
    }

    /// COMPAT: whatever is fed meanwhile, the filter stays as it was when it was first asked for.
    pub(super) fn filter(&mut self) -> Vec<u8> {
        if let Some(filter) = &self.filter {
            return filter.clone();
        }

        let missing = || self.wanted.iter().filter(|wanted| !wanted.is_there);
        let ids: Vec<KeyId> = missing()
            .filter_map(|wanted| match &wanted.reference {
                KeyReference::Id(id) => Some(*id),
                KeyReference::AltName(_) => None,
            })
            .collect();
        let names: Vec<&str> = missing()
            .filter_map(|wanted| match &wanted.reference {
                KeyReference::AltName(name) => Some(name.as_str()),
                KeyReference::Id(_) => None,
            })
            .collect();
        let filter = keys_filter(&ids, &names).into_bytes();
        self.filter = Some(filter.clone());
        filter
    }

    /// Takes a key document. A local key is unwrapped, and cached, at once.
    ///
    /// Errors: `KEY_VAULT_*`, `KMS_*`, `CRYPTO_*`.
    pub(super) fn add_document(&mut self, call: &mut Call<'_>, bytes: &[u8]) -> Result<()> {
        let document = KeyDocument::parse(bytes)?;
        // COMPAT: a key that is there counts as asked for, so that its document under other names is a duplicate.
        let mut is_wanted = self.takes_any || self.fed_ids.contains(&document.id);
        if let Some(index) = self.asked.get(&KeyReference::Id(document.id)) {
            is_wanted = true;
            self.wanted[*index].is_there = true;
        }
        for name in &document.key_alt_names {
            if let Some(index) = self.asked.get(&KeyReference::AltName(name.clone())) {
                is_wanted = true;
                self.wanted[*index].is_there = true;
                self.ring.add_name(name.clone(), document.id);
            }
        }
        if !is_wanted {
            return Err(Error::new(
                Code::KeyVaultUnexpectedKey,
                "unexpected key returned, does not match any requests",
            )
            .with("keyId", document.id));
        }
        self.refuse_duplicate(&document)?;
        let material = self
            .unwrap(call, &document)
            .map_err(|error| error.with("keyId", document.id))?;
        let fed = FedKey { document, material };
        self.take_key(call, &fed);
        self.fed.push(fed);
        Ok(())
    }

    /// Puts a key where it is found, if it is unwrapped.
    fn take_key(&mut self, call: &mut Call<'_>, fed: &FedKey) {
        let Some(material) = &fed.material else {
            return;
        };
        let host = call.library.host;
        let key = Rc::new(DataKey::with_host(fed.document.id, material, host));
        let names = fed.document.key_alt_names.clone();
        call.library
            .keys
            .insert(Rc::clone(&key), names, call.now_ms);
        self.ring.add(key);
    }

    fn refuse_duplicate(&mut self, document: &KeyDocument) -> Result<()> {
        let is_new = self.fed_ids.insert(document.id)
            & document
                .key_alt_names
                .iter()
                .all(|name| self.fed_names.insert(name.clone()));
        match is_new {
            true => Ok(()),
            false => Err(Error::new(
                Code::KeyVaultDuplicateKey,
                "keys returned have duplicate keyAltNames or _id",
            )
            .with("keyId", document.id)),
        }
    }

    /// Admits a key document, and unwraps a local key; of any other one the KMS is asked. Every key document of this
    /// interface goes through here.
    fn unwrap(
        &mut self,
        call: &mut Call<'_>,
        document: &KeyDocument,
    ) -> Result<Option<KeyMaterial>> {
        call.library.admission().check_stored(document)?;
        let master_key = &document.master_key;
        if let Credentials::Local(key) = &**self.providers.credentials(master_key.provider())? {
            return LocalMasterKey::new(key)
                .unwrap(document.key_material.as_bytes())
                .map(Some);
        }
        master_key.check_usable()?;
        let operation = KmsOperation::Unwrap(document.key_material.clone());
        let mut request = WireRequest::new(operation, master_key.clone(), &self.providers)?;
        if call.library.admission().is_pinned() {
            request.bind_master_key();
        }
        self.kms.add_begun(call, request)?;
        Ok(None)
    }

    /// The vault has no more documents.
    ///
    /// Errors: `KEY_VAULT_KEY_NOT_FOUND`.
    pub(super) fn finish_documents(&mut self) -> Result<()> {
        // COMPAT: requests are told of from the last document to the first.
        self.kms.reverse();
        match self.wanted.iter().all(|wanted| wanted.is_there) {
            true => Ok(()),
            false => Err(Error::new(
                Code::KeyVaultKeyNotFound,
                "not all keys requested were satisfied. Verify that key vault DB/collection name was correctly \
                 specified.",
            )),
        }
    }

    pub(super) fn wants_kms(&self) -> bool {
        self.fed.iter().any(|fed| fed.material.is_none())
    }

    pub(super) fn kms(&mut self) -> &mut KmsPhase {
        &mut self.kms
    }

    /// Caches the keys that a KMS had unwrapped before the first request that failed.
    /// COMPAT: the context is lost, those keys are not, unless it was for want of a token.
    pub(super) fn keep_unwrapped(&mut self, call: &mut Call<'_>) {
        if self.kms.is_fetching() {
            return;
        }
        let replies = self.kms.take_first_replies();
        self.take_unwrapped(call, replies);
    }

    /// Takes the replies of the KMS.
    pub(super) fn unwrap_all(&mut self, call: &mut Call<'_>) -> Result<()> {
        if self.wants_kms() {
            let replies = self.kms.take_replies()?;
            self.take_unwrapped(call, replies);
        }
        // Nobody looks at the documents any more, unless it is they that were asked for.
        if !self.takes_any {
            self.fed.clear();
        }
        Ok(())
    }

    /// Caches the keys from the last document to the first, up to one that was not unwrapped.
    ///
    /// COMPAT: local keys, which were cached when they were fed, are so again. They push out keys of the same name that
    /// came meanwhile.
    fn take_unwrapped(&mut self, call: &mut Call<'_>, replies: Vec<WireReply>) {
        let mut fed = self.take_fed();
        let mut replies = replies.into_iter();
        for key in fed.iter_mut().rev() {
            if key.material.is_none() {
                match replies.next() {
                    Some(WireReply::Unwrapped(material)) => key.material = Some(material),
                    _ => break,
                }
            }
            self.take_key(call, key);
        }
        self.fed = fed;
    }

    pub(super) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Wipes the keys.
    pub(super) fn forget(&mut self) {
        self.ring = KeyRing::default();
        self.fed.clear();
    }

    /// The documents in the order in which they were fed, with their keys.
    pub(super) fn take_fed(&mut self) -> Vec<FedKey> {
        core::mem::take(&mut self.fed)
    }
}
