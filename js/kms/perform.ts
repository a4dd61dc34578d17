/** One call to a KMS: its place in the queue, its deadline, its retries, and what its error says. */

import { AbortScope, type Limiter, pause, within } from '../abort.js';
import { type BsonLibrary, deserialize } from '../bson.js';
import { equalBytes, isBytes, wipe } from '../bytes.js';
import { CsfleError, type ErrorDetail, kindOf } from '../errors.js';
import type { KmsRequest } from '../wasm.js';
import { classifyCallbackError } from './classify.js';
import type { SharedCalls } from './shared-calls.js';
import type { KmsCall, KmsCallbacks, KmsWrapped } from './index.js';

/** Whom to call, and how patiently. */
export interface KmsPolicy {
  readonly providers: ReadonlyMap<string, KmsCallbacks>;
  readonly limiter: Limiter;
  /** Unwrapping under way, which equal requests join. */
  readonly shared: SharedCalls;
  /** Whether trusted master keys are set: then a KMS that finds the key in the ciphertext is told which one to use. */
  readonly isPinned: boolean;
  /** Time for one attempt, in milliseconds. */
  readonly timeoutMs: number;
  /** How often a call that failed in a retryable way is repeated. */
  readonly retries: number;
}

/** What the KMS answered, as bytes that belong to this layer. */
export interface KmsAnswer {
  readonly reply: Uint8Array;
  readonly keyId?: string | undefined;
}

// Exponential back-off with full jitter, as the driver specification has it for KMS requests (200 ms doubling up to 20 s).
const BACKOFF_BASE_MS = 200;
const BACKOFF_CAP_MS = 20_000;

/**
 * Performs one request and returns the answer.
 * Errors: the callback's failure under our code, with provider, data key and attempts in `details` and the callback's
 * own error as `cause`; `KMS_TIMED_OUT`; `KMS_REPLY_INVALID`; the reason of the scope.
 */
export async function performKms(request: KmsRequest, policy: KmsPolicy, bson: BsonLibrary, scope: AbortScope): Promise<KmsAnswer> {
  const provider = policy.providers.get(request.provider);
  if (provider === undefined) {
    throw new CsfleError('KMS_PROVIDER_NOT_CONFIGURED', `kmsProviders has no \`${request.provider}\``, {
      details: describe(request),
    });
  }
  const masterKey = Object.freeze(deserialize(bson, request.masterKey));
  const perform = (span: AbortScope): Promise<KmsAnswer> => withRetries(request, provider, masterKey, policy, span);
  if (request.operation === 'wrap') return perform(scope);
  return { reply: await policy.shared.unwrap(request, async (flight) => (await perform(flight)).reply, scope) };
}

async function withRetries(
  request: KmsRequest,
  provider: KmsCallbacks,
  masterKey: KmsCall['masterKey'],
  policy: KmsPolicy,
  scope: AbortScope,
): Promise<KmsAnswer> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await policy.limiter.run(() => attemptOnce(request, provider, masterKey, policy, scope), scope);
    } catch (thrown) {
      scope.throwIfAborted();
      const error = classifyCallbackError(request.provider, request.operation === 'wrap' ? 'encrypt' : 'decrypt', thrown);
      if (!error.retryable || attempt > policy.retries) throw explain(error, request, attempt);
    }
    await pause(Math.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (attempt - 1)), scope);
  }
}

async function attemptOnce(
  request: KmsRequest,
  provider: KmsCallbacks,
  masterKey: KmsCall['masterKey'],
  { timeoutMs, isPinned }: KmsPolicy,
  parent: AbortScope,
): Promise<KmsAnswer> {
  const scope = new AbortScope(parent);
  const controller = new AbortController();
  scope.onAbort((reason) => controller.abort(reason));
  const deadline = setTimeout(() => scope.abort(timedOut(timeoutMs)), timeoutMs);
  // Each attempt has its own copy: an attempt that timed out may still be reading while the next one runs.
  const input = Uint8Array.from(request.input);
  const call = {
    provider: request.provider,
    masterKey,
    keyAltNames: request.keyAltNames,
    isPinned,
    signal: controller.signal,
    ...(request.keyId === undefined ? {} : { dataKeyId: request.keyId }),
  };
  try {
    if (request.operation === 'wrap') {
      return checkWrapped(await within(scope, (async () => provider.encrypt({ ...call, plaintext: input }))()), request.input);
    }
    const unwrapped = await within(scope, (async () => provider.decrypt({ ...call, ciphertext: input }))(), wipeIfBytes);
    if (!isBytes(unwrapped)) throw replyInvalid('decrypt', 'bytes', unwrapped);
    return { reply: requireMaterial(Uint8Array.from(unlessGone(unwrapped)), unwrapped) };
  } finally {
    clearTimeout(deadline);
    scope.release();
    if (request.operation === 'wrap') wipe(input);
  }
}

