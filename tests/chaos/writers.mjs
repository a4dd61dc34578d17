// Other writers: what an application does to documents and keys between the moment the job read them and the moment it writes.
import { KEYS_OF_CONTAINERS } from './world.mjs';

// An earlier change may have taken away what a change is about; then it does not happen.
const list = (value) => {
  if (!Array.isArray(value)) throw new TypeError('no array any more');
  return value;
};
const field = (owner, name) => {
  if (typeof owner !== 'object' || owner === null || !Object.hasOwn(owner, name)) throw new TypeError('no such field any more');
  return owner[name];
};

/** Changes of a document of `people`. `secrets` are the new values that a change needs; a change that returns null removes the document. */
const DOCUMENT_CHANGES = {
  'scalar-to-array': {
    secrets: [['ssn', 'Deterministic']],
    change: (one, [fresh]) => {
      one.ssn = [field(one, 'ssn'), fresh, 'open'];
    },
  },
  'scalar-to-array-of-itself': {
    change: (one) => {
      one.card = [field(one, 'card')];
    },
  },
  'element-to-array': {
    secrets: [['notes', 'Random']],
    change: (one, [fresh]) => {
      const [first] = list(one.notes);
      first.note = [fresh, field(first, 'note')];
    },
  },
  'encrypted-object-to-array': {
    secrets: [['card', 'Random']],
    change: (one, [fresh]) => {
      one.insurance = [field(one, 'insurance'), fresh];
    },
  },
  'array-to-scalar': {
    change: (one) => {
      one.tags = list(one.tags)[0];
    },
  },
  'array-to-object': {
    change: (one) => {
      one.notes = { ...list(one.notes) };
    },
  },
  'array-reversed': {
    change: (one) => {
      list(one.tags).reverse();
    },
  },
  'array-longer-in-front': {
    secrets: [['notes', 'Random']],
    change: (one, [fresh]) => {
      list(one.tags).unshift(fresh);
    },
  },
  'array-shorter': {
    change: (one) => {
      list(one.notes).shift();
    },
  },
  'field-renamed': {
    change: (one) => {
      one.renamed = field(one, 'ssn');
      delete one.ssn;
    },
  },
  'field-moved-inside': {
    change: (one) => {
      one.policy = { ssn: field(one, 'ssn'), policy: field(one, 'policy') };
      delete one.ssn;
    },
  },
  'field-removed': {
    change: (one) => {
      field(one.policy, 'text');
      delete one.policy.text;
    },
  },
  'field-null': {
    change: (one) => {
      field(one, 'card');
      one.card = null;
    },
  },
  'object-to-array': {
    secrets: [['unnamed', 'Random']],
    change: (one, [fresh]) => {
      one.policy = [field(one, 'policy'), { number: fresh }];
    },
  },
  'new-value': {
    secrets: [
      ['ssn', 'Deterministic'],
      ['notes', 'Random'],
    ],
    change: (one, [first, second]) => {
      field(list(one.notes)[0], 'note');
      one.ssn = first;
      one.notes[0].note = second;
    },
  },
  'open-value': {
    change: (one) => {
      one.ssn = 'open';
    },
  },
  'document-replaced': { secrets: [['unnamed', 'Random']], change: (one, [fresh]) => ({ _id: one._id, other: fresh, ssn: field(one, 'ssn') }) },
  'document-deleted': { change: () => null },
};

export const DOCUMENT_WRITERS = Object.keys(DOCUMENT_CHANGES);

/** Carries a change out on the server and, once that acknowledged it, in the ledger. */
export async function changeDocument(world, name, id, idText) {
  const { secrets = [], change } = DOCUMENT_CHANGES[name];
  const people = world.client.db(world.database).collection('people');
  const stored = await people.findOne({ _id: id });
  const plain = world.ledger.people.get(idText);
  if (stored === null || plain === undefined) return false;
  const fresh = await Promise.all(secrets.map(([key, algorithm]) => world.secret(world.token(), key, algorithm)));
  const before = copyOf(plain);
  let storedAfter;
  let plainAfter;
  try {
    storedAfter = changed(
      change,
      stored,
      fresh.map((value) => value.stored),
    );
    plainAfter = changed(
      change,
      before,
      fresh.map((value) => value.plain),
    );
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return false;
  }
  if (storedAfter === null) {
    await people.deleteOne({ _id: id });
    world.ledger.people.delete(idText);
  } else {
    await people.replaceOne({ _id: id }, storedAfter);
    world.ledger.people.set(idText, plainAfter);
  }
  return true;
}

function changed(change, document, fresh) {
  const result = change(document, fresh);
  return result === undefined ? document : result;
}

// Values of BSON stay the objects they are.
function copyOf(value) {
  if (Array.isArray(value)) return value.map(copyOf);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, copyOf(inner)]));
}

/**
 * Changes of key documents by another administrator. They return whether a re-encryption of `job` may say afterwards that it could not
 * look into values: it trusts its own master keys alone, and documents or arrays are encrypted under the key that went to another one.
 */
export const KEY_WRITERS = {
  'alternate-name-added': async (world, rng) => {
    const key = world.keys[rng.pick(['ssn', 'notes', 'unnamed'])];
    await world.encryption.addKeyAltName(key.id, 'added-meanwhile');
    key.names.push('added-meanwhile');
  },
  'key-rewrapped': async (world, rng, job) => {
    const name = rng.pick(Object.keys(world.keys));
    await world.encryption.rewrapManyDataKey({ _id: world.keys[name].id }, { provider: 'aws', masterKey: world.masterKeys.b });
    return job.mode === 'reencrypt' && job.to !== 'b' && KEYS_OF_CONTAINERS.includes(name);
  },
  'key-added': (world) => world.addKey('later', { provider: 'local', names: ['later'], later: true }),
};
