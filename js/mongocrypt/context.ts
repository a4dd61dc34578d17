/** One operation under way, as the drivers run it: look at `state`, do what it asks for, look again. */

import { wipe } from '../bytes.js';
import { guarded } from '../wasm.js';
import type { MongoCryptContextHandle } from '../wasm-handles.js';
import { signRsaSha256 } from './host-crypto.js';
import { MongoCryptKMSRequest } from './kms-request.js';
import { bufferOf, bytesOf, type MongoCryptStatus, statusOf } from './status.js';

/** Turns what a method throws into what the application wants to catch. */
export type MongoCryptErrorWrapper = (error: Error) => Error;

/** Runs `work`, with its errors wrapped. */
export function wrapped<T>(wrapper: MongoCryptErrorWrapper, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw wrapper(error as Error);
  }
}

/**
 * A context. Failures of the library do not throw: `state` is 0 then, and `status` tells why. Only an argument that is no
 * `Uint8Array` throws. Properties may be added, as the driver does.
 */
export class MongoCryptContext {
  readonly #handle: MongoCryptContextHandle;
  readonly #wrapper: MongoCryptErrorWrapper;

  constructor(handle: MongoCryptContextHandle, wrapper: MongoCryptErrorWrapper) {
    this.#handle = handle;
    this.#wrapper = wrapper;
  }

  #call<T>(work: (handle: MongoCryptContextHandle) => T): T {
    return wrapped(this.#wrapper, () => guarded(() => work(this.#handle)));
  }

  #feed(response: unknown, work: (handle: MongoCryptContextHandle, bytes: Uint8Array) => void): void {
    const bytes = wrapped(this.#wrapper, () => bytesOf(response, 'buffer'));
    this.#call((handle) => work(handle, bytes));
  }

  /** What to ask: a filter for listCollections (1), a command to analyse (2), a filter for the key vault (3). Empty on failure. */
  nextMongoOperation(): Buffer {
    return bufferOf(this.#call((handle) => handle.mongoOperation(Date.now())));
  }

  /** Takes one document of the answer. */
  addMongoOperationResponse(response: Uint8Array): void {
    this.#feed(response, (handle, bytes) => handle.feedMongo(bytes, Date.now()));
  }

  /** Says that the answer is complete. */
  finishMongoOperation(): void {
    this.#call((handle) => handle.finishMongo(Date.now()));
  }

  /** The next request to a KMS (4), or `null` when there is none, and on failure. */
  nextKMSRequest(): MongoCryptKMSRequest | null {
    this.#sign();
    const number = this.#call((handle) => handle.nextKmsRequest());
    return number === undefined ? null : wrapped(this.#wrapper, () => new MongoCryptKMSRequest(this.#handle, number));
  }

  /** Signs whatever wants to be signed. A key that cannot sign fails its request, not the caller. */
  #sign(): void {
    for (;;) {
      const wanted = this.#call((handle) => handle.signatureWanted());
      if (wanted === undefined) return;
      const [key, input] = wanted as [Uint8Array, Uint8Array];
      let signature: Uint8Array = new Uint8Array(0);
      try {
        signature = signRsaSha256(key, input);
      } catch {
        // An empty signature says so.
      } finally {
        wipe(key);
      }
      this.#call((handle) => handle.provideSignature(signature));
    }
  }

  /** Takes the credentials that were missing (7), as a kmsProviders document. */
  provideKMSProviders(providers: Uint8Array): void {
    this.#feed(providers, (handle, bytes) => handle.provideKmsProviders(bytes, Date.now()));
  }

  /** Says that the requests are answered. */
  finishKMSRequests(): void {
    this.#call((handle) => handle.finishKms(Date.now()));
  }

  /** The result (5). Empty on failure. */
  finalize(): Buffer {
    return bufferOf(this.#call((handle) => handle.finalize(Date.now())));
  }

  get status(): MongoCryptStatus {
    return statusOf(this.#call((handle) => handle.failure()));
  }

  /** 0 failed, 1 collection infos, 2 analysis, 3 keys, 4 KMS, 5 ready, 6 done, 7 credentials. */
  get state(): number {
    return this.#call((handle) => handle.state());
  }
}
