// Questions about what a step found, for the list of differences.
import { binary, field, fields, LATIN1, TYPE } from '../../interop/raw-bson.mjs';

export const bytesOf = (text) => new Uint8Array(Buffer.from(text, 'base64'));
export const latin1Of = (text) => Buffer.from(text, 'base64').toString('latin1');

const plain = (item) =>
  item !== null && typeof item === 'object' && !Array.isArray(item)
    ? Object.fromEntries(
        Object.keys(item)
          .sort()
          .map((key) => [key, plain(item[key])]),
      )
    : item;
export const isSame = (one, other) => JSON.stringify(plain(one)) === JSON.stringify(plain(other));

/** Whether two outcomes are the same but for the parts at these paths, such as `status.message`. */
export function sameBut(theirs, ours, ...paths) {
  const [one, other] = [structuredClone(theirs), structuredClone(ours)];
  if (one === null || other === null) return one === other;
  for (const path of paths) {
    const names = path.split('.');
    const last = names.pop();
    for (const side of [one, other]) {
      const holder = names.reduce((item, name) => item?.[name], side);
      if (holder && typeof holder === 'object') delete holder[last];
    }
  }
  return isSame(one, other);
}

/** The two messages, where they are all that differs; of a context, of a request, or of a refusal. */
export function messagesOf({ theirs, ours }) {
  for (const path of ['status.message', 'result.status.message', 'refused']) {
    const [their, our] = [theirs, ours].map((side) => path.split('.').reduce((item, name) => item?.[name], side));
    if (their !== undefined && our !== undefined && their !== our && sameBut(theirs, ours, path)) return [their, our];
  }
  return undefined;
}

export const messageOf = (outcome) => outcome?.refused ?? outcome?.ended ?? outcome?.status?.message ?? outcome?.result?.status?.message ?? '';

// Unlike LATIN1 itself, this looks into the scopes of code.
const ANY_TEXT = { ...LATIN1 };

/** What `fields` refuses at any depth; the encoding of text aside. */
export function isMalformed(bytes) {
  try {
    fields(bytes, ANY_TEXT);
    return false;
  } catch {
    return true;
  }
}

/** The documents that a step brought: what is fed, provided or made of. */
export function documentsOf([name, argument]) {
  if (name === 'feed' || name === 'provide') return [bytesOf(argument)];
  if (name !== 'make') return [];
  return [argument.input, argument.masterKey, argument.keyMaterial, ...(argument.keyAltNames ?? [])].filter((text) => text !== undefined).map(bytesOf);
}

/** The subtype-6 payloads of a document, at any depth; what is malformed has none. */
export function payloadsIn(bytes) {
  try {
    return fields(bytes, LATIN1).flatMap(([, item]) => {
      if (item.type === TYPE.object || item.type === TYPE.array) return payloadsIn(item.bytes);
      return item.type === TYPE.binData && item.bytes[4] === 6 ? [item.bytes.subarray(5)] : [];
    });
  } catch {
    return [];
  }
}

/** Id and names of a key document, as far as keys are looked up by them, and its master key; of what is none, nothing. */
export function identitiesOf(bytes) {
  try {
    // Of a field that is there twice both libraries take the last one.
    const last = new Map(fields(bytes));
    const [id, names] = [last.get('_id'), last.get('keyAltNames')];
    const texts =
      names?.type === TYPE.array
        ? fields(names.bytes)
            .map(([, item]) => item)
            .filter(({ type }) => type === TYPE.string)
        : [];
    return {
      ids: id?.type === TYPE.binData && binary(id).content.length === 16 ? [binary(id).content] : [],
      names: texts.map((item) => Buffer.from(item.bytes.subarray(4, -1)).toString()),
      masterKey: last.get('masterKey')?.bytes,
    };
  } catch {
    return { ids: [], names: [] };
  }
}

/** The request that a step is about. */
export const requestOf = ({ step, history }) => history.context?.requests[step[1]];

// The tenant of Azure may hold anything.
export const isTokenRequest = (message) => /^POST [^?]*?\/token HTTP\/1\.1\r\n/.test(message.split('\r\n\r\n')[0]);

/** Status and body of a reply over HTTP. */
export function replyOf(received) {
  const [head, ...rest] = received.split('\r\n\r\n');
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]), head, body: rest.join('\r\n\r\n') };
}

/** Master keys that a context is about, as entries: its own, and those of the documents that were fed. */
export function masterKeysOf({ how, fed }) {
  const own = how.masterKey ? [bytesOf(how.masterKey)] : [];
  const theirs = fed.map((text) => {
    try {
      return field(bytesOf(text), 'masterKey')?.bytes;
    } catch {
      return undefined;
    }
  });
  return [...own, ...theirs].filter((bytes) => bytes && !isMalformed(bytes)).map((bytes) => fields(bytes, LATIN1));
}
