//! The check of every key document and every new wrapping, before anything is sent for it and before it is unwrapped.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{KeyDocument, MasterKey, MasterKeyFields, TrustedMasterKey};
use crate::{
    error::{Code, Error, Result},
    kms::{
        Endpoint, ProviderKind,
        cloud_domains::{Place, is_label},
    },
};

/// Which master keys are used at all.
///
/// The key vault is not trusted: whoever can write it can name an endpoint or a master key of their own. Two rules
/// prevent that, and an operation on a key that breaks one of them fails before anything is sent:
///
/// - **Trusted master keys.** Where lists of patterns were given, a key has to match a pattern of each list. An empty list
///   trusts nothing. This holds for stored keys and for new wrappings alike.
/// - **Endpoints.** Without such lists, an endpoint that a stored key names has to be one that the cloud itself runs, or
///   allowed by name. The endpoint of a new wrapping comes from the caller and is not checked. This rule can be
///   left out, for the interface of libmongocrypt, which has none.
#[derive(Clone, Debug)]
pub struct Admission {
    trusted: Vec<Vec<TrustedMasterKey>>,
    /// What new wrappings have to match besides, such as the target of a migration.
    targets: Option<Vec<TrustedMasterKey>>,
    allowed: Vec<Endpoint>,
    any_endpoint: bool,
}

impl Default for Admission {
    /// No list; endpoints of the clouds alone.
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            targets: None,
            allowed: Vec::new(),
            any_endpoint: false,
        }
    }
}

impl Admission {
    /// No list, and any endpoint, as libmongocrypt has it.
    #[must_use]
    pub fn any_endpoint() -> Self {
        Self {
            any_endpoint: true,
            ..Self::default()
        }
    }

    /// Adds a list: keys have to match one of its patterns. An empty one trusts nothing.
    pub fn trust(&mut self, patterns: Vec<TrustedMasterKey>) {
        self.trusted.push(patterns);
    }

    /// Restricts new wrappings to these, beside what the lists say.
    pub fn wrap_only_under(&mut self, patterns: Vec<TrustedMasterKey>) {
        self.targets = Some(patterns);
    }

    /// Allows an endpoint, `host[:port]`, that no cloud runs. Without a port it is the default one of the provider. `*` leaves
    /// the rule about endpoints out; patterns without an endpoint are not widened by it.
    ///
    /// Errors: `OPTION_INVALID` for what is no host of plain characters.
    pub fn allow_endpoint(&mut self, text: &str) -> Result<()> {
        if text == "*" {
            self.any_endpoint = true;
            return Ok(());
        }
        let endpoint = Endpoint::parse(text, true)
            .ok()
            .filter(|endpoint| Place::of(endpoint, ProviderKind::Aws).is_plain())
            .filter(|endpoint| !endpoint.host().is_empty())
            .ok_or_else(|| {
                let found = readable(text);
                let message = format!("an allowed endpoint has to be host[:port], found {found}");
                Error::new(Code::OptionInvalid, message).with("option", "allowedEndpoints")
            })?;
        self.allowed.push(endpoint);
        Ok(())
    }

