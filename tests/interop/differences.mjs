// Where this library means to differ from libmongocrypt 1.21.0. The differential run looks here when the two sides
// disagree: an entry that applies is counted under its name, anything else is a mismatch. An entry is as narrow as its
// reason.
//
// Entries without `applies` are found by the step itself, which compares bytes (rewriting.mjs).
//
// `applies({ operation, theirs, ours, input })`: `theirs` and `ours` are the answers, `input` is what the step made.

const queryableDecrypted = new Set([4, 6, 7, 9, 11, 14, 15, 16, 17]);
const TYPES = ['aws', 'azure', 'gcp', 'kmip', 'local'];
/** Whether libmongocrypt takes this identifier for that of a provider. */
export const isBegunType = (identifier) => TYPES.some((type) => type !== identifier.split(':')[0] && type.startsWith(identifier.split(':')[0]));
const isRefusal = (answer, ...codes) => !answer.ok && codes.includes(answer.code);

export const DIFFERENCES = Object.freeze([
  {
    name: 'values-kept-exactly',
    reason:
      'DIFFERS: values keep their bytes when they are decrypted or passed over; libmongocrypt copies regular expressions, code ' +
      'and DBPointers through C strings, which sorts and drops options and ends text at a NUL byte.',
  },
  {
    name: 'text-after-nul',
    reason: 'DIFFERS: code and DBPointer namespaces are encrypted whole; libmongocrypt encrypts them up to the first NUL byte and loses the rest.',
  },
  {
    name: 'queryable-values',
    reason: 'DIFFERS: values of Queryable Encryption are refused by name; libmongocrypt goes on to parse or decrypt them.',
    applies: ({ theirs, ours, input }) =>
      isRefusal(ours, 'PAYLOAD_IS_QUERYABLE') && !(theirs.ok && input.document) && (input.payloads ?? []).some((payload) => queryableDecrypted.has(payload[0])),
  },
  {
    name: 'region-left-to-the-kms',
    reason:
      'DIFFERS: an empty AWS region is refused by libmongocrypt while it builds its HTTP request; here the KMS client builds ' +
      'requests and judges its own region.',
    applies: ({ theirs, ours }) => ours.ok && theirs.message === 'failed to create KMS message: Region not set',
  },
  {
    name: 'gcp-identifiers-left-to-the-kms',
    reason: 'DIFFERS: libmongocrypt refuses characters in Google Cloud resource names while it builds its HTTP request; here the KMS client does.',
    applies: ({ theirs, ours }) => ours.ok && /Invalid character in GCP KMS key identifier/.test(theirs.message ?? ''),
  },
  {
    name: 'kmip-unwraps-outside',
    reason: "DIFFERS: libmongocrypt fetches a KMIP secret and unwraps with it; here the whole exchange is the callback's, and so is its failure.",
    applies: ({ theirs, ours, input }) =>
      input.provider === 'kmip' && /^(HMAC validation failure|input ciphertext too small)/.test(theirs.message) && isRefusal(ours, 'HOST_CALLBACK_FAILED'),
  },
  {
    name: 'text-must-be-utf8',
    reason:
      'DIFFERS: a key document with a name or string that is not UTF-8 is malformed; libmongocrypt does not look at the encoding ' +
      'and finds some other fault, or none.',
    applies: ({ ours, input }) => isRefusal(ours, 'KEY_VAULT_DOCUMENT_MALFORMED') && input.brokenText === true,
  },
  {
    name: 'first-of-several-faults',
    reason: 'DIFFERS: where a request has several faults at once, each side names the one it meets first. Both refuse it.',
    applies: ({ theirs, ours, input }) => !theirs.ok && !ours.ok && input.several === true,
  },
  {
    name: 'names-after-nul',
    reason: 'DIFFERS: alternate names are compared whole; libmongocrypt stops at the first NUL byte and takes "a\\0b" and "a\\0c" for the same name.',
    applies: ({ theirs, input }) => (input.names ?? []).some((name) => name.includes('\0')) && /duplicate keyAltNames/.test(theirs.message ?? ''),
  },
  {
    name: 'exact-provider-types',
    reason:
      'DIFFERS: a provider type must be spelled out; libmongocrypt compares as many characters as are given and takes "loc:x" for ' +
      'a local provider, and an empty type for AWS.',
    applies: ({ theirs, ours, input }) =>
      isRefusal(ours, 'KMS_PROVIDER_UNRECOGNIZED') &&
      (isBegunType(input.provider ?? '') ||
        theirs.ok ||
        /^(unsupported KMS provider|requested kms provider|KMS provider|Unexpected field|expected UTF-8|expected endpoint)/.test(theirs.message)),
  },
  {
    name: 'malformed-documents',
    reason:
      'DIFFERS: a document that is not well-formed BSON is refused; libmongocrypt stops reading at the fault and hands everything ' +
      'after it back as it was, encrypted values included.',
    applies: ({ theirs, ours, input }) => theirs.ok && isRefusal(ours, 'BSON_MALFORMED') && input.malformed === true,
  },
]);

/** The difference that explains what a step found, or undefined. */
export const explains = (finding) => DIFFERENCES.find(({ applies }) => applies?.(finding));
