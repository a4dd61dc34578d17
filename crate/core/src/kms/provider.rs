//! KMS provider identifiers: a type, and a name where one type is configured several times.

use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use crate::error::{Code, Error, Result};

/// The five types of key management service a data key can be wrapped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// AWS Key Management Service.
    Aws,
    /// Azure Key Vault.
    Azure,
    /// Google Cloud KMS.
    Gcp,
    /// A server that speaks the Key Management Interoperability Protocol.
    Kmip,
    /// A 96-byte key held by the application.
    Local,
}

impl ProviderKind {
    /// Every type.
    pub const ALL: &'static [Self] = &[Self::Aws, Self::Azure, Self::Gcp, Self::Kmip, Self::Local];

    /// The spelling in key documents, such as `aws`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Kmip => "kmip",
            Self::Local => "local",
        }
    }
}

/// A provider identifier: `<type>` or `<type>:<name>`.
///
/// `aws` and `aws:eu` are unrelated providers with credentials of their own. Identifiers are case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KmsProvider {
    kind: ProviderKind,
    name: Option<String>,
}

impl KmsProvider {
    /// Reads an identifier such as `local` or `aws:eu`.
    ///
    /// Errors: `KMS_PROVIDER_UNRECOGNIZED` for an unknown type, an empty name, or a name with a character outside
    /// `[a-zA-Z0-9_]`.
    ///
    /// DIFFERS: libmongocrypt compares the type only as far as it was given, so that `a` and the empty string are taken
    /// for `aws`. Types are matched exactly here.
    pub fn parse(identifier: &str) -> Result<Self> {
        let (kind, name) = match identifier.split_once(':') {
            Some((kind, name)) => (kind, Some(name)),
            None => (identifier, None),
        };
        let Some(&kind) = ProviderKind::ALL.iter().find(|k| k.as_str() == kind) else {
            return Err(unrecognized(
                identifier,
                "unrecognized type. Expected `<type>` or `<type>:<name>`. Example: `local` or `local:name`.",
            ));
        };
        if name == Some("") {
            return Err(unrecognized(
                identifier,
                "empty name. Expected `<type>` or `<type>:<name>`. Example: `local` or `local:name`.",
            ));
        }
        if let Some(c) = name.and_then(|n| n.chars().find(|&c| !is_name_character(c))) {
            return Err(unrecognized(
                identifier,
                &format!(
                    "unsupported character `{c}`. Must be of the form `<provider type>:<name>` where `<name>` only \
                     contain characters [a-zA-Z0-9_]"
                ),
            ));
        }
        Ok(Self {
            kind,
            name: name.map(ToString::to_string),
        })
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        self.kind
    }

    /// The name after the colon, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl From<ProviderKind> for KmsProvider {
    /// The unnamed provider of that type.
    fn from(kind: ProviderKind) -> Self {
        Self { kind, name: None }
    }
}

impl fmt::Display for KmsProvider {
    /// Writes the full identifier.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match &self.name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

const fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn unrecognized(identifier: &str, reason: &str) -> Error {
    Error::new(
        Code::KmsProviderUnrecognized,
        format!("unrecognized KMS provider `{identifier}`: {reason}"),
    )
    .with("provider", identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(identifier: &str) -> String {
        let error = KmsProvider::parse(identifier).expect_err("the identifier is not acceptable");
        assert_eq!(error.code(), Code::KmsProviderUnrecognized);
        error.message().to_string()
    }

    #[test]
    fn every_type_parses_with_and_without_a_name() {
        for &kind in ProviderKind::ALL {
            let plain = KmsProvider::parse(kind.as_str()).expect("a type is an identifier");
            assert_eq!(plain, KmsProvider::from(kind));
            assert_eq!(plain.to_string(), kind.as_str());
            let text = format!("{}:Ab_9", kind.as_str());
            let named = KmsProvider::parse(&text).expect("a named type is an identifier");
            assert_eq!(
                (named.kind(), named.name(), named.to_string()),
                (kind, Some("Ab_9"), text)
            );
            assert_ne!(plain, named);
        }
    }

    #[test]
    fn parse_rejects_unknown_types_even_prefixes_of_known_ones() {
        for text in [
            "", "a", "loc", "AWS", "aws2", "xx'`y", ":a", "loc:x", "aws\0b", " aws",
        ] {
            assert_eq!(
                refusal(text),
                format!(
                    "unrecognized KMS provider `{text}`: unrecognized type. Expected `<type>` or `<type>:<name>`. \
                     Example: `local` or `local:name`."
                )
            );
        }
    }

    #[test]
    fn parse_rejects_an_empty_name() {
        assert_eq!(
            refusal("aws:"),
            "unrecognized KMS provider `aws:`: empty name. Expected `<type>` or `<type>:<name>`. Example: `local` or \
             `local:name`."
        );
    }

    #[test]
    fn parse_rejects_other_characters_in_a_name() {
        for (text, character) in [
            ("aws:a-b", '-'),
            ("aws:a:b", ':'),
            ("aws:a b", ' '),
            ("aws:é", 'é'),
        ] {
            assert_eq!(
                refusal(text),
                format!(
                    "unrecognized KMS provider `{text}`: unsupported character `{character}`. Must be of the form \
                     `<provider type>:<name>` where `<name>` only contain characters [a-zA-Z0-9_]"
                )
            );
        }
    }
}