/** The answer with bytes of its own: a callback may have wrapped in place, and its argument is about to be wiped. */
function checkWrapped(wrapped: Uint8Array | KmsWrapped, plaintext: Uint8Array): KmsAnswer {
  const { ciphertext, keyId } = isBytes(wrapped) ? { ciphertext: wrapped } : ((wrapped ?? {}) as Partial<KmsWrapped>);
  if (!isBytes(ciphertext)) throw replyInvalid('encrypt', 'bytes or { ciphertext, keyId? }', wrapped);
  if (keyId !== undefined && typeof keyId !== 'string') throw replyInvalid('encrypt', 'keyId as a string', keyId);
  // Stored like this the data key would lie open in the key vault.
  if (equalBytes(ciphertext, plaintext)) throw new CsfleError('KMS_REPLY_INVALID', 'encrypt returned the bytes it was given, unencrypted');
  return { reply: Uint8Array.from(unlessGone(ciphertext)), keyId };
}

/**
 * The copy of an answer; the answer itself is wiped. Key material of zeros is what a callback gives that keeps its answers and
 * gives a wiped one again: a key of zeros would encrypt for everybody.
 */
function requireMaterial(copy: Uint8Array, answer: Uint8Array): Uint8Array {
  wipe(answer);
  if (copy.length > 0 && copy.every((byte) => byte === 0))
    throw new CsfleError('KMS_REPLY_INVALID', 'decrypt returned nothing but zeros: each call has to return bytes of its own, which are overwritten after use');
  return copy;
}

/** The bytes, or none: a reply that was handed over to another thread has no length, and cannot be read or copied. */
function unlessGone(reply: Uint8Array): Uint8Array {
  return reply.length === 0 ? new Uint8Array(0) : reply;
}

function wipeIfBytes(late: unknown): void {
  if (isBytes(late)) wipe(late);
}

function replyInvalid(callback: string, expected: string, found: unknown): CsfleError {
  return new CsfleError('KMS_REPLY_INVALID', `${callback} must return ${expected}, found ${kindOf(found)}`);
}

function timedOut(timeoutMs: number): CsfleError {
  return new CsfleError('KMS_TIMED_OUT', `no answer within ${timeoutMs} ms`, { details: { timeoutMs } });
}

function describe(request: KmsRequest): Record<string, ErrorDetail> {
  const { provider, operation, keyId, keyAltNames } = request;
  return {
    provider,
    operation,
    ...(keyId === undefined ? {} : { keyId }),
    ...(keyAltNames.length === 0 ? {} : { keyAltNames: keyAltNames.join(', ') }),
  };
}

/** The same error with what this layer knows around it: which provider, which data key, how many attempts. */
function explain(error: CsfleError, request: KmsRequest, attempts: number): CsfleError {
  const names = request.keyAltNames.map((name) => JSON.stringify(name)).join(', ');
  const key = `${request.keyId === undefined ? 'a new data key' : `data key ${request.keyId}`}${names === '' ? '' : ` (${names})`}`;
  const tries = attempts === 1 ? '' : ` after ${attempts} attempts`;
  return new CsfleError(error.code, `${request.provider} could not ${request.operation} ${key}${tries}: ${error.message}`, {
    ...('cause' in error ? { cause: error.cause } : {}),
    details: { ...error.details, ...describe(request), attempts },
    retryable: error.retryable,
  });
}
