//! Making and opening sealed backups.

use alloc::vec::Vec;

use super::{
    Context, Machine, Step, Work,
    create_data_key::{mismatch, with_reply_key_id, wrap_or_ask},
    kms_round::{KmsReply, KmsRound},
};
use crate::{
    crypto::Argon2Parameters,
    engine::Wrapping,
    error::{Code, Error, Result},
    key_vault::{MasterKey, WrappedKeyMaterial},
    sealed_backup::{self, Header, KeyMethod, Sealing},
    secret::{KeyMaterial, SecretBytes},
};

struct SealUnderMasterKey {
    content: SecretBytes,
    chunk_len: usize,
    material: KeyMaterial,
    master_key: MasterKey,
    wrapped: Option<WrappedKeyMaterial>,
    round: KmsRound,
    file: Option<Vec<u8>>,
    is_sealed: bool,
}

/// A result that was there from the start.
struct Ready(Option<SecretBytes>);

struct OpenUnderMasterKey {
    file: Vec<u8>,
    round: KmsRound,
    material: Option<KeyMaterial>,
    content: Option<SecretBytes>,
    is_opened: bool,
}

impl Machine {
    /// Seals a backup under a master key: 96 random bytes are wrapped, and unwrapped again by a second call, before
    /// anything is sealed with them.
    ///
    /// Shape: `master_key` = `{provider, ...}`; `facts` and `records` as in [`sealed_backup::compose`]; out: the file.
    /// Errors: those of creating a data key; `KMS_REPLY_MISMATCH`; `BACKUP_CONTENT_INVALID`, `BACKUP_LIMIT_EXCEEDED`.
    pub fn seal_backup(
        context: &mut Context<'_>,
        master_key: &[u8],
        facts: &[u8],
        records: &[u8],
        chunk_len: usize,
    ) -> Result<Self> {
        let master_key = MasterKey::from_bytes(master_key)?;
        let content = sealed_backup::compose(facts, records)?;
        let material = KeyMaterial::fill_with(|out| context.entropy.fill(out))?;
        let mut round = KmsRound::default();
        let wrapped = wrap_or_ask(context, &mut round, &material, &master_key, None, &[])?;
        Ok(Self::new(SealUnderMasterKey {
            content,
            chunk_len,
            material,
            master_key,
            wrapped,
            round,
            file: None,
            is_sealed: false,
        }))
    }

    /// Seals a backup under a passphrase, which takes the time and memory of Argon2id.
    ///
    /// Shape: `passphrase` is UTF-8 that the caller normalised; out: the file.
    /// Errors: `BACKUP_PASSPHRASE_INVALID`, `BACKUP_LIMIT_EXCEEDED`, `BACKUP_CONTENT_INVALID`,
    /// `CRYPTO_RANDOM_UNAVAILABLE`.
    pub fn seal_backup_with_passphrase(
        context: &mut Context<'_>,
        passphrase: &SecretBytes,
        parameters: Argon2Parameters,
        facts: &[u8],
        records: &[u8],
        chunk_len: usize,
    ) -> Result<Self> {
        let content = sealed_backup::compose(facts, records)?;
        let sealing = Sealing::with_passphrase(passphrase.expose(), parameters, context.entropy)?;
        let file = sealing.seal(content.expose(), chunk_len, context.entropy)?;
        Ok(Self::new(Ready(Some(SecretBytes::adopt(file)))))
    }

