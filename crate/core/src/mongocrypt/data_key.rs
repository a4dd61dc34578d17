//! New data keys.

use alloc::{string::String, vec::Vec};

use super::{
    Call, MongoCryptContext, State,
    context::check_document,
    explicit_options::read_key_alt_name,
    key_broker::KeyBroker,
    kms_phase::KmsPhase,
    operation::{Operation, not_applicable},
};
use crate::{
    crypto::LocalMasterKey,
    error::{Code, Error, Result},
    key_vault::{KeyDocument, KeyId, MasterKey, WrappedKeyMaterial, check_new_alt_names},
    kms::{
        KmsOperation,
        wire::{Credentials, KmsProviders, WireReply, WireRequest},
    },
    machine::create_data_key::with_reply_key_id,
    raw::elements,
    secret::{KEY_MATERIAL_LEN, KeyMaterial, SecretBytes},
};

struct DataKeyOperation {
    key_alt_names: Vec<String>,
    master_key: MasterKey,
    /// None once it failed.
    material: Option<KeyMaterial>,
    wrapped: Option<WrappedKeyMaterial>,
    kms: KmsPhase,
}

impl MongoCryptContext {
    /// Makes a data key: 96 random bytes, or given ones, wrapped under a master key.
    ///
    /// Shape: `master_key` = `{provider, ...}`; `key_alt_names` = `{keyAltName: string}` each; `key_material` =
    /// `{keyMaterial: binary}`. Out: the key document to insert.
    /// Errors: `MASTER_KEY_INVALID`, `KMS_*`, `KEY_ALT_NAME_INVALID`, `KEY_MATERIAL_LENGTH`, `OPTION_INVALID`,
    /// `CRYPTO_RANDOM_UNAVAILABLE`.
    pub fn create_data_key(
        call: &mut Call<'_>,
        master_key: &[u8],
        key_alt_names: &[&[u8]],
        key_material: Option<&[u8]>,
    ) -> Result<Self> {
        let master_key = read_master_key(master_key)?;
        // Before anything is fetched for it, credentials included.
        call.library.admission().check_target(&master_key)?;
        let mut names = Vec::with_capacity(key_alt_names.len());
        for document in key_alt_names {
            names.push(read_key_alt_name(document)?);
            check_new_alt_names(&names)?;
        }
        let material = key_material.map(read_key_material).transpose()?;
        let mut broker = KeyBroker::new(call);
        let wants_credentials = check_configured(&master_key, broker.providers())?;
        let mut operation = DataKeyOperation {
            key_alt_names: names,
            master_key,
            material: Some(match material {
                Some(material) => material,
                None => KeyMaterial::fill_with(|out| call.entropy.fill(out))?,
            }),
            wrapped: None,
            kms: KmsPhase::new(0),
        };
        let state = match wants_credentials {
            true => State::NeedKmsCredentials,
            false => operation.credentials_provided(call, &mut broker)?,
        };
        Ok(Self::begin(state, operation, broker))
    }
}

impl Operation for DataKeyOperation {
    fn credentials_provided(
        &mut self,
        call: &mut Call<'_>,
        broker: &mut KeyBroker,
    ) -> Result<State> {
        let providers = broker.providers();
        let material = self.material.as_ref().ok_or_else(not_applicable)?;
        self.wrapped = wrap_or_ask(call, providers, &mut self.kms, material, &self.master_key)?;
        if self.wrapped.is_some() {
            return Ok(State::Ready);
        }
        self.kms.begin(call)?;
        Ok(State::NeedKms)
    }

    fn kms(&mut self) -> Option<&mut KmsPhase> {
        Some(&mut self.kms)
    }

    fn forget(&mut self) {
        self.material = None;
    }

    fn kms_complete(&mut self, _call: &mut Call<'_>) -> Result<State> {
        if let Some(reply) = self.kms.take_replies()?.pop() {
            let (master_key, wrapped) = read_wrapped(self.master_key.clone(), reply)?;
            self.master_key = master_key;
            self.wrapped = Some(wrapped);
        }
        Ok(State::Ready)
    }

