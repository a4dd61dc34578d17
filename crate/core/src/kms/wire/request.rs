//! One call of a KMS as a machine: messages out, bytes in, and a reply in the end.

use alloc::{string::String, sync::Arc};

use super::{
    answer::JsonAnswer,
    call::{Call, TokenSource},
    exchange::{Answer, Exchange},
    gcp::signature_failed,
    kmip::{KmipStep, Next},
    oauth::TokenKey,
    providers::KmsProviders,
    step::{SignatureWanted, WireContext, WireReply, WireStep},
    writer::SecretWriter,
};
use crate::{
    error::{Code, Error, Result},
    key_vault::{MasterKey, WrappedKeyMaterial},
    kms::{KmsOperation, KmsRequest},
    secret::{KEY_MATERIAL_LEN, KeyMaterial, SecretBytes},
};

/// One wrap or unwrap, over as many messages as its provider takes.
///
/// - [`WireRequest::step`] goes as far as possible and says what is wanted; asking twice gives the same answer.
/// - An error is sticky: every later call returns the same one.
/// - Dropping it wipes everything.
pub struct WireRequest {
    call: Call,
    stage: Stage,
    /// The token that this request fetched, for others that wait for the same one.
    fetched: Option<(TokenKey, Arc<SecretBytes>)>,
    failure: Option<Error>,
}

enum Stage {
    Start,
    Signing(TokenKey, SecretWriter),
    Token(TokenKey, Exchange),
    Calling(Exchange),
    Kmip(KmipStep, Exchange),
    Done(WireReply),
    /// The reply was taken, or an error is there.
    Over,
    /// An error is there, and no token: others may have waited for it.
    OverWithoutToken,
}

impl WireRequest {
    /// The wire form of a machine's request.
    ///
    /// Errors: those of [`Self::new`].
    pub fn from_request(request: &KmsRequest, providers: &KmsProviders) -> Result<Self> {
        let operation = match &request.operation {
            KmsOperation::Wrap(material) => {
                KmsOperation::Wrap(KeyMaterial::copy_from(material.expose())?)
            }
            KmsOperation::Unwrap(wrapped) => KmsOperation::Unwrap(wrapped.clone()),
        };
        Self::new(operation, request.master_key.clone(), providers)
    }

    /// A request for one operation under one master key.
    ///
    /// Errors: `KMS_PROVIDER_NOT_CONFIGURED`, also for local keys, which need no request.
    pub fn new(
        operation: KmsOperation,
        master_key: MasterKey,
        providers: &KmsProviders,
    ) -> Result<Self> {
        Ok(Self {
            call: Call::new(operation, master_key, providers)?,
            stage: Stage::Start,
            fetched: None,
            failure: None,
        })
    }

    /// Names the master key in requests that do not have to name it: AWS finds the key to decrypt with in the ciphertext,
    /// whatever key a key document says, and so a wrapping made under another key would be opened as well.
    pub fn bind_master_key(&mut self) {
        self.call.is_bound = true;
    }

    /// The master key that the request is about; its provider says which TLS options to use.
    #[must_use]
    pub const fn master_key(&self) -> &MasterKey {
        &self.call.master_key
    }

    /// Goes as far as possible and says what is wanted next.
    ///
    /// Errors: `KMS_REQUEST_INVALID`, `MASTER_KEY_INVALID`, `CRYPTO_*`, `KEY_MATERIAL_LENGTH`, `KMS_REPLY_LENGTH`, and
    /// those of [`Self::feed`] and [`Self::fail`]. They are sticky.
    pub fn step(&mut self, context: &mut WireContext<'_>) -> Result<WireStep> {
        self.guard(|request| {
            loop {
                if let Some(step) = request.at_rest() {
                    return Ok(step);
                }
                request.advance(context)?;
            }
        })
    }

