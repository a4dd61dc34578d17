// The differences in what is said to a KMS and in what is made of its answers (differences.mjs).
import { isUtf8 } from 'node:buffer';
import { find as findTtlv, isWellFormed, TAG } from '../kmip-replies.mjs';
import { isSame, isTokenRequest, masterKeysOf, messageOf, messagesOf, replyOf, requestOf, sameBut } from './findings.mjs';

const WRAPPED = /"(Plaintext|plaintext|value)": "[^"]*"/;
/** Before the 96 bytes of a key in KMIP: the tag Data, the type of a byte string, the length. */
const BEFORE_KEY = 'B\0\xc2\b\0\0\0`';
/** A request to wrap, whichever key it is for. */
export function withoutKey(message) {
  const [head, rest] = message.split(BEFORE_KEY);
  return rest === undefined ? message.replace(WRAPPED, '') : `${head}${rest.slice(96)}`;
}
const isReply = (name) => name === 'answer' || name === 'chunk';
const withoutComplaint = (message) =>
  message.replace(/Error parsing JSON in KMS response '.*?'\. HTTP status=/s, "Error parsing JSON in KMS response '<complaint>'. HTTP status=");
const QUOTED = 'Response body=\n';

const HIDDEN = /^\((\d+) bytes, not shown because they may hold a secret\)$/;

/** Whether the second message is the first one with its body hidden. */
function isHidden(their, our) {
  const at = their.indexOf(QUOTED) + QUOTED.length;
  if (at < QUOTED.length || their.slice(0, at) !== our.slice(0, at)) return false;
  const body = their.slice(at);
  // What is not UTF-8 is shown as so many replacements, of one to three bytes each.
  const replaced = body.split('\ufffd').length - 1;
  const [longest, length] = [Buffer.byteLength(body), Number(HIDDEN.exec(our.slice(at))?.[1])];
  return length <= longest && length >= longest - 2 * replaced;
}

const decoded = (text) => text.replace(/%([0-9A-F]{2})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 16)));

/** Our message as it would be with nothing percent-encoded that a key document or the application put into it. */
function unencoded(message) {
  const [head, body] = message.split('\r\n\r\n');
  const form = /^client_id=(.*?)&scope=(.*?)&client_secret=(.*?)&grant_type=client_credentials$/s.exec(body);
  const raw = form ? `client_id=${decoded(form[1])}&scope=${form[2]}&client_secret=${decoded(form[3])}&grant_type=client_credentials` : body;
  const line = head.slice(0, head.indexOf('\r\n'));
  const rest = head.slice(head.indexOf('\r\n')).replace(/Content-Length:\d+/, `Content-Length:${raw.length}`);
  return `${decoded(line)}${rest}\r\n\r\n${raw}`;
}

/** Our message with the key of an AWS master key as it is, not in JSON's form. */
function unescaped(message) {
  const [head, body] = message.split('\r\n\r\n');
  const raw = body.replace(/"KeyId": ("(?:[^"\\]|\\.)*")/, (_, text) => `"KeyId": "${JSON.parse(text)}"`);
  return `${head.replace(/Content-Length:\d+/, `Content-Length:${raw.length}`)}\r\n\r\n${raw}`;
}

/** A message of ours as libmongocrypt has it. */
export function plain({ provider, message }) {
  if (provider.startsWith('azure')) return unencoded(message);
  return provider.startsWith('aws') ? unescaped(message) : message;
}

const messageParts = ({ name, theirs, ours }) =>
  name === 'nextRequest' && theirs.result && ours.result && sameBut(theirs, ours, 'result.message') ? [theirs.result.message, ours.result.message] : undefined;
/** Whether two messages to a provider are one, once `undo` has taken from ours what only we do to it. */
const differsBy = (provider, undo) => (finding) => {
  const messages = messageParts(finding);
  return messages !== undefined && finding.ours.result.provider.startsWith(provider) && undo(messages[1]) === messages[0];
};
const thisRound = ({ history }) => history.context.requests.slice(history.context.roundStart);

/** What was received, without the lengths between chunks. */
const joined = (received) => received.replace(/\r\n[0-9a-fA-F]+\r\n/g, '');

