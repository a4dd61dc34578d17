//! The first byte of a subtype-6 value, and the algorithms it stands for.

use crate::error::{Code, Error, Result};

/// The two algorithms of CSFLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Equal values give equal ciphertexts, so that equality can be queried.
    Deterministic,
    /// A fresh initialisation vector each time.
    Random,
}

impl Algorithm {
    /// The spelling of the driver specification.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deterministic => "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic",
            Self::Random => "AEAD_AES_256_CBC_HMAC_SHA_512-Random",
        }
    }

    /// Reads the algorithm option; case does not matter, as in the reference.
    ///
    /// Errors: `ALGORITHM_QUERYABLE` for the algorithms of Queryable Encryption; `ALGORITHM_UNSUPPORTED` otherwise.
    pub fn parse(text: &str) -> Result<Self> {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        if is(Self::Deterministic.as_str()) {
            return Ok(Self::Deterministic);
        }
        if is(Self::Random.as_str()) {
            return Ok(Self::Random);
        }
        if ["Indexed", "Unindexed", "Range", "String"]
            .iter()
            .any(|name| is(name))
        {
            return Err(Error::new(
                Code::AlgorithmQueryable,
                alloc::format!(
                    "algorithm \"{text}\" belongs to Queryable Encryption; expected \"{}\" or \"{}\"",
                    Self::Deterministic.as_str(),
                    Self::Random.as_str()
                ),
            ));
        }
        if is("rangePreview") {
            return Err(Error::new(
                Code::AlgorithmQueryable,
                "Algorithm 'rangePreview' is deprecated, please use 'range'",
            ));
        }
        if is("textPreview") {
            return Err(Error::new(
                Code::AlgorithmQueryable,
                "Algorithm 'textPreview' is deprecated, please use 'string'",
            ));
        }
        Err(Error::new(
            Code::AlgorithmUnsupported,
            alloc::format!("unsupported algorithm string \"{text}\""),
        ))
    }

    /// The first byte of values encrypted so.
    #[must_use]
    pub const fn blob_subtype(self) -> u8 {
        match self {
            Self::Deterministic => 1,
            Self::Random => 2,
        }
    }
}

/// What a subtype-6 value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// A marking of a query analyser: plaintext on its way to the library (0).
    Marking,
    /// A value of CSFLE (1, 2).
    Encrypted(Algorithm),
    /// A value of Queryable Encryption that its own library would decrypt (4, 6, 7, 9, 11, 14 to 17).
    QueryableStored,
    /// A payload of Queryable Encryption that travels in commands only (3, 5, 10, 12, 13, 18).
    QueryableCommand,
    /// Not defined by any release (8, 19 and above).
    Unknown,
    /// No byte at all.
    Empty,
}

impl PayloadKind {
    /// Tells the kind of a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        match payload.first() {
            None => Self::Empty,
            Some(0) => Self::Marking,
            Some(1) => Self::Encrypted(Algorithm::Deterministic),
            Some(2) => Self::Encrypted(Algorithm::Random),
            Some(4 | 6 | 7 | 9 | 11 | 14..=17) => Self::QueryableStored,
            Some(3 | 5 | 10 | 12 | 13 | 18) => Self::QueryableCommand,
            Some(_) => Self::Unknown,
        }
    }
}