    fn finalize(&mut self, call: &mut Call<'_>, _broker: &KeyBroker) -> Result<SecretBytes> {
        let mut random = [0; 16];
        call.entropy.fill(&mut random)?;
        let wrapped = self.wrapped.take().ok_or_else(|| {
            Error::new(Code::MachineOutOfOrder, "the data key is not wrapped yet")
        })?;
        KeyDocument::build(
            KeyId::v4_from_random(random),
            &self.key_alt_names,
            wrapped,
            call.now_ms as i64,
            self.master_key.clone(),
        )?
        .to_bytes()
        .map(SecretBytes::adopt)
    }
}

/// Reads a master key option.
///
/// Errors: `MASTER_KEY_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`.
pub(super) fn read_master_key(document: &[u8]) -> Result<MasterKey> {
    check_document(document, "invalid BSON")
        .map_err(|error| Error::new(Code::MasterKeyInvalid, String::from(error.message())))?;
    MasterKey::from_bytes(document)
}

/// Says whether credentials for this master key have to be asked for.
///
/// Errors: `KMS_PROVIDER_NOT_CONFIGURED` when its provider is not configured at all.
pub(super) fn check_configured(master_key: &MasterKey, providers: &KmsProviders) -> Result<bool> {
    let provider = master_key.provider();
    if providers.on_demand().contains(provider) {
        return Ok(true);
    }
    match providers.credentials(provider) {
        Ok(_) => Ok(false),
        Err(_) => Err(Error::new(
            Code::KmsProviderNotConfigured,
            // The space before the closing backtick is missing in the reference too.
            alloc::format!(
                "requested kms provider required by datakey is not configured: `{provider}`"
            ),
        )
        .with("provider", provider)),
    }
}

/// Reads `{keyMaterial: binary}`.
fn read_key_material(document: &[u8]) -> Result<KeyMaterial> {
    check_document(document, "invalid keyMaterial bson object")?;
    let invalid = |message| Error::new(Code::OptionInvalid, message);
    let mut fields = elements(document)?;
    let field = fields.next().ok_or_else(|| invalid("invalid bson"))??;
    if field.name != b"keyMaterial" {
        return Err(invalid("keyMaterial must have field 'keyMaterial'"));
    }
    let (_, bytes) = field
        .as_binary()
        .ok_or_else(|| invalid("keyMaterial must be binary data"))?;
    let material = KeyMaterial::copy_from(bytes).map_err(|error| {
        let found = bytes.len();
        Error::new(
            error.code(),
            alloc::format!(
                "keyMaterial should have length {KEY_MATERIAL_LEN}, but has length {found}"
            ),
        )
    })?;
    match fields.next() {
        None => Ok(material),
        Some(_) => Err(invalid("unrecognized field, only keyMaterial expected")),
    }
}

/// Admits a master key, and wraps here or adds a request. Every new wrapping of this interface goes through here.
///
/// Errors: `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`, `KMS_PROVIDER_NOT_CONFIGURED`, `CRYPTO_RANDOM_UNAVAILABLE`.
pub(super) fn wrap_or_ask(
    call: &mut Call<'_>,
    providers: &KmsProviders,
    kms: &mut KmsPhase,
    material: &KeyMaterial,
    master_key: &MasterKey,
) -> Result<Option<WrappedKeyMaterial>> {
    call.library.admission().check_target(master_key)?;
    if let Credentials::Local(key) = &**providers.credentials(master_key.provider())? {
        let wrapped = LocalMasterKey::new(key).wrap(material, call.entropy)?;
        return Ok(Some(WrappedKeyMaterial::new(wrapped)));
    }
    let operation = KmsOperation::Wrap(KeyMaterial::copy_from(material.expose())?);
    kms.add(WireRequest::new(operation, master_key.clone(), providers)?);
    Ok(None)
}

/// What is stored after a KMS has wrapped a key; a KMIP server may have made the object whose id goes in.
///
/// Errors: `MACHINE_OUT_OF_ORDER` for a reply of another kind.
pub(super) fn read_wrapped(
    master_key: MasterKey,
    reply: WireReply,
) -> Result<(MasterKey, WrappedKeyMaterial)> {
    match reply {
        WireReply::Wrapped {
            material,
            kmip_key_id,
        } => Ok((with_reply_key_id(master_key, kmip_key_id), material)),
        WireReply::Unwrapped(_) => Err(Error::new(
            Code::MachineOutOfOrder,
            "a wrapped key was expected",
        )),
    }
}
