//! Which operations a call takes, one after the other.
//!
//! Standard: the server keeps a secret of 96 bytes, and wrapping is done here. To wrap: Register, Activate, Get; with a
//! known object, Get alone. To unwrap: Get.
//! Delegated: the server keeps an AES key and uses it itself. To wrap: Create, Activate, Encrypt; with a known object,
//! Encrypt alone. To unwrap: Decrypt.

use alloc::{format, string::String, vec::Vec};

use super::{
    answers::{KmipAnswer, WantedKmip},
    messages,
};
use crate::{
    crypto::{Entropy, IV_LEN, LocalMasterKey},
    error::{Code, Error, Result},
    kms::{KmsOperation, wire::writer::SecretWriter},
    secret::{KEY_MATERIAL_LEN, KeyMaterial, SecretBytes},
};

/// One call, and the object it is about.
pub(in crate::kms::wire) struct Call<'a> {
    pub(in crate::kms::wire) operation: &'a KmsOperation,
    pub(in crate::kms::wire) is_delegated: bool,
    /// The object that the master key names.
    pub(in crate::kms::wire) key_id: Option<&'a str>,
}

/// How far the call is.
pub(in crate::kms::wire) enum KmipStep {
    /// The object is being made; nothing is known of it.
    Making,
    /// The object of this id is being activated.
    Activating(String),
    /// The object is being used. The id is that of an object made by this call.
    Using(Option<String>),
}

/// What follows an answer.
pub(in crate::kms::wire) enum Next {
    /// Another request.
    Send(KmipStep, SecretWriter, WantedKmip),
    /// What was wrapped, and the id of the object made for it.
    Wrapped(Vec<u8>, Option<String>),
    /// What was unwrapped, of whatever length.
    Unwrapped(SecretBytes),
}

impl Call<'_> {
    /// The first request.
    ///
    /// Errors: `CRYPTO_RANDOM_UNAVAILABLE`, `MASTER_KEY_INVALID` when the object to unwrap with is not named,
    /// `KMS_REQUEST_INVALID` when wrapped material is too short.
    pub(in crate::kms::wire) fn start(&self, entropy: &mut dyn Entropy) -> Result<Next> {
        match (self.operation, self.key_id, self.is_delegated) {
            (_, Some(id), _) => self.use_object(id, None),
            (KmsOperation::Unwrap(_), None, _) => Err(Error::new(
                Code::MasterKeyInvalid,
                "KMIP key malformed, no keyId present",
            )),
            (KmsOperation::Wrap(_), None, true) => Ok(Next::Send(
                KmipStep::Making,
                messages::create(),
                WantedKmip::Created,
            )),
            (KmsOperation::Wrap(_), None, false) => {
                let secret = KeyMaterial::fill_with(|out| entropy.fill(out))?;
                let message = messages::register(secret.expose());
                Ok(Next::Send(
                    KmipStep::Making,
                    message,
                    WantedKmip::Registered,
                ))
            }
        }
    }

    /// What follows the answer to a step.
    ///
    /// Errors: `CRYPTO_RANDOM_UNAVAILABLE`, `CRYPTO_AUTHENTICATION_FAILED`, `CRYPTO_INPUT_TOO_SHORT`,
    /// `KEY_MATERIAL_LENGTH` when the server's secret is none of 96 bytes.
    pub(in crate::kms::wire) fn advance(
        &self,
        step: KmipStep,
        answer: KmipAnswer,
        entropy: &mut dyn Entropy,
    ) -> Result<Next> {
        match (step, answer) {
            (KmipStep::Making, KmipAnswer::Id(id)) => {
                let message = messages::activate(&id);
                let step = KmipStep::Activating(id);
                Ok(Next::Send(step, message, WantedKmip::Activated))
            }
            // COMPAT: the id in this answer is not looked at.
            (KmipStep::Activating(id), KmipAnswer::Id(_)) => self.use_object(&id, Some(&id)),
            (KmipStep::Using(made), KmipAnswer::Bytes(bytes)) => self.finish(&bytes, made, entropy),
            _ => Err(Error::new(
                Code::KmsResponseMalformed,
                "the KMIP answer is of another kind than the one asked for",
            )),
        }
    }

    fn use_object(&self, id: &str, made: Option<&str>) -> Result<Next> {
        let (message, wanted) = match (self.operation, self.is_delegated) {
            (_, false) => (messages::get(id), WantedKmip::Secret),
            (KmsOperation::Wrap(material), true) => (
                messages::encrypt(id, material.expose()),
                WantedKmip::Encrypted,
            ),
            (KmsOperation::Unwrap(wrapped), true) => {
                let (iv, ciphertext) =
                    wrapped.as_bytes().split_at_checked(IV_LEN).ok_or_else(|| {
                        let message = "Error getting IV from key material";
                        Error::new(Code::KmsRequestInvalid, message)
                    })?;
                (messages::decrypt(id, iv, ciphertext), WantedKmip::Decrypted)
            }
        };
        let step = KmipStep::Using(made.map(String::from));
        Ok(Next::Send(step, message, wanted))
    }

    fn finish(
        &self,
        bytes: &SecretBytes,
        made: Option<String>,
        entropy: &mut dyn Entropy,
    ) -> Result<Next> {
        match (self.operation, self.is_delegated) {
            (KmsOperation::Wrap(_), true) => Ok(Next::Wrapped(bytes.expose().to_vec(), made)),
            (KmsOperation::Wrap(material), false) => {
                let wrapped = secret(bytes)?.wrap(material, entropy)?;
                Ok(Next::Wrapped(wrapped, made))
            }
            (KmsOperation::Unwrap(_), true) => {
                Ok(Next::Unwrapped(SecretBytes::copy_from(bytes.expose())))
            }
            (KmsOperation::Unwrap(wrapped), false) => {
                let material = secret(bytes)?.unwrap(wrapped.as_bytes())?;
                Ok(Next::Unwrapped(SecretBytes::copy_from(material.expose())))
            }
        }
    }
}

/// The server's secret is used like a local master key.
fn secret(bytes: &SecretBytes) -> Result<LocalMasterKey> {
    KeyMaterial::copy_from(bytes.expose())
        .map(|material| LocalMasterKey::new(&material))
        .map_err(|_| {
            let len = bytes.expose().len();
            Error::new(
                Code::KeyMaterialLength,
                format!("key should have length {KEY_MATERIAL_LEN}, but has length {len}"),
            )
        })
}