    /// Opens a sealed backup. `passphrase` is needed for a file under a passphrase and unused for others.
    ///
    /// Shape: out: manifest and records as BSON documents end to end, as in [`sealed_backup::parse`].
    /// Errors: those of [`Header::parse`]; `BACKUP_KEY_MISSING`, `BACKUP_KEY_WRONG`, `BACKUP_CHUNK_DAMAGED`,
    /// `BACKUP_CONTENT_INVALID`; `KMS_REPLY_LENGTH`; `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`, `KMS_ENDPOINT_NOT_ALLOWED`.
    pub fn open_backup(
        context: &mut Context<'_>,
        file: &[u8],
        passphrase: Option<&SecretBytes>,
    ) -> Result<Self> {
        match (Header::parse(file)?.method, passphrase) {
            (KeyMethod::Passphrase { parameters, salt }, Some(passphrase)) => {
                sealed_backup::check_passphrase(passphrase.expose())?;
                let secret = parameters.derive(passphrase.expose(), &salt)?;
                let content = opened(file, secret.expose())?;
                Ok(Self::new(Ready(Some(content))))
            }
            (KeyMethod::Passphrase { .. }, None) => Err(Error::new(
                Code::BackupKeyMissing,
                "this sealed backup is under a passphrase, and none was given",
            )
            .with("method", "passphrase")),
            (
                KeyMethod::MasterKey {
                    master_key,
                    wrapped,
                },
                _,
            ) => {
                context.engine.admission().check_source(&master_key)?;
                let mut round = KmsRound::default();
                let provider = master_key.provider();
                let material = match context.engine.wrapping(provider) {
                    Ok(Wrapping::Local(local)) => Some(local.unwrap(wrapped.as_bytes()).map_err(|_| {
                        Error::new(
                            Code::BackupKeyWrong,
                            alloc::format!("the master key of {provider} is not the one of this sealed backup"),
                        )
                        .with("provider", provider)
                    })?),
                    Ok(Wrapping::Remote) => {
                        round.unwrap(&wrapped, &master_key, None, &[]);
                        None
                    }
                    Err(_) => {
                        return Err(Error::new(
                            Code::BackupKeyMissing,
                            alloc::format!("this sealed backup is under a master key of {provider}, which is not configured"),
                        )
                        .with("method", "masterKey")
                        .with("provider", provider));
                    }
                };
                Ok(Self::new(OpenUnderMasterKey {
                    file: file.to_vec(),
                    round,
                    material,
                    content: None,
                    is_opened: false,
                }))
            }
        }
    }
}

fn opened(file: &[u8], file_secret: &[u8]) -> Result<SecretBytes> {
    let content = sealed_backup::open(file, file_secret)?;
    sealed_backup::parse(content.expose())?;
    Ok(content)
}

impl Work for SealUnderMasterKey {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Step> {
        if self.is_sealed {
            return Ok(Step::Done);
        }
        if !self.round.is_answered() {
            return Ok(Step::NeedKms);
        }
        let is_proven = match self.round.take_replies().pop() {
            Some(KmsReply::Wrapped(wrapped, kmip_key_id)) => {
                self.master_key = with_reply_key_id(self.master_key.clone(), kmip_key_id);
                self.master_key.check_usable()?;
                self.round.unwrap(&wrapped, &self.master_key, None, &[]);
                self.wrapped = Some(wrapped);
                return Ok(Step::NeedKms);
            }
            Some(KmsReply::Unwrapped(material)) => material.ct_eq(&self.material),
            None => match (
                context.engine.wrapping(self.master_key.provider())?,
                &self.wrapped,
            ) {
                (Wrapping::Local(local), Some(wrapped)) => {
                    local.unwrap(wrapped.as_bytes())?.ct_eq(&self.material)
                }
                _ => false,
            },
        };
        match self.wrapped.take() {
            Some(wrapped) if is_proven => {
                let master_key = self.master_key.clone();
                let sealing = Sealing::with_material(
                    KeyMethod::MasterKey {
                        master_key,
                        wrapped,
                    },
                    &self.material,
                );
                self.file =
                    Some(sealing.seal(self.content.expose(), self.chunk_len, context.entropy)?);
                self.is_sealed = true;
                Ok(Step::Done)
            }
            _ => Err(mismatch(self.master_key.provider())),
        }
    }

    fn round(&mut self) -> Option<&mut KmsRound> {
        Some(&mut self.round)
    }

    fn output(&mut self) -> Option<SecretBytes> {
        self.file.take().map(SecretBytes::adopt)
    }
}

impl Work for Ready {
    fn step(&mut self, _context: &mut Context<'_>) -> Result<Step> {
        Ok(Step::Done)
    }

    fn output(&mut self) -> Option<SecretBytes> {
        self.0.take()
    }
}

impl Work for OpenUnderMasterKey {
    fn step(&mut self, _context: &mut Context<'_>) -> Result<Step> {
        if self.is_opened {
            return Ok(Step::Done);
        }
        if !self.round.is_answered() {
            return Ok(Step::NeedKms);
        }
        if let Some(KmsReply::Unwrapped(material)) = self.round.take_replies().pop() {
            self.material = Some(material);
        }
        if let Some(material) = self.material.take() {
            self.content = Some(opened(&self.file, material.expose())?);
            self.is_opened = true;
        }
        Ok(Step::Done)
    }

    fn round(&mut self) -> Option<&mut KmsRound> {
        Some(&mut self.round)
    }

    fn output(&mut self) -> Option<SecretBytes> {
        self.content.take()
    }
}
