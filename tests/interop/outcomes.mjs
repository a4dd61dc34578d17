// libmongocrypt reports errors as text, this library as codes. This table says which code answers which text; a text that
// is not here fails the test that met it, so nothing new goes unnoticed. Texts: csfle-format.md 1.2, 2.2, 3.1, 4, 5.8.

const table = [
  // Values and options
  [/^BSON type invalid for deterministic encryption$/, ['VALUE_TYPE_NOT_DETERMINISTIC']],
  [/^BSON type invalid for encryption$/, ['VALUE_TYPE_NOT_ENCRYPTABLE']],
  [/^BSON binary subtype 6 is invalid for encryption$/, ['VALUE_TYPE_NOT_ENCRYPTABLE']],
  [/^unsupported algorithm string/, ['ALGORITHM_UNSUPPORTED']],
  [/^Algorithm '.*' is deprecated/s, ['ALGORITHM_UNSUPPORTED', 'ALGORITHM_QUERYABLE']],
  [/^algorithm or index type required$/, ['ALGORITHM_UNSUPPORTED']],
  [/^either key id or key alt name required$/, ['KEY_REFERENCE_INVALID']],
  [/^cannot have both key id and key alt name$/, ['KEY_REFERENCE_INVALID']],
  [/^expected 16 byte UUID$/, ['KEY_REFERENCE_INVALID']],
  [/^duplicate keyAltNames found$/, ['KEY_ALT_NAME_INVALID']],
  // Payloads and the documents they are in
  [/^malformed bson$/, ['BSON_MALFORMED']],
  [/^HMAC validation failure$/, ['CRYPTO_AUTHENTICATION_FAILED']],
  [/^error, ciphertext length is not a multiple of block size$/, ['CRYPTO_AUTHENTICATION_FAILED']],
  [/^input ciphertext too small/, ['CRYPTO_INPUT_TOO_SHORT', 'PAYLOAD_TOO_SHORT']],
  [/^malformed ciphertext, too small$/, ['PAYLOAD_TOO_SHORT']],
  [/^malformed encrypted bson$/, ['PAYLOAD_VALUE_MALFORMED']],
  [/^could not serialize associated data$/, ['PAYLOAD_VALUE_MALFORMED', 'CRYPTO_AUTHENTICATION_FAILED']],
  [/^decryption expected BSON binary subtype 6, got \d+$/, ['PAYLOAD_NOT_ENCRYPTED']],
  [/^invalid msg, 'v' must contain a binary$/, ['PAYLOAD_NOT_ENCRYPTED']],
  [/^unsupported FLE blob subtype: expected non-empty payload$/, ['PAYLOAD_TOO_SHORT']],
  [/^unsupported FLE blob subtype: 0$/, ['PAYLOAD_IS_MARKING']],
  [/^unsupported FLE blob subtype: (3|5|10|12|13|18)$/, ['PAYLOAD_IS_QUERYABLE']],
  [/^unsupported FLE blob subtype: \d+$/, ['PAYLOAD_KIND_UNKNOWN']],
  // Key documents
  [/^(malformed BSON for key document|invalid BSON)$/, ['KEY_VAULT_DOCUMENT_MALFORMED']],
  [/^invalid key, '_id' is not a UUID$/, ['KEY_VAULT_FIELD_INVALID']],
  [/^malformed keyAltNames, expected array$/, ['KEY_VAULT_FIELD_INVALID']],
  [/^unexpected non-UTF8 keyAltName$/, ['KEY_VAULT_FIELD_INVALID']],
  [/^unexpected duplicate keyAltNames$/, ['KEY_VAULT_FIELD_INVALID']],
  [/^invalid '(keyMaterial|masterKey|version|creationDate|updateDate)', expect/, ['KEY_VAULT_FIELD_INVALID']],
  [/^unsupported key document version/, ['KEY_VAULT_VERSION_UNSUPPORTED']],
  [/^unrecognized field '.*'$/s, ['KEY_VAULT_FIELD_UNKNOWN']],
  [/^invalid key, no '.*'$/, ['KEY_VAULT_FIELD_MISSING']],
  [/^duplicate field 'masterKey' in key document$/, ['KEY_VAULT_FIELD_INVALID']],
  [/^keys returned have duplicate keyAltNames or _id$/, ['KEY_VAULT_DUPLICATE_KEY']],
  [/^unexpected key returned, does not match any requests$/, ['KEY_VAULT_UNEXPECTED_KEY']],
  [/^not all keys requested were satisfied/, ['KEY_VAULT_KEY_NOT_FOUND']],
  // Master keys
  [/^(Unexpected field: |expected (UTF-8|bool|endpoint) )/, ['MASTER_KEY_INVALID']],
  [/^unrecognized KMS provider/, ['KMS_PROVIDER_UNRECOGNIZED']],
  [/^unsupported KMS provider/, ['KMS_PROVIDER_UNRECOGNIZED']],
  [/^Invalid (endpoint|character in endpoint|percent-encoding in endpoint)/, ['KMS_ENDPOINT_INVALID']],
  [/^(requested kms provider|KMS provider `)/, ['KMS_PROVIDER_NOT_CONFIGURED']],
  [/^KMIP key malformed, no keyId present$/, ['MASTER_KEY_INVALID']],
  // Wrapped keys and KMS replies
  [/^decrypted key is incorrect length/, ['KMS_REPLY_LENGTH', 'KEY_MATERIAL_LENGTH']],
  [/^key material not expected length$/, ['KMS_REPLY_LENGTH', 'KEY_MATERIAL_LENGTH']],
  [/^keyMaterial should have length 96/, ['KEY_MATERIAL_LENGTH']],
  [/^Error in KMS response\./, ['HOST_CALLBACK_FAILED']],
];

/** The codes that may answer a text of libmongocrypt; undefined for a text that is not in the table. */
export const knownCodesFor = (message) => table.find(([text]) => text.test(message))?.[1];

/** The same, where the text must be known. */
export function codesFor(message) {
  const codes = knownCodesFor(message);
  if (!codes) throw new Error(`libmongocrypt said something outcomes.mjs does not know: ${message}`);
  return codes;
}
