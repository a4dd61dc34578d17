//! The one error type and the table of stable codes.

use alloc::{
    borrow::Cow,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// Result of every fallible operation of this crate.
pub type Result<T> = core::result::Result<T, Error>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// What went wrong, as a code that never changes. Each entry documents cause and remedy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The spelling that leaves this crate, such as `KEY_VAULT_KEY_NOT_FOUND`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)+ }
            }
        }
    };
}

// Append only: a code that has been released keeps its spelling and its meaning. `tests/vectors/error-codes.json` holds
// the released list, and a test fails when one vanishes.
codes! {
    /// A message authentication code did not match: the key is another one, or the bytes were altered. Check that the
    /// master key is the one the data was encrypted under; restore the value from a backup when it is damaged.
    CryptoAuthenticationFailed = "CRYPTO_AUTHENTICATION_FAILED",
    /// The encrypted bytes are shorter than initialisation vector, one block and tag (64 bytes): they were cut.
    CryptoInputTooShort = "CRYPTO_INPUT_TOO_SHORT",
    /// The host's source of randomness failed. Nothing was encrypted; check the platform.
    CryptoRandomUnavailable = "CRYPTO_RANDOM_UNAVAILABLE",
    /// Key material is not 96 bytes long.
    KeyMaterialLength = "KEY_MATERIAL_LENGTH",
    /// The bytes are not a well-formed BSON document; the offset says where.
    BsonMalformed = "BSON_MALFORMED",
    /// The document nests deeper than the 200 levels that servers accept.
    BsonTooDeep = "BSON_TOO_DEEP",
    /// The document is larger than 16 MiB (16,777,216 bytes) after encryption or decryption. Store large values apart.
    BsonTooLarge = "BSON_TOO_LARGE",
    /// A subtype-6 value is too short to hold its header of 18 bytes and a ciphertext: it was cut.
    PayloadTooShort = "PAYLOAD_TOO_SHORT",
    /// A subtype-6 value is a plaintext marking (kind 0), which only exists between a query analyser and the library.
    PayloadIsMarking = "PAYLOAD_IS_MARKING",
    /// A subtype-6 value belongs to Queryable Encryption, which this library does not decrypt. Use a driver with
    /// libmongocrypt for that collection.
    PayloadIsQueryable = "PAYLOAD_IS_QUERYABLE",
    /// A subtype-6 value is of a kind that no MongoDB release defines.
    PayloadKindUnknown = "PAYLOAD_KIND_UNKNOWN",
    /// The value to decrypt is not BSON binary subtype 6.
    PayloadNotEncrypted = "PAYLOAD_NOT_ENCRYPTED",
    /// The value opened, but its bytes are not a value of the BSON type its header names.
    PayloadValueMalformed = "PAYLOAD_VALUE_MALFORMED",
    /// Values of this BSON type are never encrypted (null, undefined, minKey, maxKey, subtype-6 binary).
    ValueTypeNotEncryptable = "VALUE_TYPE_NOT_ENCRYPTABLE",
    /// Values of this BSON type can only be encrypted with the random algorithm (double, document, array, code with
    /// scope, bool, decimal128).
    ValueTypeNotDeterministic = "VALUE_TYPE_NOT_DETERMINISTIC",
    /// The input document has no field `v`.
    ValueMissing = "VALUE_MISSING",
    /// No algorithm was given, or it is none of the two CSFLE algorithms.
    AlgorithmUnsupported = "ALGORITHM_UNSUPPORTED",
    /// The algorithm belongs to Queryable Encryption (Indexed, Unindexed, Range, String).
    AlgorithmQueryable = "ALGORITHM_QUERYABLE",
    /// An option has a wrong name, type or combination.
    OptionInvalid = "OPTION_INVALID",
    /// A data key must be named by exactly one of key id (16 bytes) and key alternate name.
    KeyReferenceInvalid = "KEY_REFERENCE_INVALID",
    /// A key alternate name is not a string, or is given twice.
    KeyAltNameInvalid = "KEY_ALT_NAME_INVALID",
    /// A key document is not well-formed BSON.
    KeyVaultDocumentMalformed = "KEY_VAULT_DOCUMENT_MALFORMED",
    /// A key document lacks a required field.
    KeyVaultFieldMissing = "KEY_VAULT_FIELD_MISSING",
    /// A field of a key document has a wrong type or value.
    KeyVaultFieldInvalid = "KEY_VAULT_FIELD_INVALID",
    /// A key document has a field the format does not know. Remove it: libmongocrypt refuses such documents too.
    KeyVaultFieldUnknown = "KEY_VAULT_FIELD_UNKNOWN",
    /// A key document is of a version other than 0.
    KeyVaultVersionUnsupported = "KEY_VAULT_VERSION_UNSUPPORTED",
    /// Two key documents share an id or an alternate name. Build the unique index on `keyAltNames` and remove one.
    KeyVaultDuplicateKey = "KEY_VAULT_DUPLICATE_KEY",
    /// The key vault answered with a key that was not asked for.
    KeyVaultUnexpectedKey = "KEY_VAULT_UNEXPECTED_KEY",
    /// The key vault holds no key of that id or alternate name. Check the key vault namespace.
    KeyVaultKeyNotFound = "KEY_VAULT_KEY_NOT_FOUND",
    /// A master key descriptor lacks a field, has a wrong one or one too many.
    MasterKeyInvalid = "MASTER_KEY_INVALID",
    /// An endpoint is not `host[:port]` with an optional scheme and path.
    KmsEndpointInvalid = "KMS_ENDPOINT_INVALID",
    /// A KMS provider identifier is not `<type>` or `<type>:<name>`.
    KmsProviderUnrecognized = "KMS_PROVIDER_UNRECOGNIZED",
    /// The provider of this key is not among `kmsProviders`. Add it.
    KmsProviderNotConfigured = "KMS_PROVIDER_NOT_CONFIGURED",
    /// The KMS returned key material of a wrong length: the master key or the wrapped key is another one.
    KmsReplyLength = "KMS_REPLY_LENGTH",
    /// The KMS returned other key material than it was given: the new wrapping was discarded, nothing was written.
    KmsReplyMismatch = "KMS_REPLY_MISMATCH",
    /// A machine was driven out of order: this is a mistake of the calling code, never of the data.
    MachineOutOfOrder = "MACHINE_OUT_OF_ORDER",
    /// The migration's source or target does not name a configured provider and master key.
    MigrationTargetInvalid = "MIGRATION_TARGET_INVALID",
    /// A document cannot be migrated field by field; the path says why.
    MigrationDocumentUnsupported = "MIGRATION_DOCUMENT_UNSUPPORTED",
    /// A JSON schema is not one this library can rewrite.
    SchemaInvalid = "SCHEMA_INVALID",
    /// The `kmsProviders` document is wrong: a field is missing, unknown or of another type. Correct what is named.
    KmsProvidersInvalid = "KMS_PROVIDERS_INVALID",
    /// A request to a KMS cannot be built from these credentials and this master key: one of them is empty, or holds
    /// characters that could change the meaning of the request.
    KmsRequestInvalid = "KMS_REQUEST_INVALID",
    /// The host could not sign a request for a token. Check that the private key is an RSA key in PKCS#8.
    KmsSignatureFailed = "KMS_SIGNATURE_FAILED",
    /// The answer of a KMS is not what the protocol says. Check that the endpoint is that of a KMS.
    KmsResponseMalformed = "KMS_RESPONSE_MALFORMED",
    /// The answer of a KMS is longer than 16 MiB. Check that the endpoint is that of a KMS.
    KmsResponseTooLarge = "KMS_RESPONSE_TOO_LARGE",
    /// The answer of a KMS ended before it was complete. Try again.
    KmsResponseUnfinished = "KMS_RESPONSE_UNFINISHED",
    /// A KMS or its token endpoint refused a request; the details hold its HTTP status.
    KmsErrorStatus = "KMS_ERROR_STATUS",
    /// A KMS was busy or out of order each time that a request was sent. Try again later.
    KmsRetriesExhausted = "KMS_RETRIES_EXHAUSTED",
    /// The connection to a KMS failed. Check the endpoint and the network.
    KmsNetworkFailed = "KMS_NETWORK_FAILED",
    /// A call was given up because the token for it did not come; see the error of the request for the token.
    KmsTokenMissing = "KMS_TOKEN_MISSING",
    /// A KMIP server reported that an operation failed; the details hold its status and reason.
    KmsOperationFailed = "KMS_OPERATION_FAILED",
    /// A collection uses Queryable Encryption, which this library does not do: commands on it are refused. Use a driver with
    /// libmongocrypt for that collection.
    AutoEncryptionQueryable = "AUTO_ENCRYPTION_QUERYABLE",
    /// A command cannot be encrypted automatically: it is not supported, not about one collection, or not well formed.
    AutoEncryptionCommandUnsupported = "AUTO_ENCRYPTION_COMMAND_UNSUPPORTED",
    /// What the server says about a collection cannot be used: it is a view, or the answer is malformed or not the asked one.
    AutoEncryptionCollectionInvalid = "AUTO_ENCRYPTION_COLLECTION_INVALID",
    /// The query analyser's reply, or a marking in it, is malformed or missing.
    AutoEncryptionAnalysisInvalid = "AUTO_ENCRYPTION_ANALYSIS_INVALID",
    /// A key is wrapped, or was to be wrapped, by a master key that is not among the trusted ones; nothing was sent for it.
    /// Find out who wrote that key document. If the master key is yours, add it to `trustedMasterKeys`.
    KeyVaultMasterKeyNotTrusted = "KEY_VAULT_MASTER_KEY_NOT_TRUSTED",
    /// A key document names an endpoint that no cloud runs; nothing was sent there. Find out who wrote that key document. If
    /// the endpoint is yours, allow it by name.
    KmsEndpointNotAllowed = "KMS_ENDPOINT_NOT_ALLOWED",
    /// A command would leave with a value in the clear at a path that the schema encrypts. Nothing was sent. Check the query
    /// analyser and its version; write the command so that the value can be encrypted.
    AutoEncryptionPlaintextRefused = "AUTO_ENCRYPTION_PLAINTEXT_REFUSED",
    /// A command would leave with a binary of subtype 6 that is no value of CSFLE, or that neither the application nor this
    /// library put there. Nothing was sent. Check the query analyser; take such a binary out of the command.
    AutoEncryptionPayloadRefused = "AUTO_ENCRYPTION_PAYLOAD_REFUSED",
    /// The query analyser's command is another one than the command it was asked about, apart from the markings. Nothing was
    /// sent. Check the query analyser and its version.
    AutoEncryptionCommandAltered = "AUTO_ENCRYPTION_COMMAND_ALTERED",
    /// The bytes do not begin as a sealed backup does. Check that the file is one.
    BackupNotRecognized = "BACKUP_NOT_RECOGNIZED",
    /// The sealed backup was written in a newer version of the format. Use a release that knows this version.
    BackupVersionUnsupported = "BACKUP_VERSION_UNSUPPORTED",
    /// The header of a sealed backup is cut, or a field of it is damaged. Use another copy of the file.
    BackupHeaderInvalid = "BACKUP_HEADER_INVALID",
    /// A parameter of a sealed backup is outside of the limits, which keep a hostile file from taking memory or time.
    BackupLimitExceeded = "BACKUP_LIMIT_EXCEEDED",
    /// The passphrase is shorter than 8 characters, longer than 1,024 bytes, or no Unicode text. Choose another one.
    BackupPassphraseInvalid = "BACKUP_PASSPHRASE_INVALID",
    /// The sealed backup needs a key of another kind than was given: a passphrase, or the providers of its master key.
    BackupKeyMissing = "BACKUP_KEY_MISSING",
    /// The key does not open the sealed backup: the passphrase or master key is another one, or the header was altered.
    BackupKeyWrong = "BACKUP_KEY_WRONG",
    /// Encrypted bytes of a sealed backup were altered, cut, reordered or added to; the details name the chunk.
    BackupChunkDamaged = "BACKUP_CHUNK_DAMAGED",
    /// The decrypted content of a sealed backup does not follow the format: it was made by a faulty writer.
    BackupContentInvalid = "BACKUP_CONTENT_INVALID",
    /// A rule of document encryption names a path at which the document has no value, so that nothing would be encrypted by
    /// it. Correct the path, or make the rule optional where documents may lack the field.
    ValuePathNotFound = "VALUE_PATH_NOT_FOUND",
    /// A document spells the path of a rule in another way (an update operator, a name with dots), or a rule has an index
    /// where the document has an array. Encrypt the document that is stored, and write paths without indexes.
    ValuePathAmbiguous = "VALUE_PATH_AMBIGUOUS",
}

/// An error with its code, a message for people, and public details for programs.
///
/// Neither the message nor a detail ever holds key material, plaintext, credentials or a document's values. Key ids,
/// alternate names, provider names, field paths, offsets and lengths are public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
    details: Vec<(&'static str, String)>,
}

impl Error {
    /// An error with a message that says what was expected, what was found and where.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// Attaches a public detail, such as `("path", "a.b.0")` or `("keyId", uuid)`. A name that is there already stays.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        if !self.details.iter().any(|(known, _)| *known == name) {
            self.details.push((name, value.to_string()));
        }
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message without details.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details, in the order they were attached.
    #[must_use]
    pub fn details(&self) -> &[(&'static str, String)] {
        &self.details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl core::error::Error for Error {}