    /// Whether lists of trusted master keys were given.
    #[must_use]
    pub const fn is_pinned(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// Admits a stored key.
    ///
    /// Errors: `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`, `KMS_ENDPOINT_NOT_ALLOWED`; with the key's id and names, and with
    /// provider, master key and endpoint.
    pub fn check_stored(&self, document: &KeyDocument) -> Result<()> {
        self.check_source(&document.master_key).map_err(|error| {
            let error = error.with("keyId", document.id);
            match document.key_alt_names.is_empty() {
                true => error,
                false => error.with("keyAltNames", document.key_alt_names.join(", ")),
            }
        })
    }

    /// Admits a master key that something stored names: a key document, or the header of a sealed backup.
    ///
    /// Errors: `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`, `KMS_ENDPOINT_NOT_ALLOWED`; with provider, master key and endpoint.
    pub fn check_source(&self, master_key: &MasterKey) -> Result<()> {
        if !self.is_trusted(master_key) {
            return Err(not_trusted(master_key));
        }
        if !self.is_pinned() && !self.any_endpoint && !self.allows_endpoint(master_key) {
            return Err(endpoint_not_allowed(master_key));
        }
        Ok(())
    }

    /// Admits a master key for a new wrapping.
    ///
    /// Errors: `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`.
    pub fn check_target(&self, master_key: &MasterKey) -> Result<()> {
        let is_target = self
            .targets
            .as_ref()
            .is_none_or(|targets| self.is_among(targets, master_key));
        match is_target && self.is_trusted(master_key) {
            true => Ok(()),
            false => Err(not_trusted(master_key)),
        }
    }

    fn is_trusted(&self, master_key: &MasterKey) -> bool {
        self.trusted
            .iter()
            .all(|patterns| self.is_among(patterns, master_key))
    }

    fn is_among(&self, patterns: &[TrustedMasterKey], master_key: &MasterKey) -> bool {
        patterns
            .iter()
            .any(|pattern| pattern.matches(master_key, |key| self.allows_endpoint(key)))
    }

    /// Whether requests for this master key go to a host of its cloud, to one that is allowed, or, for KMIP and local
    /// keys, to none that the master key names.
    fn allows_endpoint(&self, master_key: &MasterKey) -> bool {
        let allowed = |endpoint: &Endpoint,
                       kind: ProviderKind,
                       is_own: fn(&Place, &str) -> bool,
                       region: &str| {
            let place = Place::of(endpoint, kind);
            is_own(&place, region)
                || place.is_plain() && self.allowed.iter().any(|one| Place::of(one, kind) == place)
        };
        match master_key.fields() {
            MasterKeyFields::Local => true,
            MasterKeyFields::Aws {
                region, endpoint, ..
            } => {
                // A region becomes part of a host name, here or in an SDK.
                is_label(region)
                    && endpoint.as_ref().is_none_or(|endpoint| {
                        allowed(endpoint, ProviderKind::Aws, Place::is_aws_kms, region)
                    })
            }
            MasterKeyFields::Azure {
                key_vault_endpoint, ..
            } => allowed(
                key_vault_endpoint,
                ProviderKind::Azure,
                |place, _| place.is_azure_key_vault(),
                "",
            ),
            MasterKeyFields::Gcp { endpoint, .. } => endpoint.as_ref().is_none_or(|endpoint| {
                allowed(
                    endpoint,
                    ProviderKind::Gcp,
                    |place, _| place.is_google_kms(),
                    "",
                )
            }),
            MasterKeyFields::Kmip { endpoint, .. } => endpoint
                .as_ref()
                .is_none_or(|endpoint| allowed(endpoint, ProviderKind::Kmip, |_, _| false, "")),
        }
    }
}

fn not_trusted(master_key: &MasterKey) -> Error {
    let what = described(master_key);
    let message = format!("the master key {what} is not among the trusted master keys");
    with_master_key(
        Error::new(Code::KeyVaultMasterKeyNotTrusted, message),
        master_key,
    )
}

fn endpoint_not_allowed(master_key: &MasterKey) -> Error {
    let what = described(master_key);
    let message = format!(
        "the key document names the master key {what}, at an endpoint that its cloud does not run and that is not allowed"
    );
    with_master_key(Error::new(Code::KmsEndpointNotAllowed, message), master_key)
}

fn with_master_key(error: Error, master_key: &MasterKey) -> Error {
    let error = error
        .with("provider", master_key.provider())
        .with("masterKey", described(master_key));
    match endpoint_of(master_key) {
        Some(endpoint) => error.with("endpoint", endpoint),
        None => error,
    }
}

fn endpoint_of(master_key: &MasterKey) -> Option<&Endpoint> {
    match master_key.fields() {
        MasterKeyFields::Local => None,
        MasterKeyFields::Aws { endpoint, .. }
        | MasterKeyFields::Gcp { endpoint, .. }
        | MasterKeyFields::Kmip { endpoint, .. } => endpoint.as_ref(),
        MasterKeyFields::Azure {
            key_vault_endpoint, ..
        } => Some(key_vault_endpoint),
    }
}

/// The fields of a master key in one line, as an error shows them.
fn described(master_key: &MasterKey) -> String {
    let stored = master_key.to_raw();
    let texts: Vec<String> = stored
        .iter()
        .filter_map(|field| {
            let (name, value) = field.ok()?;
            match (name.as_str(), value.as_str()) {
                ("provider", Some(text)) => Some(text.to_string()),
                ("endpoint", Some(text)) => Some(format!("endpoint {text}")),
                (_, text) => text.map(readable),
            }
        })
        .collect();
    texts.join(" ")
}

/// Text of others for people: shortened, with every character escaped that does not show as itself.
fn readable(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for c in text.chars().take(LONGEST) {
        if c == ' ' || c.is_ascii_graphic() {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
