// Calls in random order on every kind of context, from a fixed seed.
import { Int32 } from 'bson';
import { analysis, collinfo, encrypt, find, result } from './auto-encrypt-scripts.mjs';
import { awsCiphertext, awsKeyDocument, awsMasterKey, awsPlaintext, bson, encrypted, httpReply, keyDocument, providers } from './samples.mjs';
import { decrypt, explicitDecrypt, explicitEncrypt, garbage, script } from './scripts.mjs';
import { rawId } from './samples.mjs';

// mulberry32: small, and the same everywhere.
export function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const makes = [
  explicitDecrypt(encrypted(1)), explicitEncrypt({ keyId: rawId(1) }), decrypt({ a: encrypted(1), b: [encrypted(2)] }), decrypt({ a: 1 }), encrypt(find), encrypt({ ping: 1 }),
  encrypt({ create: 'c' }), encrypt({ aggregate: 'c', pipeline: [{ $lookup: { from: 'd' } }] }),
  ['make', { kind: 'dataKey', masterKey: bson({ provider: 'local' }) }], ['make', { kind: 'dataKey', masterKey: bson(awsMasterKey) }],
  ['make', { kind: 'rewrap', input: bson({}) }], ['make', { kind: 'rewrap', input: bson({}), masterKey: bson(awsMasterKey) }],
];
const fed = [
  keyDocument(1), keyDocument(2), awsKeyDocument(1), awsKeyDocument(2), keyDocument(3), collinfo('c'), collinfo('d'), analysis(result()), bson({ maxWireVersion: new Int32(26) }), garbage, bson({}),
];
const answers = [awsPlaintext(1), awsCiphertext, httpReply(500, ''), httpReply(403, 'no'), httpReply(200, '{}')];
const given = [bson(providers.aws), bson(providers.local), bson({}), garbage];
const configurations = [providers.local, providers.both, providers.onDemand];

// The reference ends its process where a request failed that is then read as if it had not; so answers come whole.
export function disorders(count, seed = 1) {
  const random = generator(seed);
  const one = (list) => list[Math.floor(random() * list.length)];
  const step = () => {
    const dice = random();
    if (dice < 0.18) return ['operation'];
    if (dice < 0.45) return ['feed', one(fed)];
    if (dice < 0.65) return ['finishOperation'];
    if (dice < 0.72) return ['nextRequest'];
    if (dice < 0.8) return ['answer', Math.floor(random() * 2), one(answers)];
    if (dice < 0.83) return ['fail', 0];
    if (dice < 0.9) return ['finishRequests'];
    if (dice < 0.94) return ['provide', one(given)];
    return ['finalize'];
  };
  return Array.from({ length: count }, (_, index) => {
    const steps = [];
    for (let contexts = 0; contexts < 3; contexts += 1) {
      steps.push(one(makes));
      const calls = 2 + Math.floor(random() * 10);
      for (let call = 0; call < calls; call += 1) steps.push(step());
    }
    return script(`disorder ${index}`, one(configurations), steps);
  });
}
