//! What outlives one operation: providers, maps, and three caches.

use alloc::{format, rc::Rc, string::String, vec::Vec};

use super::collections::CollectionCache;
use crate::{
    crypto::{Entropy, HostPrimitives},
    error::{Code, Error, Result},
    key_cache::KeyCache,
    key_vault::Admission,
    kms::wire::{KmsProviders, TokenCache},
    raw::{check_value, element_type as ty, elements, find_field},
};

/// DIFFERS: libmongocrypt keeps any number of keys. The least recently used one makes room here.
const MAX_CACHED_KEYS: usize = 4096;

/// What a library is made from; documents are BSON.
#[derive(Default)]
pub struct MongoCryptOptions<'a> {
    /// `{<provider>: {...}}`. Required, though the binding leaves it out when it is undefined.
    pub kms_providers: Option<&'a [u8]>,
    /// `{<namespace>: <JSON schema>}`.
    pub schema_map: Option<&'a [u8]>,
    /// `{<namespace>: <encryptedFields>}`, of Queryable Encryption.
    pub encrypted_fields_map: Option<&'a [u8]>,
    /// Whether commands are sent as they are, with values that the application encrypted.
    pub bypass_query_analysis: bool,
    /// How long data keys are kept, in milliseconds; 0 = for ever.
    pub key_ttl_ms: f64,
    /// What the host lends for long values.
    pub host: Option<&'static dyn HostPrimitives>,
}

/// Providers, maps and caches. Dropping it wipes all keys, credentials and tokens.
pub struct MongoCrypt {
    providers: Rc<KmsProviders>,
    pub(super) keys: KeyCache,
    pub(super) tokens: TokenCache,
    pub(super) collections: CollectionCache,
    pub(super) schema_map: Option<Vec<u8>>,
    pub(super) encrypted_fields_map: Option<Vec<u8>>,
    pub(super) bypass_query_analysis: bool,
    admission: Admission,
    pub(super) host: Option<&'static dyn HostPrimitives>,
}

/// What the host lends to a call.
pub struct Call<'a> {
    /// The library that the context was made from.
    pub library: &'a mut MongoCrypt,
    /// The host's randomness.
    pub entropy: &'a mut dyn Entropy,
    /// Milliseconds since the Unix epoch.
    pub now_ms: f64,
}

impl MongoCrypt {
    /// Reads the options.
    ///
    /// Errors: `KMS_PROVIDERS_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`, `OPTION_INVALID`.
    pub fn new(options: &MongoCryptOptions<'_>) -> Result<Self> {
        let providers = options.kms_providers.map(KmsProviders::parse).transpose()?;
        let schema_map = options.schema_map.map(map).transpose()?;
        let encrypted_fields_map = options.encrypted_fields_map.map(map).transpose()?;
        if let (Some(schemas), Some(fields)) = (&schema_map, &encrypted_fields_map) {
            refuse_overlap(schemas, fields)?;
        }
        let providers = providers
            .ok_or_else(|| Error::new(Code::KmsProvidersInvalid, "no kms provider set"))?;
        Ok(Self {
            providers: Rc::new(providers),
            keys: KeyCache::new(options.key_ttl_ms, MAX_CACHED_KEYS),
            tokens: TokenCache::new(),
            collections: CollectionCache::default(),
            schema_map,
            encrypted_fields_map,
            bypass_query_analysis: options.bypass_query_analysis,
            admission: Admission::any_endpoint(),
            host: options.host,
        })
    }

    /// Says which master keys are used from now on. Cached keys are forgotten: they were admitted by other rules.
    pub fn set_admission(&mut self, admission: Admission) {
        self.keys.clear();
        self.admission = admission;
    }

    pub(super) const fn admission(&self) -> &Admission {
        &self.admission
    }

    pub(super) fn providers(&self) -> Rc<KmsProviders> {
        Rc::clone(&self.providers)
    }
}

fn map(bytes: &[u8]) -> Result<Vec<u8>> {
    match check_value(ty::DOCUMENT, bytes) {
        Ok(()) => Ok(bytes.to_vec()),
        Err(_) => Err(Error::new(Code::OptionInvalid, "invalid bson")),
    }
}

fn refuse_overlap(schemas: &[u8], fields: &[u8]) -> Result<()> {
    for entry in elements(schemas)? {
        let name = String::from_utf8_lossy(entry?.name).into_owned();
        if find_field(fields, &name)?.is_some() {
            return Err(Error::new(
                Code::OptionInvalid,
                format!("{name} is present in both schema_map and encrypted_field_config_map"),
            ));
        }
    }
    Ok(())
}
