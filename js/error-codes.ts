/**
 * The table of stable error codes: whether the same call may simply be repeated, and what a person does about it.
 *
 * Append only: a code that has been released keeps its spelling and its meaning. `tests/vectors/error-codes.json` holds
 * the released list. The first part mirrors `crate/core/src/error.rs`; the second belongs to this layer.
 */

/** What the table says about one code. */
export interface ErrorEntry {
  /** Whether repeating the same call later may succeed without changing anything. */
  readonly retryable: boolean;
  /** What to do about it, as one or two sentences for a person. */
  readonly remedy: string;
}

const stays = (remedy: string): ErrorEntry => ({ retryable: false, remedy });
const passes = (remedy: string): ErrorEntry => ({ retryable: true, remedy });

/** Codes that the WebAssembly core raises. */
const CORE_CODES = {
  CRYPTO_AUTHENTICATION_FAILED: stays('Check that the master key is the one the data was encrypted under; restore the value from a backup when it is damaged.'),
  CRYPTO_INPUT_TOO_SHORT: stays('The encrypted bytes were cut: restore the value from a backup.'),
  CRYPTO_RANDOM_UNAVAILABLE: stays('The platform has no working source of randomness: nothing was encrypted. Check the host.'),
  KEY_MATERIAL_LENGTH: stays('Give key material of exactly 96 bytes.'),
  BSON_MALFORMED: stays('The bytes are not one well-formed BSON document: check where they come from.'),
  BSON_TOO_DEEP: stays('Nest the document less: servers accept 200 levels.'),
  BSON_TOO_LARGE: stays('Store large values apart: a document may have 16 MiB (16,777,216 bytes) after encryption or decryption.'),
  PAYLOAD_TOO_SHORT: stays('The encrypted value was cut: restore it from a backup.'),
  PAYLOAD_IS_MARKING: stays('The value is a plaintext marking that a query analyser left behind: encrypt it before storing.'),
  PAYLOAD_IS_QUERYABLE: stays('The value belongs to Queryable Encryption: use a driver with libmongocrypt for that collection.'),
  PAYLOAD_KIND_UNKNOWN: stays('The value is of no kind that a MongoDB release defines: restore it from a backup.'),
  PAYLOAD_NOT_ENCRYPTED: stays('Pass a BSON binary of subtype 6, as encrypt() returned it.'),
  PAYLOAD_VALUE_MALFORMED: stays('The value was encrypted by a writer that does not follow the format: find that writer.'),
  VALUE_TYPE_NOT_ENCRYPTABLE: stays(
    'Store such a value in the clear, or leave the field out: null, undefined, minKey, maxKey and encrypted values are never encrypted.',
  ),
  VALUE_TYPE_NOT_DETERMINISTIC: stays('Use the random algorithm for this type, or convert the value to a string, an integer, a date or an ObjectId first.'),
  VALUE_MISSING: stays('Pass a value that BSON can represent.'),
  VALUE_PATH_NOT_FOUND: stays('Correct the path of the rule; with `optional: true` in it, documents may lack the field.'),
  VALUE_PATH_AMBIGUOUS: stays(
    'Encrypt the document that is stored, for an update the value of each operator: { $set: await encryptDocument(fields, options) }. Paths have no indexes, and a name with a dot cannot be encrypted by path.',
  ),
  ALGORITHM_UNSUPPORTED: stays('Use AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic or AEAD_AES_256_CBC_HMAC_SHA_512-Random.'),
  ALGORITHM_QUERYABLE: stays('Queryable Encryption is not part of this library: use a driver with libmongocrypt, or one of the two CSFLE algorithms.'),
  OPTION_INVALID: stays('Correct the option that the message names.'),
  KEY_REFERENCE_INVALID: stays('Name the data key by exactly one of keyId (a UUID) and keyAltName (a string).'),
  KEY_ALT_NAME_INVALID: stays('Give each alternate name once, as a string.'),
  KEY_VAULT_DOCUMENT_MALFORMED: stays('Restore the key document from a backup of the key vault.'),
  KEY_VAULT_FIELD_MISSING: stays('Restore the key document from a backup of the key vault.'),
  KEY_VAULT_FIELD_INVALID: stays('Restore the key document from a backup of the key vault.'),
  KEY_VAULT_FIELD_UNKNOWN: stays('Remove the field from the key document: libmongocrypt refuses such documents too.'),
  KEY_VAULT_VERSION_UNSUPPORTED: stays('Only key documents of version 0 exist so far: use a release that knows this version.'),
  KEY_VAULT_DUPLICATE_KEY: stays('Choose another alternate name, or remove it from the key that has it; build the unique index on keyAltNames.'),
  KEY_VAULT_UNEXPECTED_KEY: stays('The key vault answered with a key that was not asked for: correct its find().'),
  KEY_VAULT_KEY_NOT_FOUND: stays('Check the key vault namespace; restore the key document from a backup if it was deleted.'),
  MASTER_KEY_INVALID: stays('Correct the masterKey field that the message names.'),
  KMS_ENDPOINT_INVALID: stays('Write the endpoint as host[:port].'),
  KMS_PROVIDER_UNRECOGNIZED: stays('Write the provider as aws, azure, gcp, kmip or local, with an optional name such as aws:eu.'),
  KMS_PROVIDER_NOT_CONFIGURED: stays('Add the provider that the message names to kmsProviders.'),
  KMS_REPLY_LENGTH: stays(
    'The KMS returned something else than a data key: check that the callback returns the raw bytes and that the master key is the right one.',
  ),
  KMS_REPLY_MISMATCH: stays('The KMS did not return what it was given; nothing was written. Check the callbacks of this provider.'),
  MACHINE_OUT_OF_ORDER: stays('This is a mistake in this library: please report it.'),
  MIGRATION_TARGET_INVALID: stays('Name a configured provider and a complete master key as source and target.'),
  MIGRATION_DOCUMENT_UNSUPPORTED: stays('Rename the field that the message names, or migrate this document by hand.'),
  SCHEMA_INVALID: stays('Correct the JSON schema at the place that the message names.'),
  KMS_PROVIDERS_INVALID: stays('Correct the field of kmsProviders that the message names.'),
  KMS_REQUEST_INVALID: stays('Correct the credentials or the master key: the message names what is empty or holds a forbidden character.'),
  KMS_SIGNATURE_FAILED: stays('Check that the private key of the service account is an RSA key in PKCS#8.'),
  KMS_RESPONSE_MALFORMED: stays('Check that the endpoint is that of a KMS: its answer does not follow the protocol.'),
  KMS_RESPONSE_TOO_LARGE: stays('Check that the endpoint is that of a KMS: its answer is longer than 16 MiB.'),
  KMS_RESPONSE_UNFINISHED: passes('The answer of the KMS was cut; try again, and check the network path to it.'),
  KMS_ERROR_STATUS: stays('The KMS refused the request: the message says why. Check credentials, permissions and master key.'),
  KMS_RETRIES_EXHAUSTED: passes('The KMS was busy or out of order at each attempt; try again later.'),
  KMS_NETWORK_FAILED: passes('Check the endpoint of the KMS and the network path to it.'),
  KMS_TOKEN_MISSING: stays('See the error of the request for the token: without one, nothing else is asked of the KMS.'),
  KMS_OPERATION_FAILED: stays('The KMIP server refused the operation: the message says why. Check its object and its permissions.'),
  AUTO_ENCRYPTION_QUERYABLE: stays('Queryable Encryption is not part of this library: use a driver with libmongocrypt for that collection.'),
  AUTO_ENCRYPTION_COMMAND_UNSUPPORTED: stays('Send this command with a client that has no automatic encryption, or encrypt its values explicitly.'),
  AUTO_ENCRYPTION_COLLECTION_INVALID: stays('Run the command on the collection itself, not on a view, and check what listCollections says about it.'),
  AUTO_ENCRYPTION_ANALYSIS_INVALID: stays('Check that the query analyser is one of MongoDB, in a version that matches the server.'),
  KEY_VAULT_MASTER_KEY_NOT_TRUSTED: stays(
    'Find out who wrote this key document: nothing was sent for it. If the master key is yours, add it to trustedMasterKeys.',
  ),
  KMS_ENDPOINT_NOT_ALLOWED: stays(
    'Find out who wrote this key document: nothing was sent there. If the endpoint is yours, allow it by name (allowedEndpoints, --allow-endpoint).',
  ),
  AUTO_ENCRYPTION_PLAINTEXT_REFUSED: stays(
    'Nothing was sent. Check that the query analyser is one of MongoDB; write the command so that the value at the named path can be encrypted.',
  ),
  AUTO_ENCRYPTION_PAYLOAD_REFUSED: stays(
    'Nothing was sent. Check that the query analyser is one of MongoDB, and take binaries of subtype 6 that are no values of CSFLE out of the command.',
  ),
  AUTO_ENCRYPTION_COMMAND_ALTERED: stays('Nothing was sent. Check that the query analyser is one of MongoDB, in a version that matches the server.'),
  BACKUP_NOT_RECOGNIZED: stays('Give a file that createBackup() or `csfle backup create` made.'),
  BACKUP_VERSION_UNSUPPORTED: stays('Use a release of this library that knows the version of the backup.'),
  BACKUP_HEADER_INVALID: stays('The header of the backup was cut or damaged: use another copy of the file.'),
  BACKUP_LIMIT_EXCEEDED: stays('Keep to the limits that the message names; a file beyond them was not made by this library.'),
  BACKUP_PASSPHRASE_INVALID: stays('Use a passphrase of at least 8 characters and at most 1,024 bytes of UTF-8.'),
  BACKUP_KEY_MISSING: stays('Give the passphrase of the backup, or the kmsProviders of its master key, as the message says.'),
  BACKUP_KEY_WRONG: stays('Give the passphrase or master key that the backup was made with; try another copy of the file.'),
  BACKUP_CHUNK_DAMAGED: stays('The backup was altered, cut or added to: use another copy of the file.'),
  BACKUP_CONTENT_INVALID: stays('The backup was made by a faulty writer: use another backup, and report it.'),
} as const satisfies Readonly<Record<string, ErrorEntry>>;

