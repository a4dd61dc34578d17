//! Which master keys a migration starts from.

use bson::raw::{CStr, RawBsonRef, RawDocument, RawDocumentBuf};

use super::{
    MasterKey,
    master_key_fields::{FieldKind, FieldReader, check_well_formed, known_fields},
};
use crate::{error::Result, kms::KmsProvider};

/// A master key with fields left out: it matches every master key whose fields agree with those that are there.
///
/// `{provider: "aws"}` matches every key of the provider `aws`, and none of `aws:eu`.
#[derive(Clone, Debug, PartialEq)]
pub struct MasterKeyPattern {
    provider: KmsProvider,
    /// The other fields, as a master key stores them.
    fields: RawDocumentBuf,
}

impl MasterKeyPattern {
    /// [`Self::parse`] of a document in bytes.
    ///
    /// Errors: those of [`Self::parse`]; `MASTER_KEY_INVALID` when the bytes are not a document.
    pub fn from_bytes(document: &[u8]) -> Result<Self> {
        Self::parse(super::master_key::descriptor(document)?)
    }

    /// Reads `{provider: ..., ...}` with any of the fields of that provider.
    ///
    /// Errors: `MASTER_KEY_INVALID` (with `field`), `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`.
    pub fn parse(document: &RawDocument) -> Result<Self> {
        check_well_formed(document)?;
        let reader = FieldReader { document, path: "" };
        let provider = reader.provider()?;
        let mut fields = RawDocumentBuf::new();
        for &(name, kind) in known_fields(provider.kind()) {
            match kind {
                FieldKind::Text => {
                    if let Some(text) = reader.text(name)? {
                        fields.append(name, text);
                    }
                }
                FieldKind::Endpoint { allow_dotless } => {
                    if let Some(endpoint) = reader.endpoint(name, allow_dotless)? {
                        fields.append(name, endpoint.stored());
                    }
                }
                FieldKind::Flag => {
                    if let Some(flag) = reader.flag(name)? {
                        fields.append(name, flag);
                    }
                }
            }
        }
        reader.expect_no_others(provider.kind())?;
        Ok(Self { provider, fields })
    }

    /// The provider, with its name.
    #[must_use]
    pub const fn provider(&self) -> &KmsProvider {
        &self.provider
    }

    /// The fields that are there beside `provider`.
    pub fn fields(&self) -> impl Iterator<Item = (&CStr, RawBsonRef<'_>)> {
        self.fields.iter().filter_map(core::result::Result::ok)
    }

    /// Whether `master_key` has every field of the pattern.
    #[must_use]
    pub fn matches(&self, master_key: &MasterKey) -> bool {
        let stored = master_key.to_raw();
        let has = |(name, expected): (&CStr, RawBsonRef<'_>)| match stored.get(name) {
            // A flag is stored only when it is set.
            Ok(None) => expected == RawBsonRef::Boolean(false),
            Ok(Some(found)) => found == expected,
            Err(_) => false,
        };
        self.provider == *master_key.provider()
            && self.fields.iter().all(|field| field.is_ok_and(has))
    }
}
