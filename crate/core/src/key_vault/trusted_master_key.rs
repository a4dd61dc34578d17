//! Patterns of the master keys that an operator trusts.

use alloc::{
    format,
    string::{String, ToString},
};

use bson::raw::{CStr, RawBsonRef, RawDocument, RawDocumentBuf};

use super::{
    MasterKey, MasterKeyFields, MasterKeyPattern,
    arn::{ANY, Arn},
    master_key_fields::{
        ENDPOINT, KEY, KEY_NAME, KEY_RING, KEY_VAULT_ENDPOINT, KEY_VERSION, LOCATION, PROJECT_ID,
        PROVIDER, REGION,
    },
};
use crate::{
    error::{Code, Error, Result},
    kms::{Endpoint, KmsProvider, ProviderKind, cloud_domains::Place},
};

/// A pattern of master keys, as `trustedMasterKeys` lists them.
///
/// Shape: a master key with fields left out, `{provider, ...}`, or its short form as text (see [`Self::from_text`]).
///
/// - `provider` is compared whole: `aws` does not match `aws:eu`.
/// - A field that is there has to be equal, in its case too. `*` alone, as text, is any value.
/// - `key` of AWS as an ARN matches ARNs only, never a bare id or an alias of the same key. In it `*` may stand for the
///   region, the account and the name, each as a whole: `arn:aws:kms:us-east-1:111122223333:key/*`. The `region` of the
///   master key has to be that of its ARN.
/// - `endpoint` and `keyVaultEndpoint` compare as host and port, whatever the case, a dot at the end and a default port.
///   A master key without an endpoint does not match a pattern with one.
/// - A pattern without an endpoint matches where none is named, or one that the cloud itself runs (for AWS: in the region
///   of the master key), or one that is allowed by name beside the patterns.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustedMasterKey {
    pattern: MasterKeyPattern,
    /// Whether `*` and ARNs mean what they say here; otherwise each field is compared as it is.
    has_wildcards: bool,
}

impl TrustedMasterKey {
    /// Reads a pattern.
    ///
    /// Errors: those of [`MasterKeyPattern::parse`]; `OPTION_INVALID` for a `*` in a place where it has no meaning, an
    /// ARN that is none of KMS, and a `region` that is not that of the ARN.
    pub fn parse(document: &RawDocument) -> Result<Self> {
        let pattern = MasterKeyPattern::parse(document)?;
        check_wildcards(&pattern)?;
        Ok(Self {
            pattern,
            has_wildcards: true,
        })
    }

    /// A pattern that means its fields as they are, such as the source and the target of a migration.
    #[must_use]
    pub const fn exactly(pattern: MasterKeyPattern) -> Self {
        Self {
            pattern,
            has_wildcards: false,
        }
    }

    /// Reads the short form, before which `<provider>=` may name a provider with a name, such as `aws:eu=arn:...`:
    ///
    /// - `local`, `aws`, `kmip:name`: every master key of that provider
    /// - `arn:aws:kms:us-east-1:111122223333:key/*`: of AWS
    /// - `https://hospital.vault.azure.net/keys/csfle`: of Azure, with a version after it, or the vault alone
    /// - `projects/p/locations/l/keyRings/r/cryptoKeys/k`: of Google Cloud
    /// - `kmip://host:5696`: every object of that KMIP server
    ///
    /// Errors: `OPTION_INVALID`, and those of [`Self::parse`].
    pub fn from_text(text: &str) -> Result<Self> {
        let named = text
            .split_once('=')
            .and_then(|(provider, rest)| Some((KmsProvider::parse(provider).ok()?, rest)));
        let (provider, rest) = match named {
            Some((provider, rest)) => (Some(provider), rest),
            None => (None, text),
        };
        if let (None, Ok(whole)) = (&provider, KmsProvider::parse(rest)) {
            return Self::parse(&with_provider(&whole));
        }
        let kind =
            kind_of_text(rest).ok_or_else(|| invalid("the text is no pattern of a master key"))?;
        let provider = provider.unwrap_or_else(|| KmsProvider::from(kind));
        if provider.kind() != kind {
            return Err(invalid("the pattern is of another type than its provider"));
        }
        let mut document = with_provider(&provider);
        append_fields(&mut document, kind, rest)
            .ok_or_else(|| invalid("the text is no pattern of a master key"))?;
        Self::parse(&document)
    }

    /// [`Self::parse`] of a document in bytes.
    ///
    /// Errors: those of [`Self::parse`]; `MASTER_KEY_INVALID` when the bytes are not a document.
    pub fn from_bytes(document: &[u8]) -> Result<Self> {
        Self::parse(super::master_key::descriptor(document)?)
    }

    /// Whether `master_key` is one of these; `allows` says which endpoints are fine where the pattern names none.
    #[must_use]
    pub fn matches(&self, master_key: &MasterKey, allows: impl Fn(&MasterKey) -> bool) -> bool {
        if self.pattern.provider() != master_key.provider() {
            return false;
        }
        let kind = master_key.provider().kind();
        let stored = master_key.to_raw();
        let mut names_endpoint = false;
        let mut names_region = false;
        for (name, expected) in self.pattern.fields() {
            let found = stored.get(name).ok().flatten();
            names_region |= name == REGION && !is_any(expected);
            let is_equal = if name == ENDPOINT || name == KEY_VAULT_ENDPOINT {
                names_endpoint = true;
                same_place(expected, found, kind)
            } else if self.has_wildcards && is_any(expected) {
                true
            } else if self.has_wildcards && name == KEY && is_arn(expected) {
                same_arn(expected, found)
            } else {
                match found {
                    // A flag is stored only when it is set.
                    None => expected == RawBsonRef::Boolean(false),
                    Some(found) => found == expected,
                }
            };
            if !is_equal {
                return false;
            }
        }
        let is_of_its_region = names_region && !self.has_wildcards || is_of_its_region(master_key);
        is_of_its_region && (names_endpoint || allows(master_key))
    }
}

