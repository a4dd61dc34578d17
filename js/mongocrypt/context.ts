/** What programs hold: the inner context with its errors wrapped. */

import type { IMongoCryptContext, MongoCryptErrorWrapper, MongoCryptKMSRequest, MongoCryptStatus } from './interface.js';

/** Runs `work`, with its errors wrapped. */
export function wrapped<T>(wrapper: MongoCryptErrorWrapper, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw wrapper(error as Error);
  }
}

/**
 * One operation under way, as the drivers run it: look at `state`, do what it asks for, look again. Properties may be
 * added, as the driver does.
 *
 * COMPAT: both fields are properties, and looked up on every call, so that stand-ins and proxies work.
 */
export class MongoCryptContext implements IMongoCryptContext {
  private readonly context: IMongoCryptContext;
  private readonly errorWrapper: MongoCryptErrorWrapper;

  constructor(context: IMongoCryptContext, errorWrapper: MongoCryptErrorWrapper) {
    this.context = context;
    this.errorWrapper = errorWrapper;
  }

  nextMongoOperation(): Buffer {
    return wrapped(this.errorWrapper, () => this.context.nextMongoOperation());
  }

  addMongoOperationResponse(response: Uint8Array): void {
    wrapped(this.errorWrapper, () => this.context.addMongoOperationResponse(response));
  }

  finishMongoOperation(): void {
    wrapped(this.errorWrapper, () => this.context.finishMongoOperation());
  }

  nextKMSRequest(): MongoCryptKMSRequest | null {
    return wrapped(this.errorWrapper, () => this.context.nextKMSRequest());
  }

  provideKMSProviders(providers: Uint8Array): void {
    wrapped(this.errorWrapper, () => this.context.provideKMSProviders(providers));
  }

  finishKMSRequests(): void {
    wrapped(this.errorWrapper, () => this.context.finishKMSRequests());
  }

  finalize(): Buffer {
    return wrapped(this.errorWrapper, () => this.context.finalize());
  }

  get status(): MongoCryptStatus {
    return wrapped(this.errorWrapper, () => this.context.status);
  }

  get state(): number {
    return wrapped(this.errorWrapper, () => this.context.state);
  }
}
