//! The fields of a master key descriptor: their names, and the complaints about them.

use alloc::{format, string::String};

use bson::raw::{CStr, RawBsonRef, RawDocument, cstr};

use super::well_formed::is_well_formed;
use crate::{
    error::{Code, Error, Result},
    kms::{Endpoint, KmsProvider, ProviderKind},
};

pub(super) const PROVIDER: &CStr = cstr!("provider");
pub(super) const REGION: &CStr = cstr!("region");
pub(super) const KEY: &CStr = cstr!("key");
pub(super) const ENDPOINT: &CStr = cstr!("endpoint");
pub(super) const KEY_VAULT_ENDPOINT: &CStr = cstr!("keyVaultEndpoint");
pub(super) const KEY_NAME: &CStr = cstr!("keyName");
pub(super) const KEY_VERSION: &CStr = cstr!("keyVersion");
pub(super) const PROJECT_ID: &CStr = cstr!("projectId");
pub(super) const LOCATION: &CStr = cstr!("location");
pub(super) const KEY_RING: &CStr = cstr!("keyRing");
pub(super) const DELEGATED: &CStr = cstr!("delegated");
pub(super) const KEY_ID: &CStr = cstr!("keyId");

/// What a field of a master key holds.
#[derive(Clone, Copy)]
pub(super) enum FieldKind {
    Text,
    Endpoint { allow_dotless: bool },
    Flag,
}

/// The fields a provider type has beside `provider`.
pub(super) const fn known_fields(kind: ProviderKind) -> &'static [(&'static CStr, FieldKind)] {
    const DOTTED: FieldKind = FieldKind::Endpoint {
        allow_dotless: false,
    };
    const ANY_HOST: FieldKind = FieldKind::Endpoint {
        allow_dotless: true,
    };
    match kind {
        ProviderKind::Local => &[],
        ProviderKind::Aws => &[
            (REGION, FieldKind::Text),
            (KEY, FieldKind::Text),
            (ENDPOINT, DOTTED),
        ],
        ProviderKind::Azure => &[
            (KEY_VAULT_ENDPOINT, DOTTED),
            (KEY_NAME, FieldKind::Text),
            (KEY_VERSION, FieldKind::Text),
        ],
        ProviderKind::Gcp => &[
            (PROJECT_ID, FieldKind::Text),
            (LOCATION, FieldKind::Text),
            (KEY_RING, FieldKind::Text),
            (KEY_NAME, FieldKind::Text),
            (KEY_VERSION, FieldKind::Text),
            (ENDPOINT, DOTTED),
        ],
        ProviderKind::Kmip => &[
            (ENDPOINT, ANY_HOST),
            (DELEGATED, FieldKind::Flag),
            (KEY_ID, FieldKind::Text),
        ],
    }
}

/// Refuses bytes that are not BSON all the way down.
pub(super) fn check_well_formed(document: &RawDocument) -> Result<()> {
    if is_well_formed(document) {
        Ok(())
    } else {
        Err(malformed())
    }
}

fn malformed() -> Error {
    Error::new(Code::MasterKeyInvalid, "invalid BSON")
}

/// Looks fields up and words the complaints about them.
pub(super) struct FieldReader<'a> {
    pub(super) document: &'a RawDocument,
    pub(super) path: &'a str,
}

impl<'a> FieldReader<'a> {
    pub(super) fn invalid(&self, name: &CStr, message: String) -> Error {
        Error::new(Code::MasterKeyInvalid, message).with("field", format!("{}{name}", self.path))
    }

    fn find(&self, name: &CStr) -> Result<Option<RawBsonRef<'a>>> {
        self.document.get(name).map_err(|_| malformed())
    }

    fn str(&self, name: &CStr) -> Result<Option<&'a str>> {
        match self.find(name)? {
            None => Ok(None),
            Some(RawBsonRef::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.not_text(name)),
        }
    }

    pub(super) fn text(&self, name: &CStr) -> Result<Option<String>> {
        Ok(self.str(name)?.map(String::from))
    }

    pub(super) fn required_text(&self, name: &CStr) -> Result<String> {
        self.text(name)?.ok_or_else(|| self.not_text(name))
    }

    fn not_text(&self, name: &CStr) -> Error {
        self.invalid(name, format!("expected UTF-8 {name}"))
    }

    pub(super) fn endpoint(&self, name: &CStr, allow_dotless: bool) -> Result<Option<Endpoint>> {
        let Some(text) = self.str(name)? else {
            return Ok(None);
        };
        Endpoint::parse(text, allow_dotless)
            .map(Some)
            .map_err(|error| error.with("field", format!("{}{name}", self.path)))
    }

    pub(super) fn flag(&self, name: &CStr) -> Result<Option<bool>> {
        match self.find(name)? {
            None => Ok(None),
            Some(RawBsonRef::Boolean(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.invalid(name, format!("expected bool {name}"))),
        }
    }

    pub(super) fn provider(&self) -> Result<KmsProvider> {
        let Some(identifier) = self.str(PROVIDER)? else {
            return Err(self.not_text(PROVIDER));
        };
        KmsProvider::parse(identifier)
            .map_err(|error| error.with("field", format!("{}{PROVIDER}", self.path)))
    }

    pub(super) fn expect_no_others(&self, kind: ProviderKind) -> Result<()> {
        let known = known_fields(kind);
        for element in self.document.iter_elements() {
            let name = element.map_err(|_| malformed())?.key();
            if name != PROVIDER && !known.iter().any(|(known, _)| *known == name) {
                return Err(self.invalid(name, format!("Unexpected field: '{name}'")));
            }
        }
        Ok(())
    }
}