/** Codes that only the JavaScript layer raises. */
const JS_CODES = {
  INTERNAL: stays('This is a mistake in this library: please report it. Start a new process or reload the page before going on.'),
  ARGUMENT_INVALID: stays('Correct the argument that the message names.'),
  OPERATION_ABORTED: stays('The caller aborted the operation; start it again when wanted.'),
  HOST_NOT_INITIALIZED: stays('Await init() once before anything else.'),
  HOST_WASM_FAILED: stays('Check that csfle.wasm is served where init() looks for it, and that the Content-Security-Policy allows wasm-unsafe-eval.'),
  HOST_CLOSED: stays('Create a new ClientEncryption: this one was closed.'),
  HOST_CALLBACK_FAILED: stays('See `cause`: the function that was handed in failed.'),
  HOST_BSON_MISSING: stays('Pass the BSON library in the option `bson`, or import the main entry, which brings its own.'),
  HOST_BSON_MISMATCH: stays('Use one major version of the bson package for all values; the option `bson` names the one to use.'),
  KMS_ACCESS_DENIED: stays('Allow kms:Encrypt and kms:Decrypt (or what the provider calls them) on this master key to the identity in use.'),
  KMS_THROTTLED: passes('Wait, lower kmsConcurrency, or ask the provider for a higher quota.'),
  KMS_TIMED_OUT: passes('Check the network path to the KMS, or raise kmsTimeoutMS.'),
  KMS_KEY_NOT_FOUND: stays('Check the key id, the region, the account and the endpoint of the master key.'),
  KMS_KEY_UNAVAILABLE: stays('Enable the master key, or cancel its deletion, and try again.'),
  KMS_CIPHERTEXT_REFUSED: stays('The KMS cannot open this wrapped data key: it was wrapped under another master key, or it is damaged.'),
  KMS_CREDENTIALS_REFUSED: stays('Renew the credentials, and check the clock of this machine.'),
  KMS_CREDENTIALS_UNAVAILABLE: stays('Give the KMS client credentials: environment, profile, instance role or explicit ones.'),
  KMS_REGION_MISMATCH: stays('Pass awsKms a function ({ region }) => client, or a client for the region of the master key.'),
  KMS_UNREACHABLE: passes('Check the endpoint, the name resolution and the network path; the KMS may also have failed on its side.'),
  KMS_REQUEST_REFUSED: stays('See `cause`: the KMS refused the request as invalid. Check the kind and the usage of the master key.'),
  KMS_FAILED: stays('See `cause`: the KMS failed in a way this library does not know.'),
  KMS_REPLY_INVALID: stays('Correct the callback: encrypt returns bytes or { ciphertext, keyId? }, decrypt returns bytes.'),
  KEY_VAULT_NOT_READABLE: stays('See `cause`. Check the connection, and allow find on the key vault collection.'),
  KEY_VAULT_NOT_WRITABLE: stays('See `cause`. Check the connection, and allow insert, update and remove on the key vault collection.'),
  KEY_VAULT_CONFLICT: passes('Another process changed the keys that the message names meanwhile; run the operation again.'),
  MIGRATION_CONFIRMATION_MISSING: stays('Set confirmPlaintext when documents shall really be stored in the clear.'),
  MIGRATION_BACKUP_FAILED: stays('Nothing was written. See `cause`: give the backup a place that can be written and is not taken yet, or leave it out.'),
  MIGRATION_INDEX_MISSING: stays(
    'Run csfle keys index --key-vault <namespace>, or createIndex({ keyAltNames: 1 }, { unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } }).',
  ),
  MIGRATION_VERIFICATION_FAILED: stays(
    'What was read back is not what was written or meant. Look for another writer, compare with the backup, and plan again.',
  ),
  MIGRATION_COLLECTION_FAILED: passes('See `cause`. Check that the collection can be read and updated, and run the migration again.'),
  MIGRATION_DOCUMENT_CONFLICT: passes('Another process keeps changing this document; run the migration again.'),
  MIGRATION_DOCUMENT_REFUSED: stays(
    'See `cause`: the server refused the new document, for its size, a validator or a unique index. Correct that and run the migration again.',
  ),
  MIGRATION_SCHEMA_FAILED: stays('See `cause`. Check that the schema can be read and written, and run the migration again.'),
  MIGRATION_OLD_KEYS_IN_USE: stays('Migrate the collection that the message names too, before old keys are removed.'),
  KEY_VAULT_RETIREMENT_UNSUPPORTED: stays(
    'Implement retireKey, retiredKeys, restoreKey and purgeRetiredKey in the key vault store: keys are never removed without a copy.',
  ),
  KEY_VAULT_COPY_MISMATCH: stays(
    "Nothing was removed. Look for another writer and for the user's rights on the retired keys beside the key vault, and try again.",
  ),
  KEY_VAULT_KEY_IN_USE: stays('Re-encrypt or delete the values that the report names first, or name each namespace that need not be searched, with a reason.'),
  MIGRATION_EVIDENCE_INCOMPLETE: stays('Allow this user to list and read every namespace, or name those that need not be searched, with a reason.'),
  MIGRATION_COLLECTION_MISSING: stays(
    'Name every collection that holds values under these keys: their alternate names move to the new keys, and queries by name would miss the others.',
  ),
  MIGRATION_NO_KEYS_CHOSEN: stays(
    'Nothing was written. Check the key vault, the source `from` and the choice of data keys: together they name no key. `allowEmpty` is for a key vault that is meant to have none.',
  ),
  BACKUP_RESTORE_UNPROVEN: stays(
    'Give kmsProviders that open both wrappings, so that they can be compared; set allowUnproven only if you know that the backup is right.',
  ),
  BACKUP_COLLECTION_FAILED: stays('See `cause`. Check that the collection exists and that its options can be read and changed.'),
  BACKUP_VERIFICATION_FAILED: stays('What was read back is not what was written. Look for another writer, and run it again.'),
  BACKUP_KEY_VAULT_MISMATCH: stays('Check which backup and which key vault are meant; set fromAnotherKeyVault when the keys shall really go there.'),
} as const satisfies Readonly<Record<string, ErrorEntry>>;

/** A code of the core. */
export type CoreErrorCode = keyof typeof CORE_CODES;
/** A code of the JavaScript layer. */
export type JsErrorCode = keyof typeof JS_CODES;
/** Every code that a `CsfleError` can carry. */
export type ErrorCode = CoreErrorCode | JsErrorCode;

const TABLE: Readonly<Record<ErrorCode, ErrorEntry>> = Object.freeze({ ...CORE_CODES, ...JS_CODES });

/** The codes that only this layer raises, in the order of the table. */
export const JS_ERROR_CODES: readonly JsErrorCode[] = Object.freeze(Object.keys(JS_CODES) as JsErrorCode[]);

/** Says whether `code` is in the table. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(TABLE, code);
}

/** Looks a code up. */
export function errorEntry(code: ErrorCode): ErrorEntry {
  return TABLE[code];
}
