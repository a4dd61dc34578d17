/** The step loop: the only place that waits for the key vault and for a KMS on behalf of a machine. */

import { AbortScope, throwIfAborted, within } from './abort.js';
import { type BsonBinary, type BsonLibrary, type Document, deserialize, EXACT_TYPES, serialize } from './bson.js';
import { concatBytes, wipe } from './bytes.js';
import { CsfleError, kindOf } from './errors.js';
import type { KeyVaultStore, KeyWrapping } from './key-vault.js';
import { type KmsPolicy, performKms } from './kms/perform.js';
import { type KmsRequest, type Machine, STEP_DONE, STEP_NEED_KEYS, STEP_NEED_KMS } from './wasm.js';

/** What a machine needs of the outside. */
export interface Host {
  readonly bson: BsonLibrary;
  /** Absent when the owner was given no key vault: work that needs one is refused then. */
  readonly store: KeyVaultStore | undefined;
  readonly kms: KmsPolicy;
  /** Ends every run with it: the owner's closing and the caller's own signal. */
  readonly scope: AbortScope;
}

/**
 * Drives `machine` to its end, returns its output and frees it, whatever happens.
 * Errors: those of the machine; those of the key vault and the KMS callbacks; `OPERATION_ABORTED` when a signal fires.
 */
export async function run(machine: Machine, host: Host, signal?: AbortSignal): Promise<Uint8Array> {
  try {
    // A machine whose keys are cached is done at once: no signal to follow then.
    throwIfAborted(signal);
    if (machine.step(Date.now()) === STEP_DONE) return machine.output();
    const scope = new AbortScope(host.scope, signal);
    try {
      return await drive(machine, host, scope);
    } catch (error) {
      // Whoever stopped the run wins over what the machine says about being stopped.
      scope.throwIfAborted();
      throw error;
    } finally {
      scope.release();
    }
  } finally {
    machine.free();
  }
}

async function drive(machine: Machine, host: Host, scope: AbortScope): Promise<Uint8Array> {
  for (;;) {
    scope.throwIfAborted();
    const step = machine.step(Date.now());
    if (step === STEP_DONE) return machine.output();
    if (step === STEP_NEED_KEYS) machine.provideKeys(await findKeys(machine.filter(), host, scope));
    else if (step === STEP_NEED_KMS) await answerKms(machine, host, scope);
    else throw new CsfleError('INTERNAL', `the core asked for step ${step}, which this layer does not know`);
  }
}

async function findKeys(filter: Uint8Array, host: Host, scope: AbortScope): Promise<Uint8Array> {
  const wanted = deserialize(host.bson, filter, EXACT_TYPES);
  const documents = await within(scope, findDocuments(requireStore(host.store), wanted));
  return concatBytes(documents.map((document) => serialize(host.bson, document, 'a key document')));
}

/** The key vault, or the error that says that none was given. */
export function requireStore(store: KeyVaultStore | undefined): KeyVaultStore {
  if (store === undefined) {
    throw new CsfleError('ARGUMENT_INVALID', 'no key vault: pass a MongoClient with keyVaultNamespace, or keyVaultStore');
  }
  return store;
}

/** Wraps a key anew on a condition. What a store answers has to be true or false: no answer is no write. */
export async function rewrapThrough(store: KeyVaultStore, id: BsonBinary, expected: KeyWrapping, next: KeyWrapping): Promise<boolean> {
  const answer: unknown = await fromStore(() => store.rewrapIf(id, expected, next));
  if (typeof answer === 'boolean') return answer;
  throw new CsfleError(
    'HOST_CALLBACK_FAILED',
    `rewrapIf() of the key vault store has to say true or false, found ${kindOf(answer)}: whether it wrote is not known`,
  );
}

/** What `find` of a key vault store returns; anything but an array of documents is a mistake in the store. */
export async function findDocuments(store: KeyVaultStore, filter: Document): Promise<readonly Document[]> {
  const documents: unknown = await fromStore(() => store.find(filter));
  if (!Array.isArray(documents) || !documents.every((document) => typeof document === 'object' && document !== null))
    throw new CsfleError('HOST_CALLBACK_FAILED', 'find() of the key vault store did not return an array of documents');
  return documents;
}
/** Runs one method of a key vault store; what it throws becomes a `CsfleError`. */
export async function fromStore<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (CsfleError.is(cause)) throw cause;
    throw new CsfleError('HOST_CALLBACK_FAILED', 'the key vault store failed', { cause });
  }
}

/** Answers every open request of the machine; the first failure stops the others. */
async function answerKms(machine: Machine, host: Host, parent: AbortScope): Promise<void> {
  const requests = machine.kmsRequests();
  const scope = new AbortScope(parent);
  let failure: unknown;
  const answer = async (request: KmsRequest): Promise<void> => {
    try {
      const answered = await performKms(request, host.kms, host.bson, scope);
      try {
        machine.provideKms(request.id, answered.reply, answered.keyId);
      } finally {
        if (request.operation === 'unwrap') wipe(answered.reply);
      }
    } catch (error) {
      failure ??= error;
      scope.abort(new CsfleError('OPERATION_ABORTED', 'another call to the KMS failed'));
    } finally {
      if (request.operation === 'wrap') wipe(request.input);
    }
  };
  try {
    await Promise.all(requests.map(answer));
  } finally {
    scope.release();
  }
  if (failure !== undefined) throw failure;
}
