// What a KMS may answer. One that wraps other material and unwraps it as if it were right, to everybody and for as long as the job
// lasts, is not here: no client can tell it from an honest one.
import { randomBytes } from 'node:crypto';

const decoded = (text) => Buffer.from(text, 'base64');
const flipped = (bytes, at = 11) => {
  const copy = Buffer.from(bytes);
  copy[at % copy.length] ^= 0x10;
  return copy;
};
const withPlaintext = (make) => (answer, facts) => ({ ...answer, Plaintext: make(decoded(answer.Plaintext), facts).toString('base64') });
const withCiphertext = (make) => (answer, facts) => ({ ...answer, CiphertextBlob: make(decoded(answer.CiphertextBlob), facts).toString('base64') });

const otherMaterial = (plaintext, { world, rng }) => {
  const others = world
    .keySecrets()
    .slice(1)
    .filter((material) => !material.equals(plaintext));
  return rng.pick(others);
};

/** `at` says which calls: one, some (two in a row), all from one on, or those about one key. */
export const LIES = {
  'unwraps-another-key': { operation: 'Decrypt', at: 'one', change: withPlaintext(otherMaterial) },
  'unwraps-with-a-flipped-bit': { operation: 'Decrypt', at: 'one', change: withPlaintext((bytes) => flipped(bytes)) },
  'unwraps-with-a-flipped-iv-key': { operation: 'Decrypt', at: 'one', change: withPlaintext((bytes) => flipped(bytes, 90)) },
  'unwraps-truncated': { operation: 'Decrypt', at: 'one', change: withPlaintext((bytes) => bytes.subarray(0, 95)) },
  'unwraps-empty': { operation: 'Decrypt', at: 'one', change: withPlaintext(() => Buffer.alloc(0)) },
  'unwraps-zeros': { operation: 'Decrypt', at: 'one', change: withPlaintext(() => Buffer.alloc(96)) },
  'right-then-wrong': { operation: 'Decrypt', at: 'from', change: withPlaintext((bytes) => flipped(bytes)) },
  'right-then-another-key': { operation: 'Decrypt', at: 'from', change: withPlaintext(otherMaterial) },
  'wrong-for-one-key': { operation: 'Decrypt', at: 'key', change: withPlaintext((bytes) => flipped(bytes)) },
  'wrong-encryption-key-for-one-key': { operation: 'Decrypt', at: 'key', change: withPlaintext((bytes) => flipped(bytes, 40)) },
  // Only deterministic values show what the last 32 bytes are.
  'wrong-iv-key-for-one-key': { operation: 'Decrypt', at: 'key', victims: ['ssn', 'card'], change: withPlaintext((bytes) => flipped(bytes, 90)) },
  'another-key-for-one-key': {
    operation: 'Decrypt',
    at: 'key',
    change: withPlaintext((bytes, { world }) => (world.keys.card.material.equals(bytes) ? world.keys.files.material : world.keys.card.material)),
  },
  'wraps-another-key': { operation: 'Encrypt', at: 'one', wraps: otherMaterial },
  'wraps-random-bytes': { operation: 'Encrypt', at: 'one', wraps: () => randomBytes(96) },
  'wraps-every-key-as-another': { operation: 'Encrypt', at: 'from', wraps: otherMaterial },
  'wraps-with-a-flipped-bit': { operation: 'Encrypt', at: 'one', change: withCiphertext((bytes) => flipped(bytes, bytes.length - 3)) },
  'wraps-truncated': { operation: 'Encrypt', at: 'one', change: withCiphertext((bytes) => bytes.subarray(0, bytes.length - 20)) },
  'wraps-empty': { operation: 'Encrypt', at: 'one', change: withCiphertext(() => Buffer.alloc(0)) },
  throttles: { operation: /./, at: 'some', told: { error: 'ThrottlingException' } },
  'throttles-from-then-on': { operation: /./, at: 'from', told: { error: 'ThrottlingException' } },
  denies: { operation: /./, at: 'from', told: { error: 'AccessDeniedException' } },
  'denies-once': { operation: /./, at: 'one', told: { error: 'AccessDeniedException' } },
  fails: { operation: /./, at: 'some', told: { error: 'KMSInternalException', status: 500 } },
  hangs: { operation: /./, at: 'one', told: { hang: true } },
  'drops-the-connection': { operation: /./, at: 'some', told: { drop: true } },
  'answers-no-json': { operation: /./, at: 'one', told: { text: '<html>not today</html>' } },
  'answers-nothing': { operation: /./, at: 'one', told: { text: '{}' } },
};

/** Whether a lie can come up in a job: a KMS wraps only for a job that moves keys to it, and knows no key that is not made yet. */
export const concerns = (name, job) =>
  (LIES[name].operation !== 'Encrypt' || job.to === 'a' || job.to === 'b') && (LIES[name].at !== 'key' || job.mode !== 'create');

/** A liar for startKms().lie() with a count of its lies, and the key material that it wrapped in the place of what it was given. */
export function liarOf(name, { world, rng, job }) {
  const { operation, at, change, wraps, told, victims = Object.keys(world.keys) } = LIES[name];
  // One key is made with a call or two, and a vault of them is moved with many.
  const [mostWraps, mostCalls] = job.mode === 'create' ? [1, 2] : [5, 9];
  const first = rng.below(operation === 'Encrypt' ? mostWraps : mostCalls);
  const facts = { world, rng };
  const counts = { calls: 0, lies: 0 };
  const planted = [];
  const isMeant = (call) => (operation instanceof RegExp ? operation.test(call) : operation === call);
  const isTurn = (number) => (at === 'one' ? number === first : at === 'some' ? number >= first && number < first + 2 : number >= first);
  // The material of one key that the job asks the KMS about, however it is wrapped.
  const asked = victims.map((key) => world.keys[key]).filter(({ provider }) => provider === (job.from ?? job.keysUnder ?? 'aws'));
  const { material: victim } = rng.pick(asked);
  const liar = async ({ operation: call, body }) => {
    if (!isMeant(call)) return undefined;
    const number = counts.calls;
    counts.calls += 1;
    if (at === 'key') {
      return {
        change(answer) {
          if (!decoded(answer.Plaintext).equals(victim)) return answer;
          counts.lies += 1;
          return change(answer, facts);
        },
      };
    }
    if (!isTurn(number)) return undefined;
    if (wraps !== undefined) {
      counts.lies += 1;
      const material = Buffer.from(wraps(decoded(body.Plaintext), facts));
      planted.push(material);
      const blob = await world.kms.encrypt(body.KeyId, material);
      return { change: (answer) => ({ ...answer, CiphertextBlob: blob.toString('base64') }) };
    }
    if (told !== undefined) {
      counts.lies += 1;
      return told;
    }
    return {
      change(answer) {
        counts.lies += 1;
        return change(answer, facts);
      },
    };
  };
  return { liar, counts, first, planted };
}
