/** Requests to a KMS, as `nextKMSRequest` gives them. */

import { guarded } from '../wasm.js';
import type { MongoCryptContextHandle } from '../wasm-handles.js';
import type { MongoCryptKMSRequest, MongoCryptStatus } from './interface.js';
import { bufferOf, bytesOf, statusOf } from './status.js';

/** A request keeps its context alive. Once the round it belongs to is finished, it takes nothing any more. */
export class KmsRequest implements MongoCryptKMSRequest {
  readonly #context: MongoCryptContextHandle;
  readonly #number: number;
  readonly #sleepUs: number;
  readonly #provider: string;
  readonly #endpoint: string;

  constructor(context: MongoCryptContextHandle, number: number) {
    this.#context = context;
    this.#number = number;
    // Jitter, not a secret.
    const random = Math.floor(Math.random() * 2 ** 32);
    this.#sleepUs = guarded(() => context.kmsSleep(number, random));
    this.#provider = guarded(() => context.kmsProvider(number)) ?? '';
    this.#endpoint = guarded(() => context.kmsEndpoint(number)) ?? '';
  }

  addResponse(response: Uint8Array): void {
    const bytes = bytesOf(response, 'value');
    guarded(() => this.#context.kmsFeed(this.#number, bytes));
  }

  fail(): boolean {
    return guarded(() => this.#context.kmsFail(this.#number));
  }

  get status(): MongoCryptStatus {
    return statusOf(guarded(() => this.#context.kmsFailure(this.#number)));
  }

  get bytesNeeded(): number {
    return guarded(() => this.#context.kmsBytesNeeded(this.#number));
  }

  get uSleep(): number {
    return this.#sleepUs;
  }

  get kmsProvider(): string {
    return this.#provider;
  }

  get endpoint(): string {
    return this.#endpoint;
  }

  get message(): Buffer {
    return bufferOf(guarded(() => this.#context.kmsMessage(this.#number)));
  }
}
