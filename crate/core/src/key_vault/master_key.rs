//! Master key descriptors: which key of which provider a data key is wrapped by.

use alloc::{
    format,
    string::{String, ToString},
};

use bson::raw::{CStr, RawDocument, RawDocumentBuf};

use super::master_key_fields::{
    DELEGATED, ENDPOINT, FieldReader, KEY, KEY_ID, KEY_NAME, KEY_RING, KEY_VAULT_ENDPOINT,
    KEY_VERSION, LOCATION, PROJECT_ID, PROVIDER, REGION, check_well_formed,
};
use crate::{
    error::{Code, Error, Result},
    kms::{Endpoint, KmsProvider, ProviderKind},
};

/// Where a data key's wrapping key is. The same shape serves stored key documents and the options of new keys.
///
/// Two descriptors are equal when they mean the same: endpoints compare without scheme and path, and `delegated: false`
/// equals its absence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MasterKey {
    provider: KmsProvider,
    fields: MasterKeyFields,
}

/// What each type of provider needs to find its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MasterKeyFields {
    /// Nothing: the key itself is configured.
    Local,
    /// AWS KMS.
    Aws {
        /// Region, such as `eu-central-1`.
        region: String,
        /// ARN, id or alias of the key; never interpreted here.
        key: String,
        /// Where to connect, if not to the region's own endpoint.
        endpoint: Option<Endpoint>,
    },
    /// Azure Key Vault.
    Azure {
        /// Endpoint of the vault.
        key_vault_endpoint: Endpoint,
        /// Name of the key.
        key_name: String,
        /// Version of the key, if not the current one.
        key_version: Option<String>,
    },
    /// Google Cloud KMS.
    Gcp {
        /// Project.
        project_id: String,
        /// Location, such as `global`.
        location: String,
        /// Key ring.
        key_ring: String,
        /// Name of the key.
        key_name: String,
        /// Version of the key, if not the primary one.
        key_version: Option<String>,
        /// Where to connect, if not to Google's own endpoint.
        endpoint: Option<Endpoint>,
    },
    /// KMIP server.
    Kmip {
        /// Where to connect, if not to the provider's configured endpoint.
        endpoint: Option<Endpoint>,
        /// Whether the server itself encrypts and decrypts, rather than handing its key out.
        delegated: bool,
        /// Unique identifier of the managed object; absent in the options of a new key whose object the server creates.
        key_id: Option<String>,
    },
}

impl MasterKey {
    /// Reads `{provider: ..., ...}`. Where a field is there twice, the first one counts.
    ///
    /// Errors: `MASTER_KEY_INVALID` (with `field`), `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`. The first
    /// mistake in libmongocrypt's order of checks is reported, with its text.
    pub fn parse(document: &RawDocument) -> Result<Self> {
        check_well_formed(document)?;
        Self::parse_at(document, "")
    }

    /// [`Self::parse`] of a document in bytes.
    ///
    /// Errors: those of [`Self::parse`]; `MASTER_KEY_INVALID` when the bytes are not a document.
    pub fn from_bytes(document: &[u8]) -> Result<Self> {
        Self::parse(descriptor(document)?)
    }

    /// Reads a well-formed document whose field paths start with `path` (empty, or ending with a dot).
    pub(super) fn parse_at(document: &RawDocument, path: &str) -> Result<Self> {
        let fields = FieldReader { document, path };
        let provider = fields.provider()?;
        let master_key = match provider.kind() {
            ProviderKind::Local => MasterKeyFields::Local,
            ProviderKind::Aws => {
                // COMPAT: the key is looked at before the region; of several mistakes one is reported.
                let key = fields.required_text(KEY)?;
                MasterKeyFields::Aws {
                    region: fields.required_text(REGION)?,
                    key,
                    endpoint: fields.endpoint(ENDPOINT, false)?,
                }
            }
            ProviderKind::Azure => MasterKeyFields::Azure {
                key_vault_endpoint: fields.endpoint(KEY_VAULT_ENDPOINT, false)?.ok_or_else(
                    || {
                        fields.invalid(
                            KEY_VAULT_ENDPOINT,
                            format!("expected endpoint {KEY_VAULT_ENDPOINT}"),
                        )
                    },
                )?,
                key_name: fields.required_text(KEY_NAME)?,
                key_version: fields.text(KEY_VERSION)?,
            },
            ProviderKind::Gcp => {
                let endpoint = fields.endpoint(ENDPOINT, false)?;
                MasterKeyFields::Gcp {
                    project_id: fields.required_text(PROJECT_ID)?,
                    location: fields.required_text(LOCATION)?,
                    key_ring: fields.required_text(KEY_RING)?,
                    key_name: fields.required_text(KEY_NAME)?,
                    key_version: fields.text(KEY_VERSION)?,
                    endpoint,
                }
            }
            ProviderKind::Kmip => {
                let endpoint = fields.endpoint(ENDPOINT, true)?;
                let key_id = fields.text(KEY_ID)?;
                MasterKeyFields::Kmip {
                    endpoint,
                    delegated: fields.flag(DELEGATED)?.unwrap_or(false),
                    key_id,
                }
            }
        };
        fields.expect_no_others(provider.kind())?;
        Ok(Self {
            provider,
            fields: master_key,
        })
    }

