//! What the answers say.

use alloc::{format, string::String};

use super::{
    messages::Operation,
    ttlv::{Reader, Tag},
};
use crate::{
    crypto::IV_LEN,
    error::{Code, Error, Result},
    kms::wire::writer::SecretWriter,
    secret::SecretBytes,
};

/// What a request asks for.
#[derive(Clone, Copy)]
pub(in crate::kms::wire) enum WantedKmip {
    /// The id of a registered object.
    Registered,
    /// The id of a created object.
    Created,
    /// The id of an activated object.
    Activated,
    /// The bytes of a secret.
    Secret,
    /// Initialisation vector and ciphertext.
    Encrypted,
    /// Plaintext.
    Decrypted,
}

/// What came back.
pub(in crate::kms::wire) enum KmipAnswer {
    Id(String),
    Bytes(SecretBytes),
}

impl WantedKmip {
    const fn operation(self) -> Operation {
        match self {
            Self::Registered => Operation::Register,
            Self::Created => Operation::Create,
            Self::Activated => Operation::Activate,
            Self::Secret => Operation::Get,
            Self::Encrypted => Operation::Encrypt,
            Self::Decrypted => Operation::Decrypt,
        }
    }

    /// How a complaint begins. COMPAT: misspelled, and calling an activation a registration, as in libmongocrypt.
    const fn complaint(self) -> &'static str {
        match self {
            Self::Registered | Self::Activated => {
                "Error getting UniqueIdentifer from KMIP Register response"
            }
            Self::Created => "Error getting UniqueIdentifer from KMIP Create response",
            Self::Secret => "Error getting SecretData from KMIP Get response",
            Self::Encrypted => "Error getting data from KMIP Encrypt response",
            Self::Decrypted => "Error getting data from KMIP Decrypt response",
        }
    }

    /// Reads a whole answer.
    ///
    /// DIFFERS: an answer to another operation than the one asked for is refused, as are an empty id and an empty
    /// secret; libmongocrypt takes them.
    ///
    /// Errors: `KMS_OPERATION_FAILED` when the server says so, `KMS_RESPONSE_MALFORMED`.
    pub(in crate::kms::wire) fn read(
        self,
        message: &[u8],
        request: &SecretWriter,
    ) -> Result<KmipAnswer> {
        let item = Reader::new(message)
            .structure(Tag::ResponseMessage)
            .ok_or_else(|| self.missing(Tag::ResponseMessage))?
            .structure(Tag::BatchItem)
            .ok_or_else(|| self.missing(Tag::BatchItem))?;
        let status = item
            .enumeration(Tag::ResultStatus)
            .ok_or_else(|| self.missing(Tag::ResultStatus))?;
        if status != STATUS_SUCCESS {
            return Err(self.refused(status, &item, request));
        }
        let operation = item.enumeration(Tag::Operation);
        if operation.is_some_and(|found| found != self.operation() as u32) {
            return Err(self.malformed("the answer is one to another operation"));
        }
        let payload = item
            .structure(Tag::ResponsePayload)
            .ok_or_else(|| self.missing(Tag::ResponsePayload))?;
        match self {
            Self::Registered | Self::Created | Self::Activated => payload
                .text(Tag::UniqueIdentifier)
                .filter(|id| !id.is_empty())
                .map(|id| KmipAnswer::Id(String::from(id)))
                .ok_or_else(|| self.missing(Tag::UniqueIdentifier)),
            Self::Secret => self.secret(&payload),
            Self::Encrypted => self.encrypted(&payload),
            Self::Decrypted => payload
                .bytes(Tag::Data)
                .map(|bytes| KmipAnswer::Bytes(SecretBytes::copy_from(bytes)))
                .ok_or_else(|| self.missing(Tag::Data)),
        }
    }

    fn secret(self, payload: &Reader<'_>) -> Result<KmipAnswer> {
        let mut reader = *payload;
        for tag in [Tag::SecretData, Tag::KeyBlock, Tag::KeyValue] {
            reader = reader.structure(tag).ok_or_else(|| self.missing(tag))?;
        }
        reader
            .bytes(Tag::KeyMaterial)
            .map(|bytes| KmipAnswer::Bytes(SecretBytes::copy_from(bytes)))
            .ok_or_else(|| self.missing(Tag::KeyMaterial))
    }

    /// IV ‖ ciphertext, as they are stored.
    fn encrypted(self, payload: &Reader<'_>) -> Result<KmipAnswer> {
        let data = payload
            .bytes(Tag::Data)
            .ok_or_else(|| self.missing(Tag::Data))?;
        let iv = payload.bytes(Tag::IvCounterNonce).ok_or_else(|| {
            let tag = Tag::IvCounterNonce.name();
            malformed(format!(
                "Error getting IV from KMIP Encrypt response: unable to find tag: {tag}"
            ))
        })?;
        if iv.len() != IV_LEN {
            let len = iv.len();
            return Err(malformed(format!(
                "KMIP IV response has unexpected length: {len}"
            )));
        }
        let mut stored = SecretBytes::with_capacity(IV_LEN + data.len());
        stored.expose_mut().extend_from_slice(iv);
        stored.expose_mut().extend_from_slice(data);
        Ok(KmipAnswer::Bytes(stored))
    }

    fn refused(self, status: u32, item: &Reader<'_>, request: &SecretWriter) -> Error {
        let reason = item.enumeration(Tag::ResultReason).unwrap_or(0);
        let message: String = item
            .text(Tag::ResultMessage)
            .filter(|text| !request.is_echoed_in(text.as_bytes()))
            .unwrap_or_default()
            .chars()
            .take(MAX_MESSAGE_LEN)
            .collect();
        let complaint = self.complaint();
        Error::new(
            Code::KmsOperationFailed,
            format!(
                "{complaint}: KMIP response error. Result Status ({status}): {}. Result Reason ({reason}): {}. \
                 Result Message: {message}",
                status_name(status),
                reason_name(reason)
            ),
        )
        .with("resultStatus", status)
        .with("resultReason", reason)
    }

    fn missing(self, tag: Tag) -> Error {
        self.malformed(&format!("unable to find tag: {}", tag.name()))
    }

    fn malformed(self, problem: &str) -> Error {
        malformed(format!("{}: {problem}", self.complaint()))
    }
}

