//! Requests to the KMS that are answered together.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::out_of_order;
use crate::{
    error::{Code, Error, Result},
    key_vault::{KeyId, MasterKey, WrappedKeyMaterial},
    kms::{KmsOperation, KmsRequest},
    secret::{KEY_MATERIAL_LEN, KeyMaterial},
};

/// What came back for one request.
pub(crate) enum KmsReply {
    Wrapped(WrappedKeyMaterial, Option<String>),
    Unwrapped(KeyMaterial),
}

/// The outstanding and answered requests of one machine. Ids keep counting over rounds.
#[derive(Default)]
pub(crate) struct KmsRound {
    first_id: u32,
    requests: Vec<(KmsRequest, Option<KmsReply>)>,
}

impl KmsRound {
    pub(crate) fn wrap(
        &mut self,
        material: KeyMaterial,
        master_key: &MasterKey,
        key_id: Option<&KeyId>,
        key_alt_names: &[String],
    ) {
        self.push(
            KmsOperation::Wrap(material),
            master_key,
            key_id,
            key_alt_names,
        );
    }

    pub(crate) fn unwrap(
        &mut self,
        wrapped: &WrappedKeyMaterial,
        master_key: &MasterKey,
        key_id: Option<&KeyId>,
        key_alt_names: &[String],
    ) {
        self.push(
            KmsOperation::Unwrap(wrapped.clone()),
            master_key,
            key_id,
            key_alt_names,
        );
    }

    fn push(
        &mut self,
        operation: KmsOperation,
        master_key: &MasterKey,
        key_id: Option<&KeyId>,
        names: &[String],
    ) {
        let request = KmsRequest {
            id: self.first_id + self.requests.len() as u32,
            operation,
            master_key: master_key.clone(),
            key_id: key_id.copied(),
            key_alt_names: names.to_vec(),
        };
        self.requests.push((request, None));
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.requests.iter().all(|(_, reply)| reply.is_some())
    }

    pub(crate) fn outstanding(&self) -> Vec<&KmsRequest> {
        self.requests
            .iter()
            .filter(|(_, reply)| reply.is_none())
            .map(|(request, _)| request)
            .collect()
    }

    pub(crate) fn answer(
        &mut self,
        id: u32,
        reply: &[u8],
        kmip_key_id: Option<&str>,
    ) -> Result<()> {
        let (request, slot) = id
            .checked_sub(self.first_id)
            .and_then(|index| self.requests.get_mut(index as usize))
            .filter(|(_, slot)| slot.is_none())
            .ok_or_else(|| out_of_order("no outstanding KMS request has this id"))?;
        *slot = Some(match &request.operation {
            KmsOperation::Wrap(_) => {
                // RSA and symmetric wrapping both give more than they take.
                if reply.len() < KEY_MATERIAL_LEN {
                    return Err(reply_length(
                        "key material not expected length",
                        request,
                        reply.len(),
                    ));
                }
                let wrapped = WrappedKeyMaterial::new(reply.to_vec());
                KmsReply::Wrapped(wrapped, kmip_key_id.map(ToString::to_string))
            }
            KmsOperation::Unwrap(_) => {
                KmsReply::Unwrapped(KeyMaterial::copy_from(reply).map_err(|_| {
                    reply_length("decrypted key is incorrect length", request, reply.len())
                })?)
            }
        });
        Ok(())
    }

    /// Takes the replies in the order of the requests and makes room for the next round.
    pub(crate) fn take_replies(&mut self) -> Vec<KmsReply> {
        self.first_id += self.requests.len() as u32;
        self.requests
            .drain(..)
            .filter_map(|(_, reply)| reply)
            .collect()
    }
}

fn reply_length(message: &'static str, request: &KmsRequest, found: usize) -> Error {
    let mut error = Error::new(
        Code::KmsReplyLength,
        format!(
            "{message}: expected {KEY_MATERIAL_LEN} bytes from {}, found {found}",
            request.master_key.provider()
        ),
    )
    .with("provider", request.master_key.provider())
    .with("found", found);
    if let Some(key_id) = &request.key_id {
        error = error.with("keyId", key_id);
    }
    if !request.key_alt_names.is_empty() {
        error = error.with("keyAltNames", request.key_alt_names.join(", "));
    }
    error
}
