//! Reading an answer, however it is cut.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
};

use crate::{
    error::{Code, Error, Result},
    secret::SecretBytes,
};

/// Longest body that is read: 16 MiB, as in libmongocrypt.
pub const MAX_BODY_LEN: usize = 16 * 1024 * 1024;
/// Longest head that is read. Real ones have about 1 KiB.
const MAX_HEAD_LEN: usize = 64 * 1024;
/// Longest line that announces a chunk, extensions included.
const MAX_CHUNK_LINE_LEN: usize = 4 * 1024;
/// Most bytes of a chunked answer, so that one made of tiny chunks comes to an end too.
const MAX_CHUNKED_LEN: usize = 2 * MAX_BODY_LEN;
/// How many bytes to ask for while the end is not known.
const UNKNOWN_NEED: usize = 1024;

/// A parser that is fed an answer piece by piece.
///
/// The result does not depend on where the answer is cut. Memory grows with what has arrived, never with what was
/// announced. The body may hold a secret, and so it is kept in wiped memory.
///
/// DIFFERS: header names, and the value of `Transfer-Encoding`, are matched without regard to case, and chunk
/// extensions are skipped (RFC 9112 sections 5.1, 6.1 and 7.1.1); libmongocrypt does neither. Status codes of other than
/// three digits, two different lengths and chunks without their end are refused.
pub struct ResponseParser {
    state: State,
    /// The line being read, without its end.
    line: SecretBytes,
    status: u16,
    content_length: Option<usize>,
    is_chunked: bool,
    head_len: usize,
    chunked_len: usize,
    body: SecretBytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    StatusLine,
    Header,
    /// So many bytes are missing.
    Body(usize),
    ChunkLine,
    /// So many bytes are missing before the end of the chunk.
    Chunk(usize),
    /// So many bytes of the line end after a chunk are missing.
    ChunkEnd {
        missing: usize,
        is_last: bool,
    },
    Complete,
}