    /// [`Self::step`] for a host that has sent and fed all it is going to.
    ///
    /// Errors: `KMS_RESPONSE_UNFINISHED` while an answer is incomplete; the error that a request waits to be sent again
    /// for; `KMS_SIGNATURE_FAILED` while a signature is missing; those of [`Self::step`].
    pub fn finish(&mut self, context: &mut WireContext<'_>) -> Result<WireStep> {
        self.guard(|request| {
            if matches!(request.stage, Stage::Signing(..)) {
                return Err(signature_failed());
            }
            match request.current().and_then(Exchange::missing_answer) {
                Some(error) => Err(error),
                None => Ok(()),
            }
        })?;
        self.step(context)
    }

    /// The message to send, while [`WireStep::Exchange`] is wanted. It holds secrets.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`; the sticky error.
    pub fn message(&self) -> Result<&[u8]> {
        self.exchange().map(Exchange::message)
    }

    /// Where to send it: `host:port`.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`; the sticky error.
    pub fn endpoint(&self) -> Result<&str> {
        self.exchange().map(Exchange::endpoint)
    }

    /// How many bytes of the answer may be read and fed next: 0 when it is complete, has failed, or is to be sent again.
    #[must_use]
    pub fn bytes_needed(&self) -> usize {
        match &self.failure {
            None => self.current().map_or(0, Exchange::bytes_needed),
            Some(_) => 0,
        }
    }

