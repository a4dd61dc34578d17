/** The inner object of a context, reached as `context.context`: a handle of the core with the binding's results. */

import { wipe } from '../bytes.js';
import { guarded } from '../wasm.js';
import type { MongoCryptContextHandle } from '../wasm-handles.js';
import { signRsaSha256 } from './host-crypto.js';
import type { IMongoCryptContext, MongoCryptStatus } from './interface.js';
import { KmsRequest } from './kms-request.js';
import { bufferOf, bytesOf, statusOf } from './status.js';

export class BindingContext implements IMongoCryptContext {
  readonly #handle: MongoCryptContextHandle;

  constructor(handle: MongoCryptContextHandle) {
    this.#handle = handle;
  }

  #call<T>(work: (handle: MongoCryptContextHandle) => T): T {
    return guarded(() => work(this.#handle));
  }

  nextMongoOperation(): Buffer {
    return bufferOf(this.#call((handle) => handle.mongoOperation(Date.now())));
  }

  addMongoOperationResponse(response: Uint8Array): void {
    const bytes = bytesOf(response, 'buffer');
    this.#call((handle) => handle.feedMongo(bytes, Date.now()));
  }

  finishMongoOperation(): void {
    this.#call((handle) => handle.finishMongo(Date.now()));
  }

  nextKMSRequest(): KmsRequest | null {
    this.#sign();
    const number = this.#call((handle) => handle.nextKmsRequest());
    return number === undefined ? null : new KmsRequest(this.#handle, number);
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

  provideKMSProviders(providers: Uint8Array): void {
    const bytes = bytesOf(providers, 'buffer');
    this.#call((handle) => handle.provideKmsProviders(bytes, Date.now()));
  }

  finishKMSRequests(): void {
    // A request that nobody has been told of yet lacks an answer, not a signature.
    this.#sign();
    this.#call((handle) => handle.finishKms(Date.now()));
  }

  finalize(): Buffer {
    return bufferOf(this.#call((handle) => handle.finalize(Date.now())));
  }

  get status(): MongoCryptStatus {
    return statusOf(this.#call((handle) => handle.failure()));
  }

  get state(): number {
    return this.#call((handle) => handle.state());
  }
}
