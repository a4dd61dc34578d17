//! The fields of one provider in `kmsProviders`: reading them, and the complaints about them.
//!
//! No value is ever copied into anything but wiped memory before it is known to be wanted.

use alloc::{format, string::String};

use bson::raw::{RawBsonRef, RawDocument};

use super::base64;
use crate::{
    error::{Code, Error, Result},
    kms::Endpoint,
    secret::{KEY_MATERIAL_LEN, KeyMaterial, SecretBytes},
};

pub(super) struct ProviderFields<'a>(&'a RawDocument);

impl<'a> ProviderFields<'a> {
    pub(super) const fn new(document: &'a RawDocument) -> Self {
        Self(document)
    }

    /// The first field of that name.
    fn find(&self, name: &str) -> Result<Option<RawBsonRef<'a>>> {
        for element in self.0 {
            let (key, value) = element.map_err(|_| malformed())?;
            if key.as_str() == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn optional_str(&self, name: &'static str) -> Result<Option<&'a str>> {
        match self.find(name)? {
            None => Ok(None),
            Some(RawBsonRef::String(text)) => Ok(Some(text)),
            Some(_) => Err(not_text(name)),
        }
    }

    fn str(&self, name: &'static str) -> Result<&'a str> {
        self.optional_str(name)?.ok_or_else(|| not_text(name))
    }

    pub(super) fn text(&self, name: &'static str) -> Result<String> {
        self.str(name).map(String::from)
    }

    pub(super) fn secret_text(&self, name: &'static str) -> Result<SecretBytes> {
        let text = self.str(name)?;
        Ok(SecretBytes::copy_from(text.as_bytes()))
    }

    pub(super) fn optional_secret_text(&self, name: &'static str) -> Result<Option<SecretBytes>> {
        let text = self.optional_str(name)?;
        Ok(text.map(|text| SecretBytes::copy_from(text.as_bytes())))
    }

    /// Binary of any subtype, or base64 text; not empty.
    pub(super) fn secret_bytes(&self, name: &'static str) -> Result<SecretBytes> {
        match self.find(name)? {
            Some(RawBsonRef::Binary(binary)) if !binary.bytes.is_empty() => {
                Ok(SecretBytes::copy_from(binary.bytes))
            }
            Some(RawBsonRef::String(text)) => base64::decode_standard(text.as_bytes())
                .filter(|bytes| !bytes.expose().is_empty())
                .ok_or_else(|| {
                    let message = format!("unable to parse base64 from UTF-8 field {name}");
                    invalid(name, message)
                }),
            _ => Err(invalid(name, format!("expected UTF-8 or binary {name}"))),
        }
    }

    pub(super) fn key_material(&self, name: &'static str) -> Result<KeyMaterial> {
        let bytes = self.secret_bytes(name)?;
        KeyMaterial::copy_from(bytes.expose())
            .map_err(|_| invalid(name, format!("local key must be {KEY_MATERIAL_LEN} bytes")))
    }

    pub(super) fn optional_endpoint(
        &self,
        name: &'static str,
        allow_dotless: bool,
    ) -> Result<Option<Endpoint>> {
        let text = self.optional_str(name)?;
        text.map(|text| Endpoint::parse(text, allow_dotless))
            .transpose()
            .map_err(|error| error.with("field", name))
    }

    pub(super) fn missing_endpoint(&self, name: &'static str) -> Error {
        invalid(name, format!("expected endpoint {name}"))
    }

    pub(super) fn expect_only(&self, known: &[&str]) -> Result<()> {
        for element in self.0 {
            let (name, _) = element.map_err(|_| malformed())?;
            if !known.contains(&name.as_str()) {
                let message = format!("Unexpected field: '{name}'");
                return Err(Error::new(Code::KmsProvidersInvalid, message).with("field", name));
            }
        }
        Ok(())
    }
}

fn invalid(name: &'static str, message: String) -> Error {
    Error::new(Code::KmsProvidersInvalid, message).with("field", name)
}

fn not_text(name: &'static str) -> Error {
    invalid(name, format!("expected UTF-8 {name}"))
}

fn malformed() -> Error {
    Error::new(Code::KmsProvidersInvalid, "invalid BSON")
}