const STATUS_SUCCESS: u32 = 0;
/// Longest part of a server's message that goes into an error, in characters.
const MAX_MESSAGE_LEN: usize = 1024;

fn malformed(message: String) -> Error {
    Error::new(Code::KmsResponseMalformed, message)
}

/// KMIP 1.2 section 9.1.3.2.28, Result Status.
const fn status_name(status: u32) -> &'static str {
    match status {
        STATUS_SUCCESS => "Success",
        1 => "Operation Failed",
        2 => "Operation Pending",
        3 => "Operation Undone",
        _ => "Unknown KMIP result status",
    }
}

/// KMIP 1.4 section 9.1.3.2.29, Result Reason.
const fn reason_name(reason: u32) -> &'static str {
    match reason {
        1 => "Item Not Found",
        2 => "Response Too Large",
        3 => "Authentication Not Successful",
        4 => "Invalid Message",
        5 => "Operation Not Supported",
        6 => "Missing Data",
        7 => "Invalid Field",
        8 => "Feature Not Supported",
        9 => "Operation Canceled By Requester",
        10 => "Cryptographic Failure",
        11 => "Illegal Operation",
        12 => "Permission Denied",
        13 => "Object archived",
        14 => "Index Out of Bounds",
        15 => "Application Namespace Not Supported",
        16 => "Key Format Type Not Supported",
        17 => "Key Compression Type Not Supported",
        18 => "Encoding Option Error",
        19 => "Key Value Not Present",
        20 => "Attestation Required",
        21 => "Attestation Failed",
        22 => "Sensitive",
        23 => "Not Extractable",
        24 => "Object Already Exists",
        256 => "General Failure",
        _ => "Unknown KMIP result reason",
    }
}