impl Default for ResponseParser {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseParser {
    /// A parser that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::StatusLine,
            line: SecretBytes::with_capacity(UNKNOWN_NEED),
            status: 0,
            content_length: None,
            is_chunked: false,
            head_len: 0,
            chunked_len: 0,
            body: SecretBytes::with_capacity(UNKNOWN_NEED),
        }
    }

    /// How many more bytes may be read and fed: 0 when the answer is complete.
    #[must_use]
    pub fn bytes_needed(&self) -> usize {
        match self.state {
            State::StatusLine | State::Header | State::ChunkLine => UNKNOWN_NEED,
            State::Body(missing) => missing,
            State::Chunk(missing) => missing + 2,
            State::ChunkEnd { missing, .. } => missing,
            State::Complete => 0,
        }
    }

    /// The status, once its line has been read; 0 before.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body read so far. The caller decides whether it is a secret.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.expose()
    }

    /// Takes the next bytes of the answer.
    ///
    /// Errors: `KMS_RESPONSE_MALFORMED` and `KMS_RESPONSE_TOO_LARGE`; the parser is not to be fed any more then.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::StatusLine | State::Header => self.feed_head(bytes)?,
                State::ChunkLine => self.feed_chunk_line(bytes)?,
                State::Body(missing) => {
                    if bytes.len() > missing {
                        return Err(self.malformed("Unexpected: exceeded content length"));
                    }
                    self.take_body(bytes, State::Body)?
                }
                State::Chunk(missing) => {
                    let part = &bytes[..bytes.len().min(missing)];
                    self.take_body(part, State::Chunk)?
                }
                State::ChunkEnd { missing, is_last } => {
                    if bytes[0] != b"\r\n"[2 - missing] {
                        return Err(self.malformed(match is_last {
                            true => "Unexpected extra HTTP content",
                            false => "Unexpected: exceeded content length",
                        }));
                    }
                    self.state = match (missing, is_last) {
                        (2, _) => State::ChunkEnd {
                            missing: 1,
                            is_last,
                        },
                        (_, true) => State::Complete,
                        (_, false) => State::ChunkLine,
                    };
                    1
                }
                State::Complete => return Err(self.malformed("Unexpected extra HTTP content")),
            };
            if self.is_chunked && self.state != State::Header {
                self.chunked_len += taken;
                if self.chunked_len > MAX_CHUNKED_LEN {
                    return Err(self.too_large());
                }
            }
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn take_body(&mut self, part: &[u8], state: fn(usize) -> State) -> Result<usize> {
        let missing = match self.state {
            State::Body(missing) | State::Chunk(missing) => missing - part.len(),
            _ => 0,
        };
        if self.body.expose().len() + part.len() > MAX_BODY_LEN {
            return Err(self.too_large());
        }
        self.body.reserve(part.len());
        self.body.expose_mut().extend_from_slice(part);
        self.state = match (missing, self.is_chunked) {
            (0, false) => State::Complete,
            (0, true) => State::ChunkEnd {
                missing: 2,
                is_last: false,
            },
            _ => state(missing),
        };
        Ok(part.len())
    }

    /// Reads up to the end of a line of the head.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<usize> {
        let (taken, is_whole) = self.feed_line(bytes);
        self.head_len += taken;
        if self.head_len > MAX_HEAD_LEN {
            return Err(self.too_large());
        }
        if is_whole {
            let line = core::mem::replace(&mut self.line, SecretBytes::with_capacity(UNKNOWN_NEED));
            match self.state {
                State::StatusLine => self.read_status_line(line.expose())?,
                _ if line.expose().is_empty() => self.end_head(),
                _ => self.read_header(line.expose())?,
            }
        }
        Ok(taken)
    }

    fn feed_chunk_line(&mut self, bytes: &[u8]) -> Result<usize> {
        let (taken, is_whole) = self.feed_line(bytes);
        if self.line.expose().len() > MAX_CHUNK_LINE_LEN {
            return Err(self.malformed("Failed to parse hex chunk length."));
        }
        if is_whole {
            let len = chunk_len(self.line.expose())
                .ok_or_else(|| self.malformed("Failed to parse hex chunk length."))?;
            self.line.expose_mut().clear();
            self.state = match len {
                0 => State::ChunkEnd {
                    missing: 2,
                    is_last: true,
                },
                len => State::Chunk(len),
            };
        }
        Ok(taken)
    }

    /// Appends to the line. Returns how many bytes were taken, and whether the line has ended; its end is dropped then.
    fn feed_line(&mut self, bytes: &[u8]) -> (usize, bool) {
        let taken = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |at| at + 1);
        self.line.reserve(taken);
        let line = self.line.expose_mut();
        line.extend_from_slice(&bytes[..taken]);
        let is_whole = line.ends_with(b"\r\n");
        if is_whole {
            line.truncate(line.len() - 2);
        }
        (taken, is_whole)
    }

    fn read_status_line(&mut self, line: &[u8]) -> Result<()> {
        let rest = line
            .strip_prefix(b"HTTP/1.1 ")
            .ok_or_else(|| self.malformed("Could not parse HTTP-Version."))?;
        let digits = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
        self.status = Some(digits)
            .filter(|digits| digits.len() == 3)
            .and_then(decimal)
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| *status >= 100)
            .ok_or_else(|| self.malformed("Could not parse Status-Code."))?;
        self.state = State::Header;
        Ok(())
    }

    fn read_header(&mut self, line: &[u8]) -> Result<()> {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or_else(|| self.malformed("Could not parse header, no colon found."))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value)
                .filter(|length| *length <= MAX_BODY_LEN)
                .filter(|length| self.content_length.is_none_or(|known| known == *length))
                .ok_or_else(|| self.malformed("Could not parse Content-Length header."))?;
            self.content_length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                let shown: String = String::from_utf8_lossy(value).chars().take(64).collect();
                return Err(self.malformed(format!("Unsupported Transfer-Encoding: {shown}")));
            }
            self.is_chunked = true;
        }
        Ok(())
    }

    /// A transfer coding overrides a length (RFC 9112 section 6.3); without either there is no body.
    fn end_head(&mut self) {
        self.state = match (self.is_chunked, self.content_length) {
            (true, _) => State::ChunkLine,
            (false, None | Some(0)) => State::Complete,
            (false, Some(length)) => State::Body(length),
        };
    }

    fn malformed(&self, complaint: impl Into<Cow<'static, str>>) -> Error {
        self.refuse(Code::KmsResponseMalformed, &complaint.into())
    }

    fn too_large(&self) -> Error {
        self.refuse(Code::KmsResponseTooLarge, "KMS response too large")
    }

    fn refuse(&self, code: Code, complaint: &str) -> Error {
        let status = self.status;
        Error::new(
            code,
            format!("KMS response parser error with status {status}, error: '{complaint}'"),
        )
        .with("status", status.to_string())
    }
}

/// Digits only: no sign, no space.
fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// The length that a chunk line announces, at most [`MAX_BODY_LEN`].
fn chunk_len(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16)
        .ok()
        .filter(|len| *len <= MAX_BODY_LEN)
}