    /// Takes the next bytes of the answer.
    ///
    /// Errors: `KMS_RESPONSE_MALFORMED`, `KMS_RESPONSE_TOO_LARGE`, `KMS_ERROR_STATUS`, `KMS_RETRIES_EXHAUSTED`,
    /// `KMS_OPERATION_FAILED`; `MACHINE_OUT_OF_ORDER` for nothing, for more than is needed, and before
    /// [`Self::resend`]. They are sticky.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.guard(|request| {
            let exchange = request.current_mut().ok_or_else(nothing_under_way)?;
            exchange.feed(bytes)
        })
    }

    /// The connection failed. Says whether the message may be sent again ([`WireStep::Retry`]).
    ///
    /// An answer that is complete already stays, and there is nothing to send again then.
    pub fn fail(&mut self) -> bool {
        self.guard(|request| request.current_mut().map_or(Ok(false), Exchange::fail))
            .unwrap_or(false)
    }

    /// How long to wait before sending the message, from 32 random bits: 0 for the first time.
    ///
    /// Units: microseconds.
    #[must_use]
    pub fn sleep_us(&self, random: u32) -> u64 {
        self.current()
            .map_or(0, |exchange| exchange.sleep_us(random))
    }

    /// Whether the message is to be sent again.
    #[must_use]
    pub fn is_retry_wanted(&self) -> bool {
        self.failure.is_none() && self.current().is_some_and(Exchange::is_waiting)
    }

    /// Says that the message is being sent again, and starts its answer over.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER` unless [`WireStep::Retry`] is wanted; the sticky error.
    pub fn resend(&mut self) -> Result<()> {
        self.guard(|request| {
            let exchange = request.current_mut().ok_or_else(nothing_under_way)?;
            exchange.resend()
        })
    }

    /// What to sign, while [`WireStep::NeedSignature`] is wanted.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`; the sticky error.
    pub fn signature_wanted(&self) -> Result<SignatureWanted<'_>> {
        self.check()?;
        match (&self.stage, self.call.signing_key()) {
            (Stage::Signing(_, input), Some(private_key)) => Ok(SignatureWanted {
                private_key: private_key.expose(),
                input: input.expose(),
            }),
            _ => Err(out_of_order("no signature is wanted")),
        }
    }

    /// Takes the signature.
    ///
    /// Errors: `KMS_SIGNATURE_FAILED` when it is empty or too long, which is how a host says that it cannot sign;
    /// `MACHINE_OUT_OF_ORDER`. They are sticky.
    pub fn provide_signature(&mut self, signature: &[u8]) -> Result<()> {
        self.guard(|request| {
            let Stage::Signing(key, input) = &request.stage else {
                return Err(out_of_order("no signature is wanted"));
            };
            let exchange = request.call.signed_token_exchange(input, signature)?;
            request.stage = Stage::Token(key.clone(), exchange);
            Ok(())
        })
    }

    /// The reply, once.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`; the sticky error.
    pub fn take_reply(&mut self) -> Result<WireReply> {
        self.check()?;
        match core::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Done(reply) => Ok(reply),
            other => {
                self.stage = other;
                Err(out_of_order("there is no reply to take"))
            }
        }
    }

    /// The sticky error, if there is one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Which token the request would fetch, if it has not begun and no such token is cached.
    pub(super) fn token_to_fetch(&self, context: &WireContext<'_>) -> Option<TokenKey> {
        match (&self.stage, self.call.token_source()) {
            (Stage::Start, TokenSource::Fetched(key)) => {
                let is_cached = context.tokens.find(&key, context.now_ms).is_some();
                (!is_cached).then_some(key)
            }
            _ => None,
        }
    }

    /// The token that is being fetched.
    pub(super) const fn token_under_way(&self) -> Option<&TokenKey> {
        match &self.stage {
            Stage::Signing(key, _) | Stage::Token(key, _) => Some(key),
            _ => None,
        }
    }

    /// Builds the message, unless a token has to be fetched for it first.
    ///
    /// Errors: those of [`Self::step`].
    pub(crate) fn begin_without_token(&mut self, context: &mut WireContext<'_>) -> Result<()> {
        match self.token_to_fetch(context) {
            Some(_) => Ok(()),
            None => self.step(context).map(drop),
        }
    }

    /// Whether it is fetching its token, or failed while it did.
    pub(crate) const fn is_fetching(&self) -> bool {
        matches!(
            self.stage,
            Stage::Signing(..) | Stage::Token(..) | Stage::OverWithoutToken
        )
    }

    /// The token that was fetched.
    pub(super) fn fetched_token(&self) -> Option<&(TokenKey, Arc<SecretBytes>)> {
        self.fetched.as_ref()
    }

    /// Begins with a token that another request fetched.
    pub(super) fn begin_with_token(&mut self, token: &SecretBytes, now_ms: i64) -> Result<()> {
        self.guard(|request| {
            request.stage = Stage::Calling(request.call.exchange(token.expose(), now_ms)?);
            Ok(())
        })
    }

    /// Gives up: the token did not come.
    pub(super) fn give_up_token(&mut self) -> Error {
        let failed = Error::new(
            Code::KmsTokenMissing,
            "authentication failed, no oauth token",
        );
        let result: Result<()> = self.guard(|_| Err(failed.clone()));
        result.err().unwrap_or(failed)
    }

    /// What is wanted of the host, unless there is something to do without it.
    fn at_rest(&self) -> Option<WireStep> {
        match &self.stage {
            Stage::Start => None,
            Stage::Signing(..) => Some(WireStep::NeedSignature),
            Stage::Token(_, exchange) | Stage::Calling(exchange) | Stage::Kmip(_, exchange) => {
                match (exchange.is_answered(), exchange.is_waiting()) {
                    (true, _) => None,
                    (false, true) => Some(WireStep::Retry),
                    (false, false) => Some(WireStep::Exchange),
                }
            }
            Stage::Done(_) | Stage::Over | Stage::OverWithoutToken => Some(WireStep::Done),
        }
    }

    fn advance(&mut self, context: &mut WireContext<'_>) -> Result<()> {
        self.stage = match core::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Start => self.start(context)?,
            Stage::Token(key, exchange) => match exchange.into_answer() {
                Some(Answer::Json(JsonAnswer::Token(token))) => {
                    let token = context.tokens.store(&key, token, context.now_ms);
                    let next = self.call.exchange(token.expose(), context.now_ms)?;
                    self.fetched = Some((key, token));
                    Stage::Calling(next)
                }
                _ => return Err(nothing_under_way()),
            },
            Stage::Calling(exchange) => match exchange.into_answer() {
                Some(Answer::Json(JsonAnswer::Bytes(bytes))) => self.done(bytes.expose(), None)?,
                _ => return Err(nothing_under_way()),
            },
            Stage::Kmip(step, exchange) => match (exchange.into_answer(), self.call.kmip()) {
                (Some(Answer::Kmip(answer)), Some(call)) => {
                    let next = call.advance(step, answer, context.entropy)?;
                    self.follow(next)?
                }
                _ => return Err(nothing_under_way()),
            },
            resting => resting,
        };
        Ok(())
    }

    fn start(&self, context: &mut WireContext<'_>) -> Result<Stage> {
        if let Some(call) = self.call.kmip() {
            let next = call.start(context.entropy)?;
            return self.follow(next);
        }
        let now_ms = context.now_ms;
        let exchange = match self.call.token_source() {
            TokenSource::Unused => self.call.exchange(b"", now_ms)?,
            TokenSource::Given(token) => self.call.exchange(token.expose(), now_ms)?,
            TokenSource::Fetched(key) => {
                if let Some(token) = context.tokens.find(&key, now_ms) {
                    self.call.exchange(token.expose(), now_ms)?
                } else if let Some(input) = self.call.signing_input(now_ms) {
                    return Ok(Stage::Signing(key, input));
                } else {
                    return Ok(Stage::Token(key, self.call.token_exchange()?));
                }
            }
        };
        Ok(Stage::Calling(exchange))
    }

    fn follow(&self, next: Next) -> Result<Stage> {
        match next {
            Next::Send(step, message, wanted) => {
                let exchange = self.call.kmip_exchange(message, wanted)?;
                Ok(Stage::Kmip(step, exchange))
            }
            Next::Wrapped(bytes, made) => self.done(&bytes, made),
            Next::Unwrapped(bytes) => self.done(bytes.expose(), None),
        }
    }

    /// Checks the length of what came back.
    fn done(&self, bytes: &[u8], kmip_key_id: Option<String>) -> Result<Stage> {
        let wrong = |message: &'static str| {
            let found = bytes.len();
            Error::new(Code::KmsReplyLength, message).with("found", found)
        };
        let reply = match &self.call.operation {
            // Every way of wrapping gives at least as much as it takes.
            KmsOperation::Wrap(_) if bytes.len() < KEY_MATERIAL_LEN => {
                return Err(wrong("key material not expected length"));
            }
            KmsOperation::Wrap(_) => WireReply::Wrapped {
                material: WrappedKeyMaterial::new(bytes.to_vec()),
                kmip_key_id,
            },
            KmsOperation::Unwrap(_) => WireReply::Unwrapped(
                KeyMaterial::copy_from(bytes)
                    .map_err(|_| wrong("decrypted key is incorrect length"))?,
            ),
        };
        Ok(Stage::Done(reply))
    }

    fn exchange(&self) -> Result<&Exchange> {
        self.check()?;
        self.current().ok_or_else(nothing_under_way)
    }

    fn current(&self) -> Option<&Exchange> {
        match &self.stage {
            Stage::Token(_, exchange) | Stage::Calling(exchange) | Stage::Kmip(_, exchange) => {
                Some(exchange)
            }
            _ => None,
        }
    }

    fn current_mut(&mut self) -> Option<&mut Exchange> {
        match &mut self.stage {
            Stage::Token(_, exchange) | Stage::Calling(exchange) | Stage::Kmip(_, exchange) => {
                Some(exchange)
            }
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Makes an error sticky, and names the provider in it. Message and answer go with it.
    fn guard<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.check()?;
        act(self).map_err(|error| {
            self.stage = match self.is_fetching() {
                true => Stage::OverWithoutToken,
                false => Stage::Over,
            };
            let error = error.with("provider", self.call.master_key.provider());
            self.failure = Some(error.clone());
            error
        })
    }
}

fn out_of_order(message: &'static str) -> Error {
    Error::new(Code::MachineOutOfOrder, message)
}

fn nothing_under_way() -> Error {
    out_of_order("no KMS message is under way: step first")
}
