//! The requests, each of one batch item.

use super::ttlv::{Tag, Writer};
use crate::kms::wire::writer::SecretWriter;

/// KMIP 1.2 section 9.1.3.2.27, Operation.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Operation {
    Create = 0x01,
    Register = 0x03,
    Get = 0x0a,
    Activate = 0x12,
    Encrypt = 0x1f,
    Decrypt = 0x20,
}

impl Operation {
    /// The version that the operation appeared in; COMPAT: as libmongocrypt announces them.
    const fn minor_version(self) -> u32 {
        match self {
            Self::Register | Self::Activate | Self::Get => 0,
            Self::Create | Self::Encrypt | Self::Decrypt => 2,
        }
    }
}

const OBJECT_SYMMETRIC_KEY: u32 = 2;
const OBJECT_SECRET_DATA: u32 = 7;
const SECRET_DATA_SEED: u32 = 2;
const KEY_FORMAT_OPAQUE: u32 = 2;
const ALGORITHM_AES: u32 = 3;
const AES_KEY_BITS: u32 = 256;
const USAGE_NONE: u32 = 0;
/// Encrypt and Decrypt (section 9.1.3.3.1).
const USAGE_ENCRYPT_DECRYPT: u32 = 0x04 | 0x08;
const MODE_CBC: u32 = 1;
const PADDING_PKCS5: u32 = 3;

/// Stores a secret of the client.
pub(super) fn register(secret: &[u8]) -> SecretWriter {
    request(Operation::Register, |payload| {
        payload.enumeration(Tag::ObjectType, OBJECT_SECRET_DATA);
        payload.structure(Tag::TemplateAttribute, |template| {
            attribute(template, "Cryptographic Usage Mask", |value| {
                value.integer(Tag::AttributeValue, USAGE_NONE);
            });
        });
        payload.structure(Tag::SecretData, |data| {
            data.enumeration(Tag::SecretDataType, SECRET_DATA_SEED);
            data.structure(Tag::KeyBlock, |block| {
                block.enumeration(Tag::KeyFormatType, KEY_FORMAT_OPAQUE);
                block.structure(Tag::KeyValue, |value| {
                    value.secret_bytes(Tag::KeyMaterial, secret);
                });
            });
        });
    })
}

/// Makes an AES-256 key that stays on the server.
pub(super) fn create() -> SecretWriter {
    request(Operation::Create, |payload| {
        payload.enumeration(Tag::ObjectType, OBJECT_SYMMETRIC_KEY);
        payload.structure(Tag::TemplateAttribute, |template| {
            attribute(template, "Cryptographic Algorithm", |value| {
                value.enumeration(Tag::AttributeValue, ALGORITHM_AES);
            });
            attribute(template, "Cryptographic Length", |value| {
                value.integer(Tag::AttributeValue, AES_KEY_BITS);
            });
            attribute(template, "Cryptographic Usage Mask", |value| {
                value.integer(Tag::AttributeValue, USAGE_ENCRYPT_DECRYPT);
            });
        });
    })
}

fn attribute(template: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
    template.structure(Tag::Attribute, |attribute| {
        attribute.text(Tag::AttributeName, name);
        value(attribute);
    });
}

/// Makes an object usable.
pub(super) fn activate(id: &str) -> SecretWriter {
    request(Operation::Activate, |payload| {
        payload.text(Tag::UniqueIdentifier, id);
    })
}

/// Reads a secret back.
pub(super) fn get(id: &str) -> SecretWriter {
    request(Operation::Get, |payload| {
        payload.text(Tag::UniqueIdentifier, id);
    })
}

/// Has the server encrypt, with an initialisation vector of its own.
pub(super) fn encrypt(id: &str, plaintext: &[u8]) -> SecretWriter {
    request(Operation::Encrypt, |payload| {
        payload.text(Tag::UniqueIdentifier, id);
        payload.structure(Tag::CryptographicParameters, |parameters| {
            cbc(parameters);
            parameters.boolean(Tag::RandomIv, true);
        });
        payload.secret_bytes(Tag::Data, plaintext);
    })
}

/// Has the server decrypt.
pub(super) fn decrypt(id: &str, iv: &[u8], ciphertext: &[u8]) -> SecretWriter {
    request(Operation::Decrypt, |payload| {
        payload.text(Tag::UniqueIdentifier, id);
        payload.structure(Tag::CryptographicParameters, cbc);
        payload.bytes(Tag::Data, ciphertext);
        payload.bytes(Tag::IvCounterNonce, iv);
    })
}

fn cbc(parameters: &mut Writer) {
    parameters.enumeration(Tag::BlockCipherMode, MODE_CBC);
    parameters.enumeration(Tag::PaddingMethod, PADDING_PKCS5);
    parameters.enumeration(Tag::CryptographicAlgorithm, ALGORITHM_AES);
}

fn request(operation: Operation, payload: impl FnOnce(&mut Writer)) -> SecretWriter {
    let mut message = Writer::new();
    message.structure(Tag::RequestMessage, |request| {
        request.structure(Tag::RequestHeader, |header| {
            header.structure(Tag::ProtocolVersion, |version| {
                version.integer(Tag::ProtocolVersionMajor, 1);
                version.integer(Tag::ProtocolVersionMinor, operation.minor_version());
            });
            header.integer(Tag::BatchCount, 1);
        });
        request.structure(Tag::BatchItem, |item| {
            item.enumeration(Tag::Operation, operation as u32);
            item.structure(Tag::RequestPayload, payload);
        });
    });
    message.finish()
}