/** Tokens that a context was given with a life of no more than the five seconds that are taken off. */
const hasShortToken = ({ history }) =>
  history.context.requests.some(({ ours, received }) => ours && isTokenRequest(ours.message) && /"expires_in":\s*[0-5]\b/.test(joined(received)));

const ODD = /[^\w.~:-]/;
const UNESCAPED_MASTER_KEY = new RegExp(
  `^failed to create KMS message: (${[
    'the region is not part of a host name',
    'the key holds a control character',
    'the request path holds',
    'the value of the header',
  ].join('|')})`,
);
const hasOddMasterKey = ({ history }) =>
  masterKeysOf(history.context).some((entries) => entries.some(([, { bytes }]) => ODD.test(Buffer.from(bytes.subarray(4, -1)).toString('latin1'))));

/** Whether libmongocrypt told this of one of the requests, or tells it of one when they are finished: it is not there in full, or empty. */
const hasFault = ({ requests }, message) =>
  requests.some(({ progress }) => {
    const their = progress?.theirs;
    if (their?.status.type === 1) return their.status.message === message;
    return message === 'KMS response unfinished' ? their === undefined || their.needed > 0 : /^Empty KMS response/.test(message);
  });

const textOf = (item) => Buffer.from(item.bytes.subarray(4, -1)).toString();
/** What the endpoints of the master keys have behind their first dot, of those of one provider, in all contexts. */
function domainsOf({ contexts }, provider) {
  const named = (entries, ...names) => entries.filter(([name]) => names.includes(name)).map(([, item]) => textOf(item));
  const keys = contexts.flatMap(masterKeysOf).filter((entries) => named(entries, 'provider').includes(provider));
  const endpoints = keys.flatMap((entries) => {
    const found = named(entries, 'endpoint', 'keyVaultEndpoint');
    return found.length > 0 ? found : ['cloudkms.googleapis.com'];
  });
  return new Set(
    endpoints.map((endpoint) =>
      endpoint
        .replace(/^https?:\/\//, '')
        .split(/[:/]/)[0]
        .replace(/^[^.]*\./, ''),
    ),
  );
}
const hasScopes = (history, provider) => domainsOf(history, provider).size > 1;
const withoutToken = (message) => message.replace(/\r\nAuthorization:Bearer [^\r]*/, '');
const gcpProvidersOf = ({ contexts }) =>
  [...new Set(contexts.flatMap(masterKeysOf).flatMap((entries) => entries.filter(([name]) => name === 'provider').map(([, item]) => textOf(item))))].filter(
    (id) => id.split(':')[0] === 'gcp',
  );
const withoutScope = (message) =>
  message
    .replace(/&scope=[^&]*/, '')
    .replace(/"scope": "[^"]*"/, '')
    .replace(/Content-Length:\d+/, '');

const GCP_REQUEST = /^error constructing GCP KMS (en|de)crypt message: /;
const GCP_CHARACTER = new RegExp(`${GCP_REQUEST.source}Invalid character in GCP KMS key identifier`);
export const DUPLICATE = 'keys returned have duplicate keyAltNames or _id';
const NO_END = "OAuth response invalid, no 'expires_in' field.";

export const KMS_DIFFERENCES = [
  {
    name: 'tokens-read-at-once',
    reason: 'DIFFERS: a token without a usable end of its life is told of as soon as it is there; libmongocrypt tells when the requests are finished.',
    goesOn: true,
    applies: (finding) => {
      const { name, theirs, ours } = finding;
      if (isReply(name) && theirs.result?.status.type === 0 && ours.result?.status.message === NO_END) return sameBut(theirs, ours, 'result.status');
      // It has been fed too much since.
      return isSame(messagesOf(finding), ['KMS response fed too much data', NO_END]);
    },
  },
  {
    name: 'first-of-several-faults',
    reason: 'DIFFERS: where several keys are at fault, or one in several ways, each side names what it meets first. Both refuse.',
    applies: ({ name, theirs, ours, history }) => {
      if (theirs.state !== 0 || ours.state !== 0) return false;
      const [their, our] = [theirs, ours].map(messageOf);
      if (!GCP_CHARACTER.test(our)) return false;
      return GCP_REQUEST.test(their) || (name === 'finishRequests' && history.context.requests.length > 1 && hasFault(history.context, their));
    },
  },
  {
    name: 'words-about-json',
    reason: 'DIFFERS: what is wrong with the JSON of an answer is said in other words than the JSON parser of libmongocrypt has.',
    goesOn: true,
    applies: (finding) => {
      const messages = messagesOf(finding);
      return messages !== undefined && withoutComplaint(messages[0]) === withoutComplaint(messages[1]);
    },
  },
  {
    name: 'body-not-quoted',
    reason: 'DIFFERS: an answer that may hold a key or a token is not quoted in a message; libmongocrypt quotes all of it.',
    goesOn: true,
    applies: (finding) => {
      const messages = messagesOf(finding)?.map(withoutComplaint);
      return messages !== undefined && isHidden(...messages);
    },
  },
  {
    name: 'status-before-body',
    reason:
      'DIFFERS: a status of failure is told as such; libmongocrypt first reads what Azure and the token endpoints send, and ' +
      'complains about the JSON of an error page, or about its being empty.',
    goesOn: true,
    applies: (finding) => {
      const messages = messagesOf(finding);
      if (messages === undefined) return false;
      const [their, our] = messages;
      const status = /^(?:Error in KMS response|Unsupported HTTP code in KMS response)\. HTTP status=(\d+)/.exec(our)?.[1];
      return (
        status !== undefined &&
        status !== '200' &&
        /^(Error parsing JSON in KMS response|Empty KMS response|Invalid KMS response|KMS JSON response does not include)/.test(their) &&
        their.includes(`HTTP status=${status}`)
      );
    },
  },
  {
    name: 'short-lived-tokens',
    reason:
      'DIFFERS: a token is used for what it was fetched for, however short its life; libmongocrypt has forgotten one that lives ' +
      'five seconds or less, and fetches it again or fails.',
    applies: (finding) => ['nextRequest', 'finishRequests'].includes(finding.name) && hasShortToken(finding),
  },
  {
    name: 'percent-encoding',
    reason: 'DIFFERS: tenant, client, secret, key name and key version of Azure are percent-encoded; libmongocrypt puts them into the request as they are.',
    goesOn: true,
    applies: differsBy('azure', unencoded),
  },
  {
    name: 'json-escapes',
    reason: 'DIFFERS: the key of an AWS master key is escaped in JSON; libmongocrypt puts it into the request as it is.',
    goesOn: true,
    applies: differsBy('aws', unescaped),
  },
  {
    name: 'no-split-requests',
    reason:
      'DIFFERS: a master key whose characters would go into a host name, a path or a header unescaped is refused; libmongocrypt ' +
      'builds the request with them.',
    applies: (finding) => finding.theirs?.status?.type === 0 && UNESCAPED_MASTER_KEY.test(messageOf(finding.ours)) && hasOddMasterKey(finding),
  },
  {
    name: 'tokens-by-scope',
    reason: 'DIFFERS: a token is fetched for each scope; libmongocrypt fetches one for all keys of a provider, which the other clouds refuse.',
    applies: ({ name, theirs, ours, history }) => {
      // It has a token of another scope then, and builds what we build once we have ours.
      if (GCP_CHARACTER.test(messageOf(theirs))) return ours.status?.type === 0 && gcpProvidersOf(history).some((provider) => hasScopes(history, provider));
      if (name !== 'nextRequest' || !ours.result) return false;
      if (!isTokenRequest(ours.result.message))
        return (
          hasScopes(history, ours.result.provider) &&
          sameBut(theirs, ours, 'result.message') &&
          withoutToken(theirs.result.message) === withoutToken(plain(ours.result))
        );
      if (theirs.result && isTokenRequest(theirs.result.message) && theirs.result.provider !== ours.result.provider)
        return [theirs, ours].some(({ result }) => hasScopes(history, result.provider));
      if (!hasScopes(history, ours.result.provider)) return false;
      // Another one, or the first one for the key that was fed last.
      return (
        theirs.result === null ||
        (isTokenRequest(theirs.result.message) &&
          sameBut(theirs, ours, 'result.message') &&
          withoutScope(theirs.result.message) === withoutScope(plain(ours.result)))
      );
    },
  },
  {
    name: 'one-token-for-all-keys',
    reason: 'DIFFERS: keys that are wrapped together share a token; libmongocrypt fetches one for each.',
    applies: (finding) => {
      const { name, theirs, ours, history } = finding;
      return (
        name === 'nextRequest' &&
        history.kind === 'rewrap' &&
        ours.result === null &&
        theirs.result &&
        isTokenRequest(theirs.result.message) &&
        thisRound(finding).filter((offered) => offered.theirs?.message === theirs.result.message).length > 1
      );
    },
  },
  {
    name: 'tokens-fetched-meanwhile',
    reason: 'DIFFERS: a token that another context has fetched is used from then on; libmongocrypt decides to fetch one when the key document is fed.',
    applies: ({ name, theirs, ours, history }) => {
      const isFetched = (provider) =>
        history.contexts.some(
          (context) =>
            context !== history.context &&
            context.requests.some(
              ({ ours: { provider: other, message } = {}, received }) => other === provider && isTokenRequest(message) && replyOf(received).status === 200,
            ),
        );
      if (name === 'finishOperation') return theirs.state === 4 && GCP_CHARACTER.test(messageOf(ours)) && gcpProvidersOf(history).some(isFetched);
      return (
        name === 'nextRequest' &&
        theirs.result &&
        isTokenRequest(theirs.result.message) &&
        (!ours.result || !isTokenRequest(ours.result.message) || ours.result.provider !== theirs.result.provider) &&
        isFetched(theirs.result.provider)
      );
    },
  },
  {
    name: 'no-wait-for-tokens',
    reason: 'DIFFERS: requests that need no token do not wait for those that do; libmongocrypt fetches all tokens first.',
    applies: (finding) => {
      if (finding.name !== 'nextRequest' || !finding.ours.result) return false;
      const kinds = new Set(
        thisRound(finding)
          .flatMap(({ theirs, ours }) => [theirs, ours])
          .filter(Boolean)
          .map(({ message }) => isTokenRequest(message)),
      );
      return kinds.size === 2;
    },
  },
  {
    name: 'failed-contexts-are-over',
    reason: 'DIFFERS: a request whose context has failed is over; libmongocrypt still lets it be fed, or sent again, to no effect.',
    goesOn: true,
    applies: ({ name, theirs, ours }) => (isReply(name) || name === 'fail') && theirs?.state === 0 && ours?.state === 0 && sameBut(theirs, ours, 'result'),
  },
  {
    name: 'finished-handles-are-over',
    reason:
      'DIFFERS: the handle of a finished request of a data key takes nothing more; for libmongocrypt it is from then on that of ' +
      'the next request, which takes the bytes for its own answer.',
    applies: ({ step, name, theirs, ours, history }) =>
      (isReply(name) || name === 'fail') &&
      history.kind === 'dataKey' &&
      step[1] < history.context.roundStart &&
      theirs.state === 4 &&
      ours.state === 4 &&
      ours.result?.status.type === 0 &&
      ours.result.needed === 0 &&
      !ours.result.again,
  },
  {
    name: 'finished-requests-are-over',
    reason: 'DIFFERS: a request of a round that is finished takes nothing more and does not complain; libmongocrypt marks it as failed, to no effect.',
    goesOn: true,
    applies: ({ step, name, theirs, ours, history }) =>
      isReply(name) &&
      step[1] < history.context.roundStart &&
      theirs.result?.status.type === 1 &&
      ours.result?.status.type === 0 &&
      sameBut(theirs, ours, 'result.status'),
  },
  {
    name: 'failed-requests-are-over',
    reason:
      'DIFFERS: a request that has failed for good is not offered again; libmongocrypt says that it will be, and does so without ' +
      'starting over, or takes a connection that fails later for the reason.',
    applies: (finding) => {
      const { name, theirs, ours } = finding;
      if (name === 'nextRequest') return theirs.result?.status.type === 1 && ours.result === null;
      if (name !== 'fail' || theirs.result?.status.type !== 1 || ours.result?.status.type !== 1 || ours.result.again) return false;
      const { before } = requestOf(finding).progress;
      // Messages that differed before differ still.
      if (theirs.result.again)
        return (
          sameBut(theirs, ours, 'result.again') ||
          (isSame(before, { theirs: theirs.result.status, ours: ours.result.status }) && sameBut(theirs, ours, 'result.again', 'result.status.message'))
        );
      return (
        isSame(before.ours, ours.result.status) &&
        /^KMS request failed (after 3 retries )?due to a? ?network error$/.test(theirs.result.status.message) &&
        sameBut(theirs, ours, 'result.status.message')
      );
    },
  },
  {
    name: 'no-key-out-of-a-retry',
    reason:
      'DIFFERS: a request that waits to be sent again when the requests are finished is one of the next round; libmongocrypt ' +
      'takes the answer it does not have for the key, or ends the process.',
    applies: ({ name, theirs, ours, history }) =>
      name === 'finishRequests' &&
      !sameBut(theirs, ours) &&
      history.context.requests.some(
        ({ progress, received }) =>
          progress?.ours?.status.type === 0 && progress.ours.needed === 0 && (progress.ours.again === true || replyOf(received).status >= 400),
      ),
  },
  {
    name: 'statuses-of-three-digits',
    reason: 'DIFFERS: a status is a number of three digits; libmongocrypt takes any number.',
    applies: (finding) =>
      isReply(finding.name) &&
      /Could not parse Status-Code\.'$/.test(finding.ours.result?.status.message ?? '') &&
      /^HTTP\/1\.1 (\d{1,2}|\d{4,}|0\d\d)( |\r)/.test(requestOf(finding)?.received ?? ''),
  },
  {
    name: 'headers-in-any-case',
    reason:
      'DIFFERS: names of headers are read in any case, as proxies write them; libmongocrypt misses those in lower case, and with ' +
      'them the length of the body.',
    applies: (finding) =>
      isReply(finding.name) &&
      /\r\n(content-length|transfer-encoding):/.test(requestOf(finding)?.received ?? '') &&
      /Unexpected extra HTTP content'$|^Empty KMS response|does not include field|Error parsing JSON/.test(finding.theirs.result?.status.message ?? ''),
  },
  {
    name: 'empty-values',
    reason:
      'DIFFERS: an answer whose value is empty, or is so once decoded, is one of the wrong length; libmongocrypt waits for more ' +
      'of it, or ends the process.',
    applies: (finding) =>
      isReply(finding.name) &&
      (finding.theirs.ended !== undefined || finding.theirs.result?.needed === 1024) &&
      /"[A-Za-z]+": ?"\??"/.test(joined(requestOf(finding)?.received ?? '')),
  },
  {
    name: 'empty-secrets',
    reason: 'DIFFERS: an empty secret of KMIP is one of the wrong length; libmongocrypt goes on without.',
    applies: ({ name, theirs, ours, history }) =>
      name === 'finishRequests' &&
      messageOf(ours) === 'key should have length 96, but has length 0' &&
      (theirs.status?.type === 0 || hasFault(history.context, messageOf(theirs))),
  },
  {
    name: 'well-formed-ttlv',
    reason: 'DIFFERS: an answer of KMIP in which a length, a type or the padding is wrong is refused; libmongocrypt goes through it all the same.',
    applies: (finding) =>
      isReply(finding.name) &&
      finding.ours.result?.status.type === 1 &&
      requestOf(finding)?.ours?.provider.startsWith('kmip') &&
      !isWellFormed(Buffer.from(requestOf(finding).received, 'latin1')),
  },
  {
    name: 'ids-are-utf8',
    reason: 'DIFFERS: an id from a KMIP server that is not UTF-8 is none; libmongocrypt goes on with its bytes, which no key document can hold.',
    applies: (finding) =>
      isReply(finding.name) &&
      finding.theirs.result?.status.type === 0 &&
      /: unable to find tag: UniqueIdentifier$/.test(finding.ours.result?.status.message ?? '') &&
      !isUtf8(findTtlv(Buffer.from(requestOf(finding).received, 'latin1'), TAG.uniqueIdentifier) ?? Buffer.alloc(0)),
  },
  {
    name: 'answers-of-other-operations',
    reason: 'DIFFERS: an answer of KMIP to another operation than the one that was asked for is refused; libmongocrypt does not look.',
    applies: (finding) =>
      isReply(finding.name) &&
      /: the answer is one to another operation$/.test(finding.ours.result?.status.message ?? '') &&
      requestOf(finding)?.ours.provider.startsWith('kmip'),
  },
];
