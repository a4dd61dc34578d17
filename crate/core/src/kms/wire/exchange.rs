//! One message and its answer, with what happens when it fails.

use alloc::{format, string::String};

use super::{
    answer::{HttpAnswer, JsonAnswer, WantedJson},
    http::ResponseParser,
    kmip::{FrameReader, KmipAnswer, WantedKmip},
    retry::{MAX_RETRIES, backoff_us, is_retryable},
    writer::SecretWriter,
};
use crate::{
    error::{Code, Error, Result},
    kms::ProviderKind,
};

/// A message on its way out.
pub(super) struct Outgoing {
    /// `host:port`.
    pub(super) endpoint: String,
    pub(super) message: SecretWriter,
}

/// What an exchange is for.
pub(super) enum Wanted {
    /// `is_secret`: a successful answer holds key material or a token.
    Json {
        field: WantedJson,
        is_secret: bool,
    },
    Kmip(WantedKmip),
}

/// What it came to.
pub(super) enum Answer {
    Json(JsonAnswer),
    Kmip(KmipAnswer),
}

enum Reader {
    Http(ResponseParser),
    Kmip(FrameReader),
}

enum State {
    Receiving(Reader),
    /// It failed, and may be sent again.
    Waiting(Error),
    Answered(Answer),
}

pub(super) struct Exchange {
    kind: ProviderKind,
    outgoing: Outgoing,
    wanted: Wanted,
    retries: u32,
    state: State,
}

impl Exchange {
    pub(super) fn new(kind: ProviderKind, outgoing: Outgoing, wanted: Wanted) -> Self {
        let state = State::Receiving(reader(&wanted));
        Self {
            kind,
            outgoing,
            wanted,
            retries: 0,
            state,
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.outgoing.endpoint
    }

    pub(super) fn message(&self) -> &[u8] {
        self.outgoing.message.expose()
    }

    pub(super) fn bytes_needed(&self) -> usize {
        match &self.state {
            State::Receiving(Reader::Http(parser)) => parser.bytes_needed(),
            State::Receiving(Reader::Kmip(frame)) => frame.bytes_needed(),
            State::Waiting(_) | State::Answered(_) => 0,
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    pub(super) const fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered(_))
    }

    pub(super) fn sleep_us(&self, random: u32) -> u64 {
        backoff_us(self.retries, random)
    }

    /// Takes the next bytes of the answer, at most as many as are needed.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_waiting() {
            // COMPAT: the wording of libmongocrypt, function name and all.
            return Err(misuse(
                "KMS context needs retry. Call mongocrypt_kms_ctx_feed_with_retry instead",
            ));
        }
        if bytes.is_empty() {
            return Err(misuse("argument 'bytes' cannot be empty"));
        }
        if bytes.len() > self.bytes_needed() {
            return Err(misuse("KMS response fed too much data"));
        }
        match &mut self.state {
            State::Receiving(Reader::Http(parser)) => parser.feed(bytes)?,
            State::Receiving(Reader::Kmip(frame)) => frame.feed(bytes)?,
            State::Waiting(_) | State::Answered(_) => {}
        }
        if self.bytes_needed() == 0 {
            self.state = self.read()?;
        }
        Ok(())
    }

    /// What a complete answer comes to.
    fn read(&mut self) -> Result<State> {
        let request = &self.outgoing.message;
        match (&self.state, &self.wanted) {
            (State::Receiving(Reader::Http(parser)), Wanted::Json { field, is_secret }) => {
                let answer = HttpAnswer {
                    status: parser.status(),
                    body: parser.body(),
                    wanted: *field,
                    request,
                    is_secret: *is_secret,
                };
                if answer.status == 200 {
                    return answer.read().map(Answer::Json).map(State::Answered);
                }
                let error = answer.status_error();
                if !is_retryable(self.kind, answer.status, answer.body) {
                    return Err(error);
                }
                if self.retries == MAX_RETRIES {
                    return Err(exhausted(&error));
                }
                self.retries += 1;
                Ok(State::Waiting(error))
            }
            (State::Receiving(Reader::Kmip(frame)), Wanted::Kmip(wanted)) => wanted
                .read(frame.message(), request)
                .map(Answer::Kmip)
                .map(State::Answered),
            _ => Err(misuse("KMS response fed too much data")),
        }
    }

    /// The connection failed. Says whether the message may be sent again; an answer that is complete stays.
    ///
    /// DIFFERS: libmongocrypt would send a request again whose answer it has.
    pub(super) fn fail(&mut self) -> Result<bool> {
        match self.state {
            State::Answered(_) => Ok(false),
            State::Waiting(_) => Ok(true),
            State::Receiving(Reader::Kmip(_)) => Err(network_error(0)),
            State::Receiving(Reader::Http(_)) if self.retries == MAX_RETRIES => {
                Err(network_error(self.retries))
            }
            State::Receiving(Reader::Http(_)) => {
                self.retries += 1;
                self.state = State::Waiting(network_error(0));
                Ok(true)
            }
        }
    }

    /// Starts over, to be called when the message is sent again.
    pub(super) fn resend(&mut self) -> Result<()> {
        if !self.is_waiting() {
            return Err(misuse("a KMS request was sent again that did not fail"));
        }
        self.state = State::Receiving(reader(&self.wanted));
        Ok(())
    }

    /// Why there is no answer, if there is none. A request that waits for its retry gives the error it waits for.
    pub(super) fn missing_answer(&self) -> Option<Error> {
        match &self.state {
            State::Answered(_) => None,
            State::Waiting(error) => Some(error.clone()),
            State::Receiving(_) => Some(Error::new(
                Code::KmsResponseUnfinished,
                "KMS response unfinished",
            )),
        }
    }

    pub(super) fn into_answer(self) -> Option<Answer> {
        match self.state {
            State::Answered(answer) => Some(answer),
            State::Waiting(_) | State::Receiving(_) => None,
        }
    }
}

fn reader(wanted: &Wanted) -> Reader {
    match wanted {
        Wanted::Json { .. } => Reader::Http(ResponseParser::new()),
        Wanted::Kmip(_) => Reader::Kmip(FrameReader::new()),
    }
}

fn misuse(message: &'static str) -> Error {
    Error::new(Code::MachineOutOfOrder, message)
}

fn exhausted(last: &Error) -> Error {
    let message = format!("KMS request failed after maximum of {MAX_RETRIES} retries: {last}");
    let mut error = Error::new(Code::KmsRetriesExhausted, message);
    for (name, value) in last.details() {
        error = error.with(name, value);
    }
    error
}

fn network_error(retries: u32) -> Error {
    let message = match retries {
        0 => String::from("KMS request failed due to network error"),
        _ => format!("KMS request failed after {retries} retries due to a network error"),
    };
    Error::new(Code::KmsNetworkFailed, message)
}
