/** One request to a KMS: bytes to send, and how many to read. The caller owns the connection. */

import { guarded } from '../wasm.js';
import type { MongoCryptContextHandle } from '../wasm-handles.js';
import { bufferOf, bytesOf, type MongoCryptStatus, statusOf } from './status.js';

/** A request, as `nextKMSRequest` gives it. It keeps its context alive. */
export class MongoCryptKMSRequest {
  readonly #context: MongoCryptContextHandle;
  readonly #number: number;
  readonly #sleepUs: number;
  #misuse: unknown;

  constructor(context: MongoCryptContextHandle, number: number) {
    this.#context = context;
    this.#number = number;
    // Jitter, not a secret.
    const random = Math.floor(Math.random() * 2 ** 32);
    this.#sleepUs = guarded(() => context.kmsSleep(number, random));
  }

  /** Takes bytes of the answer, `bytesNeeded` at most. What is wrong with them is in `status`. */
  addResponse(response: Uint8Array): void {
    const bytes = bytesOf(response, 'value');
    this.#misuse = guarded(() => this.#context.kmsFeed(this.#number, bytes));
  }

  /** Says that the connection failed. Returns whether `nextKMSRequest` will give the request again. */
  fail(): boolean {
    return guarded(() => this.#context.kmsFail(this.#number));
  }

  get status(): MongoCryptStatus {
    return statusOf(guarded(() => this.#context.kmsFailure(this.#number)) ?? this.#misuse);
  }

  /** 0 when the answer is complete, has failed, or is to be asked for again. */
  get bytesNeeded(): number {
    return guarded(() => this.#context.kmsBytesNeeded(this.#number));
  }

  /** How long to wait before sending, in microseconds. */
  get uSleep(): number {
    return this.#sleepUs;
  }

  /** The provider's full identifier, such as `aws:eu`. */
  get kmsProvider(): string {
    return guarded(() => this.#context.kmsProvider(this.#number)) ?? '';
  }

  /** `host:port`. */
  get endpoint(): string {
    return guarded(() => this.#context.kmsEndpoint(this.#number)) ?? '';
  }

  /** What to send. */
  get message(): Buffer {
    return bufferOf(guarded(() => this.#context.kmsMessage(this.#number)));
  }
}
