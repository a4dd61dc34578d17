// Where our classes mean to differ from libmongocrypt 1.21.0, call by call. The run looks here when the two disagree at a
// step: an entry that applies is counted under its name, anything else is a mismatch. An entry is as narrow as its reason.
//
// `applies({ step, name, theirs, ours, history, world })`: the step, its name, what came of it on both sides, what the
// conversation has done so far (compare.mjs), and its keys. `goesOn`: the two are in the same state afterwards, and are
// compared further.
import { isBegunType } from '../../interop/differences.mjs';
import { binary, document, field, fields, hasBrokenText, LATIN1, text, TYPE, unboxed, value } from '../../interop/raw-bson.mjs';
import { isCut, rewrittenDocument, scopeOf } from '../../interop/rewriting.mjs';
import { DUPLICATE, KMS_DIFFERENCES, plain, withoutKey } from './kms-differences.mjs';
import { opened, openedKey } from './opened.mjs';
import { bytesOf, documentsOf, isMalformed, isSame, messageOf, payloadsIn, sameBut } from './findings.mjs';

const HEX = (bytes) => Buffer.from(bytes).toString('hex');
const ENCRYPTED_BY_QUERYABLE = new Set([4, 6, 7, 9, 11, 14, 15, 16, 17]);
const MALFORMED = new RegExp(
  `^(${[
    'malformed bson',
    'invalid BSON',
    'BSON malformed',
    'malformed BSON',
    'msg must be bson',
    'unable to convert command buffer to BSON',
    'malformed BSON for key document',
    'invalid keyMaterial bson object',
    'invalid keyAltName bson object',
  ].join('|')})$`,
);

const isRewrittenAlike = (theirs, ours, world) => HEX(rewrittenDocument(opened(theirs, world))) === HEX(rewrittenDocument(opened(ours, world)));

/** The keys in the result of a rewrap, in hex and in no order: all, or all but those with these ids. */
function keysIn(text, world, without = new Set()) {
  if (text === '') return [];
  const keys = fields(field(bytesOf(text), 'v').bytes).map(([, { bytes }]) => bytes);
  return keys
    .filter((key) => !without.has(HEX(binary(field(key, '_id')).content)))
    .map((key) => HEX(withoutMadeId(openedKey(key, world))))
    .sort();
}

/** Without what a KMIP server has called a key that it made: that counts in the order of the requests. */
const withoutMadeId = (key) =>
  document(
    fields(key).map(([name, item]) => [
      name,
      name === 'masterKey' ? value.object(document(fields(item.bytes).filter(([part, id]) => part !== 'keyId' || !/^made\d+$/.test(text(id))))) : item,
    ]),
  );

/** Whether the results of a rewrap are the same but for what libmongocrypt took from its cache. */
function isRewrappedAlike({ served, fed }, theirs, ours, world) {
  if (served.every(({ isAsBefore, ids }) => isAsBefore && ids.length > 0) && isSame(...[theirs, ours].map((text) => keysIn(text, world)))) return true;
  const ids = new Set(served.flatMap((document) => document.ids).map(HEX));
  const [theirOthers, ourOthers] = [theirs, ours].map((text) => keysIn(text, world, ids));
  // Where a name is found, the key that has it may be another one.
  const extra = theirOthers.filter((key) => !ourOthers.includes(key));
  return keysIn(theirs, world).length === fed.length && ourOthers.every((key) => theirOthers.includes(key)) && extra.length <= served.length;
}

/** What an analyser has put into the markings of a document. */
const markingsIn = (bytes) =>
  payloadsIn(bytes)
    .filter(([kind]) => kind === 0)
    .map((payload) => payload.subarray(1));
/** The values that it has marked. */
const markedValues = (fed) =>
  fed
    .map(bytesOf)
    .flatMap(markingsIn)
    .filter((marking) => !isMalformed(marking))
    .flatMap((marking) =>
      fields(marking, LATIN1)
        .filter(([name]) => name === 'v')
        .map(([, item]) => item),
    );

/** Whether text that is not UTF-8 is in the scope of some code. */
function hasBrokenScope(bytes) {
  if (isMalformed(bytes)) return false;
  return fields(bytes, LATIN1).some(([, item]) => {
    if (item.type === TYPE.javascriptWithScope) return hasBrokenText(scopeOf(item));
    return (item.type === TYPE.object || item.type === TYPE.array) && hasBrokenScope(item.bytes);
  });
}

const FORBIDDEN = /^(BSON type invalid for (deterministic )?encryption|BSON binary subtype 6 is invalid for encryption)$/;

/** The state in which a context has its result. */
const READY = 5;