/// Whether the ARN of an AWS key, if it is named by one, is of the region that is asked.
fn is_of_its_region(master_key: &MasterKey) -> bool {
    match master_key.fields() {
        MasterKeyFields::Aws { region, key, .. } => {
            Arn::parse(key).is_none_or(|arn| arn.region == region)
        }
        _ => true,
    }
}

fn same_place(expected: RawBsonRef<'_>, found: Option<RawBsonRef<'_>>, kind: ProviderKind) -> bool {
    let place = |value: RawBsonRef<'_>| {
        let endpoint = Endpoint::parse(value.as_str()?, true).ok()?;
        Some(Place::of(&endpoint, kind)).filter(Place::is_plain)
    };
    found.is_some_and(|found| place(found).is_some() && place(found) == place(expected))
}

fn same_arn(expected: RawBsonRef<'_>, found: Option<RawBsonRef<'_>>) -> bool {
    let pattern = expected.as_str().and_then(Arn::parse_pattern);
    let found = found.and_then(|found| found.as_str()).and_then(Arn::parse);
    match (pattern, found) {
        (Some(pattern), Some(found)) => pattern.has(&found),
        _ => false,
    }
}

fn is_any(value: RawBsonRef<'_>) -> bool {
    value == RawBsonRef::String(ANY)
}

fn is_arn(value: RawBsonRef<'_>) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("arn:"))
}

fn check_wildcards(pattern: &MasterKeyPattern) -> Result<()> {
    let mut region = None;
    let mut arn = None;
    for (name, value) in pattern.fields() {
        let Some(text) = value.as_str() else { continue };
        let refused =
            |message: &str| Err(invalid(&format!("{name}: {message}")).with("field", name));
        if name == ENDPOINT || name == KEY_VAULT_ENDPOINT {
            let is_plain = Endpoint::parse(text, true)
                .is_ok_and(|endpoint| Place::of(&endpoint, pattern.provider().kind()).is_plain());
            if !is_plain {
                return refused("expected host[:port], without wildcards");
            }
        } else if name == KEY && text.starts_with("arn:") {
            arn = Arn::parse_pattern(text);
            if arn.is_none() {
                return refused(
                    "expected arn:<partition>:kms:<region>:<account>:key/<id> or alias/<name>, in which * may stand for the \
                     region, the account and the name",
                );
            }
        } else if text != ANY && text.contains('*') {
            return refused("* stands for the whole field only");
        }
        if name == REGION && text != ANY {
            region = Some(text);
        }
    }
    match (region, arn) {
        (Some(region), Some(arn)) if arn.region != ANY && arn.region != region => {
            Err(invalid("the region is not that of the ARN").with("field", "region"))
        }
        _ => Ok(()),
    }
}

fn with_provider(provider: &KmsProvider) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(PROVIDER, provider.to_string());
    document
}

fn kind_of_text(text: &str) -> Option<ProviderKind> {
    [
        ("arn:", ProviderKind::Aws),
        ("https://", ProviderKind::Azure),
        ("projects/", ProviderKind::Gcp),
        ("kmip://", ProviderKind::Kmip),
    ]
    .into_iter()
    .find_map(|(prefix, kind)| text.starts_with(prefix).then_some(kind))
}

fn append_fields(document: &mut RawDocumentBuf, kind: ProviderKind, text: &str) -> Option<()> {
    match kind {
        ProviderKind::Aws => document.append(KEY, text),
        ProviderKind::Azure => {
            let (host, path) = text.strip_prefix("https://").map(split_host)?;
            document.append(KEY_VAULT_ENDPOINT, host);
            append_path(document, path, &[("keys", KEY_NAME), ("", KEY_VERSION)])?;
        }
        ProviderKind::Gcp => {
            let names = [
                ("projects", PROJECT_ID),
                ("locations", LOCATION),
                ("keyRings", KEY_RING),
                ("cryptoKeys", KEY_NAME),
            ];
            append_path(document, text, &names)?;
        }
        ProviderKind::Kmip => {
            let (host, path) = text.strip_prefix("kmip://").map(split_host)?;
            document.append(ENDPOINT, host);
            path.is_empty().then_some(())?;
        }
        ProviderKind::Local => return None,
    }
    Some(())
}

fn split_host(text: &str) -> (&str, &str) {
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    (host, path.strip_suffix('/').unwrap_or(path))
}

/// Reads `name/value/name/value`, as far as the path goes; an empty name stands for a value without one.
fn append_path(document: &mut RawDocumentBuf, path: &str, names: &[(&str, &CStr)]) -> Option<()> {
    let mut parts = path.split('/').filter(|_| !path.is_empty());
    for (expected, field) in names {
        if !expected.is_empty() {
            match parts.next() {
                None => return Some(()),
                Some(name) if name == *expected => {}
                Some(_) => return None,
            }
        }
        match parts.next() {
            None if expected.is_empty() => return Some(()),
            Some(value) if !value.is_empty() => document.append(*field, value),
            _ => return None,
        }
    }
    parts.next().is_none().then_some(())
}

fn invalid(message: &str) -> Error {
    Error::new(Code::OptionInvalid, String::from(message))
}
