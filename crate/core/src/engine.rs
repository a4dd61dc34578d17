//! What outlives a single operation: configured providers and cached keys.

use alloc::{format, vec::Vec};

use crate::{
    crypto::{AeadKey, Entropy, HostPrimitives, LocalMasterKey},
    error::{Code, Error, Result},
    key_cache::KeyCache,
    key_vault::Admission,
    kms::{KmsProvider, ProviderKind},
    secret::KeyMaterial,
};

/// Where a provider's master key does its work.
pub(crate) enum Wrapping {
    /// Here: the master key was given to us.
    Local(LocalMasterKey),
    /// At a KMS that the host calls for us.
    Remote,
}

/// Providers, key cache and the key of this engine's fingerprints. Dropping it wipes all of them.
pub struct Engine {
    providers: Vec<(KmsProvider, Wrapping)>,
    pub(crate) cache: KeyCache,
    fingerprint_key: Option<AeadKey>,
    admission: Admission,
    pub(crate) host: Option<&'static dyn HostPrimitives>,
}

impl Engine {
    /// An engine without providers.
    ///
    /// Units: `key_ttl_ms` in milliseconds, 0 = cached keys never expire; `max_cached_keys` in keys.
    #[must_use]
    pub fn new(key_ttl_ms: f64, max_cached_keys: usize) -> Self {
        Self {
            providers: Vec::new(),
            cache: KeyCache::new(key_ttl_ms, max_cached_keys),
            fingerprint_key: None,
            admission: Admission::default(),
            host: None,
        }
    }

    /// Lets keys that are unwrapped from now on leave long values to the host.
    pub fn lend_host(&mut self, host: Option<&'static dyn HostPrimitives>) {
        self.host = host;
    }

    /// Adds a local provider with its master key.
    ///
    /// Errors: `OPTION_INVALID` when the provider is not of type local, or was added before.
    pub fn add_local(&mut self, provider: KmsProvider, master_key: &KeyMaterial) -> Result<()> {
        if provider.kind() != ProviderKind::Local {
            return Err(Error::new(
                Code::OptionInvalid,
                format!("provider {provider} is not local and takes no master key bytes"),
            ));
        }
        self.add(provider, Wrapping::Local(LocalMasterKey::new(master_key)))
    }

    /// Adds a provider whose wrapping is done by the host.
    ///
    /// Errors: `OPTION_INVALID` when the provider is of type local, or was added before.
    pub fn add_remote(&mut self, provider: KmsProvider) -> Result<()> {
        if provider.kind() == ProviderKind::Local {
            return Err(Error::new(
                Code::OptionInvalid,
                format!("provider {provider} is local and needs a master key of 96 bytes"),
            ));
        }
        self.add(provider, Wrapping::Remote)
    }

    fn add(&mut self, provider: KmsProvider, wrapping: Wrapping) -> Result<()> {
        if self.providers.iter().any(|(known, _)| *known == provider) {
            return Err(Error::new(
                Code::OptionInvalid,
                format!("{provider} KMS provider already set"),
            ));
        }
        self.providers.push((provider, wrapping));
        Ok(())
    }

    /// Says which master keys are used from now on. Cached keys are forgotten: they were admitted by other rules.
    pub fn set_admission(&mut self, admission: Admission) {
        self.clear_cache();
        self.admission = admission;
    }

    /// Which master keys are used.
    #[must_use]
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Forgets all cached keys.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }

    pub(crate) fn wrapping(&self, provider: &KmsProvider) -> Result<&Wrapping> {
        self.providers
            .iter()
            .find(|(known, _)| known == provider)
            .map(|(_, wrapping)| wrapping)
            .ok_or_else(|| {
                Error::new(
                    Code::KmsProviderNotConfigured,
                    format!("KMS provider `{provider}` is not configured"),
                )
                .with("provider", provider)
            })
    }

    /// A keyed fingerprint of key material: equal for equal material within this engine, worthless elsewhere.
    pub(crate) fn fingerprint(
        &mut self,
        material: &KeyMaterial,
        entropy: &mut dyn Entropy,
    ) -> Result<[u8; 32]> {
        let key = match self.fingerprint_key.take() {
            Some(key) => key,
            None => AeadKey::new(&KeyMaterial::fill_with(|out| entropy.fill(out))?),
        };
        let fingerprint = key.tag_of(b"csfle-wasm key fingerprint", material.expose());
        self.fingerprint_key = Some(key);
        Ok(fingerprint)
    }
}