const NOT_SENT = /^(the command was not sent: |Invalid schema containing the 'encrypt' keyword\.$)/;

const OWN_DIFFERENCES = [
  {
    name: 'values-kept-exactly',
    reason:
      'DIFFERS: values keep their bytes when they are decrypted or passed over; libmongocrypt copies regular expressions, code ' +
      'and DBPointers through C strings, which sorts and drops options and ends text at a NUL byte.',
    goesOn: true,
    applies: ({ name, theirs, ours, history, world }) =>
      name === 'finalize' &&
      ['decrypt', 'explicitDecrypt', 'encrypt'].includes(history.kind) &&
      ours.result !== '' &&
      theirs.result !== '' &&
      sameBut(theirs, ours, 'result') &&
      isRewrittenAlike(theirs.result, ours.result, world),
  },
  {
    name: 'text-after-nul',
    reason: 'DIFFERS: code and DBPointer namespaces are encrypted whole; libmongocrypt encrypts them up to the first NUL byte and loses the rest.',
    goesOn: true,
    applies: ({ name, theirs, ours, history }) =>
      name === 'finalize' &&
      sameBut(theirs, ours, 'result') &&
      (history.kind === 'explicitEncrypt'
        ? isCut(unboxed(bytesOf(history.context.how.input)))
        : history.kind === 'encrypt' && markedValues(history.context.fed).some(isCut)),
  },
  {
    name: 'malformed-documents',
    reason:
      'DIFFERS: a document that is not well-formed BSON is refused as a whole; libmongocrypt reads up to what it looks for, and ' +
      'finds that, or something else to complain about.',
    applies: ({ step, ours }) => MALFORMED.test(messageOf(ours)) && documentsOf(step).some(isMalformed),
    refuses: ({ options, ours }) =>
      ours === 'invalid bson' && ['schemaMap', 'encryptedFieldsMap'].some((name) => name in options && isMalformed(bytesOf(options[name]))),
  },
  {
    name: 'text-must-be-utf8',
    reason:
      'DIFFERS: a document with a name or a string that is not UTF-8 is refused; libmongocrypt does not look at the encoding and ' +
      'finds some other fault, or none.',
    applies: ({ step, theirs, ours }) =>
      documentsOf(step)
        .flatMap((bytes) => [bytes, ...markingsIn(bytes)])
        .some(hasBrokenText) &&
      (ours.refused !== undefined || ours.state === 0) &&
      messageOf(theirs) !== messageOf(ours),
  },
  {
    name: 'text-in-scopes',
    reason:
      'DIFFERS: text within a value that an analyser has marked is kept as it is; libmongocrypt does so too, except in the scope ' +
      'of code, where it wants UTF-8.',
    applies: ({ step, name, theirs, ours, history }) =>
      name === 'feed' &&
      history.kind === 'encrypt' &&
      messageOf(theirs) === 'invalid BSON' &&
      ours.status?.type === 0 &&
      documentsOf(step).flatMap(markingsIn).some(hasBrokenScope),
  },
  {
    name: 'types-of-ciphertexts',
    reason: 'DIFFERS: a ciphertext whose header names no BSON type is refused when the context is made; libmongocrypt first asks for the key.',
    applies: ({ name, theirs, ours }) =>
      name === 'make' && theirs.refused === undefined && /^could not serialize associated data: the original BSON type is \d+$/.test(messageOf(ours)),
  },
  {
    name: 'analysis-must-be-fed',
    reason: 'DIFFERS: a command whose analysis was never fed is refused; libmongocrypt sends it as it is.',
    applies: ({ name, theirs, ours }) =>
      name === 'finishOperation' &&
      theirs.status?.type === 0 &&
      messageOf(ours) === 'no reply of the query analyser was fed: the command may hold values that must be encrypted',
  },
  {
    name: 'commands-checked-before-they-leave',
    reason:
      'DIFFERS: what leaves is checked against the schema: no value in the clear at an encrypted path, no foreign binary of ' +
      "subtype 6, no other command than the application's. libmongocrypt trusts its analyser.",
    applies: ({ name, theirs, ours, history }) =>
      name === 'finalize' &&
      history.kind === 'encrypt' &&
      (theirs.ended !== undefined || theirs.status?.type === 0) &&
      ours.state === 0 &&
      NOT_SENT.test(messageOf(ours)),
  },
  {
    name: 'schemas-are-read-for-old-analysers',
    reason:
      'DIFFERS: `create` and `createIndexes` are not shown to an analyser that is too old for them, and are checked against the ' +
      'known schemas before they leave: one that cannot be read is refused. libmongocrypt sends the command as it is.',
    applies: ({ name, theirs, ours, history }) =>
      name === 'finishOperation' &&
      history.kind === 'encrypt' &&
      theirs.status?.type === 0 &&
      theirs.state === READY &&
      ours.state === 0 &&
      /^failed to read schema from schema map for collection: /.test(messageOf(ours)) &&
      /^create(Indexes)?$/.test(fields(bytesOf(history.context.how.input), LATIN1)[0]?.[0]),
  },
  {
    name: 'rewrap-ignores-the-cache',
    reason:
      'DIFFERS: what is rewrapped is always what was fed; libmongocrypt takes a key that it has in its cache together with the ' +
      'masterKey it was cached with, which reverts what another process did meanwhile, and does not look at the document any further.',
    applies: ({ name, theirs, ours, history, world }) => {
      const { served = [], last } = history.context ?? {};
      if (served.length === 0) return false;
      // The document is not looked at: neither whether it is there twice, nor whether its key can be unwrapped.
      if (name === 'feed') {
        if (last.isServed) return theirs.status?.type === 0 && ours.state === 0;
        return messageOf(ours) === DUPLICATE && last.identities.some((key) => served.some(({ identities }) => identities.includes(key)));
      }
      if (name === 'finalize') return sameBut(theirs, ours, 'result') && isRewrappedAlike(history.context, theirs.result, ours.result, world);
      // Nobody is asked to unwrap it, and it is wrapped by the masterKey that it was cached with, before those that were not there.
      if (name === 'nextRequest' && sameBut(theirs, ours, 'result.message') && withoutKey(theirs.result.message) === withoutKey(plain(ours.result)))
        return true;
      return ['finishOperation', 'nextRequest', 'finishRequests'].includes(name) && !served.every(({ isAsBefore }) => isAsBefore);
    },
  },
  {
    name: 'caches-after-a-rewrap',
    reason: 'DIFFERS: a key that was rewrapped is cached as it was fed; libmongocrypt keeps what it had in its cache, under the names it had.',
    applies: ({ name, history }) => name === 'cached' && history.contexts.some(({ served }) => served.length > 0),
  },
  {
    name: 'exact-provider-types',
    reason:
      'DIFFERS: a provider type must be spelled out; libmongocrypt compares as many characters as are given and takes "loc:x" for ' +
      'a local provider, and an empty type for AWS.',
    applies: ({ theirs, ours }) => {
      const identifier = /^unrecognized KMS provider `([^`]*)`/.exec(messageOf(ours))?.[1];
      return identifier !== undefined && isBegunType(identifier) && messageOf(theirs) !== messageOf(ours);
    },
  },
  {
    name: 'forbidden-markings',
    reason:
      'DIFFERS: a marking of a value that the type rules forbid is refused; libmongocrypt trusts its analyser there, and encrypts ' + 'it or ends the process.',
    applies: ({ name, theirs, ours, history }) =>
      name === 'finalize' && history.kind === 'encrypt' && FORBIDDEN.test(messageOf(ours)) && (theirs.ended !== undefined || theirs.status.type === 0),
  },
  {
    name: 'padding-checked-whole',
    reason:
      'DIFFERS: each byte of the padding is checked; libmongocrypt looks at the last one, and takes what a key decrypts whose ' +
      'middle third is wrong, as a KMIP server may have sent it.',
    applies: ({ name, theirs, ours, history }) =>
      messageOf(ours) === 'error, ciphertext malformed padding' &&
      { finalize: /^$|^malformed encrypted bson$/, finishRequests: /^decrypted key is incorrect length/ }[name]?.test(messageOf(theirs)) &&
      history.contexts.some(({ requests }) => requests.some((request) => request.ours?.provider.startsWith('kmip'))),
  },
  {
    name: 'queryable-values',
    reason: 'DIFFERS: values of Queryable Encryption are refused by name; libmongocrypt goes on to parse or decrypt them.',
    applies: ({ step, ours }) =>
      /^unsupported FLE blob subtype: \d+, of Queryable Encryption, which is not supported$/.test(messageOf(ours)) &&
      documentsOf(step)
        .flatMap(payloadsIn)
        .some((payload) => ENCRYPTED_BY_QUERYABLE.has(payload[0])),
  },
];

export const DIFFERENCES = Object.freeze([...OWN_DIFFERENCES, ...KMS_DIFFERENCES]);

/** The difference that explains what a step found, or undefined. */
export const explains = (finding) => DIFFERENCES.find(({ applies }) => applies(finding));

/** The same for a library that one side does not make, or not for the same reason. */
export const explainsRefusal = (finding) => DIFFERENCES.find(({ refuses }) => refuses?.(finding));