    /// The unnamed or named local provider's descriptor; `None` for an identifier of another type.
    #[must_use]
    pub fn local(provider: KmsProvider) -> Option<Self> {
        (provider.kind() == ProviderKind::Local).then_some(Self {
            provider,
            fields: MasterKeyFields::Local,
        })
    }

    /// The provider's full identifier.
    #[must_use]
    pub const fn provider(&self) -> &KmsProvider {
        &self.provider
    }

    /// The fields beside `provider`.
    #[must_use]
    pub const fn fields(&self) -> &MasterKeyFields {
        &self.fields
    }

    /// The KMIP object's unique identifier; `None` for other types and where the server is to create an object.
    #[must_use]
    pub fn kmip_key_id(&self) -> Option<&str> {
        match &self.fields {
            MasterKeyFields::Kmip { key_id, .. } => key_id.as_deref(),
            _ => None,
        }
    }

    /// The same descriptor naming the object that the KMIP server created; other types stay as they are.
    #[must_use]
    pub fn with_kmip_key_id(mut self, id: String) -> Self {
        if let MasterKeyFields::Kmip { key_id, .. } = &mut self.fields {
            *key_id = Some(id);
        }
        self
    }

    /// Whether `self` is what a key wrapped for `target` is stored with. A KMIP target without `keyId` asks for one
    /// object per data key, so that any object satisfies it.
    #[must_use]
    pub fn satisfies(&self, target: &Self) -> bool {
        match (self.kmip_key_id(), &target.fields) {
            (Some(id), MasterKeyFields::Kmip { key_id: None, .. }) => {
                *self == target.clone().with_kmip_key_id(id.to_string())
            }
            _ => self == target,
        }
    }

    /// Confirms that a key stored with this descriptor can be unwrapped.
    ///
    /// Errors: `MASTER_KEY_INVALID` for KMIP without `keyId`.
    pub fn check_usable(&self) -> Result<()> {
        self.check_kmip_key_id("KMIP key malformed, no keyId present")
    }

    /// The document that a key is stored with.
    ///
    /// Errors: `MASTER_KEY_INVALID` for KMIP without `keyId`: give it one with [`Self::with_kmip_key_id`].
    pub fn to_stored(&self) -> Result<RawDocumentBuf> {
        self.check_kmip_key_id("keyId required for KMIP")?;
        Ok(self.to_raw())
    }

    /// The descriptor as a document, in the order in which it is stored; without `keyId` while a KMIP key has none.
    #[must_use]
    pub fn to_raw(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        document.append(PROVIDER, self.provider.to_string());
        match &self.fields {
            MasterKeyFields::Local => {}
            MasterKeyFields::Aws {
                region,
                key,
                endpoint,
            } => {
                document.append(REGION, region.as_str());
                document.append(KEY, key.as_str());
                append_endpoint(&mut document, endpoint.as_ref());
            }
            MasterKeyFields::Azure {
                key_vault_endpoint,
                key_name,
                key_version,
            } => {
                document.append(KEY_VAULT_ENDPOINT, key_vault_endpoint.stored());
                document.append(KEY_NAME, key_name.as_str());
                append_text(&mut document, KEY_VERSION, key_version.as_deref());
            }
            MasterKeyFields::Gcp {
                project_id,
                location,
                key_ring,
                key_name,
                key_version,
                endpoint,
            } => {
                document.append(PROJECT_ID, project_id.as_str());
                document.append(LOCATION, location.as_str());
                document.append(KEY_RING, key_ring.as_str());
                document.append(KEY_NAME, key_name.as_str());
                append_text(&mut document, KEY_VERSION, key_version.as_deref());
                append_endpoint(&mut document, endpoint.as_ref());
            }
            MasterKeyFields::Kmip {
                endpoint,
                delegated,
                key_id,
            } => {
                append_endpoint(&mut document, endpoint.as_ref());
                if *delegated {
                    document.append(DELEGATED, true);
                }
                append_text(&mut document, KEY_ID, key_id.as_deref());
            }
        }
        document
    }

    fn check_kmip_key_id(&self, message: &'static str) -> Result<()> {
        match &self.fields {
            MasterKeyFields::Kmip { key_id: None, .. } => {
                Err(Error::new(Code::MasterKeyInvalid, message).with("field", KEY_ID))
            }
            _ => Ok(()),
        }
    }
}

fn append_text(document: &mut RawDocumentBuf, name: &CStr, value: Option<&str>) {
    if let Some(value) = value {
        document.append(name, value);
    }
}

fn append_endpoint(document: &mut RawDocumentBuf, endpoint: Option<&Endpoint>) {
    append_text(document, ENDPOINT, endpoint.map(Endpoint::stored));
}

/// The bytes of a descriptor as a document.
pub(super) fn descriptor(bytes: &[u8]) -> Result<&RawDocument> {
    RawDocument::from_bytes(bytes).map_err(|_| {
        Error::new(
            Code::MasterKeyInvalid,
            "the master key is not a BSON document",
        )
    })
}
