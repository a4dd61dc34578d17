/** Equal unwrapping that is wanted several times at once is asked of the KMS once. */

import { AbortScope, within } from '../abort.js';
import { hexText, wipe } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { KmsRequest } from '../wasm.js';

interface Flight {
  readonly scope: AbortScope;
  readonly reply: Promise<Uint8Array>;
  waiting: number;
}

/**
 * Many values of one data key are often decrypted at the same time, before the key is cached; without this each of them
 * would pay for a call of its own.
 */
export class SharedCalls {
  readonly #flights = new Map<string, Flight>();

  /**
   * Returns what `start` returns for this request, or a copy of what an equal request under way returns.
   * The call goes on while anybody waits for it; who leaves early leaves the others alone.
   */
  async unwrap(request: KmsRequest, start: (scope: AbortScope) => Promise<Uint8Array>, scope: AbortScope): Promise<Uint8Array> {
    const name = `${request.provider} ${hexText(request.masterKey)} ${hexText(request.input)}`;
    const flight = this.#flights.get(name) ?? this.#begin(name, start);
    flight.waiting += 1;
    try {
      return Uint8Array.from(await within(scope, flight.reply));
    } finally {
      flight.waiting -= 1;
      if (flight.waiting === 0) {
        this.#flights.delete(name);
        flight.scope.abort(new CsfleError('OPERATION_ABORTED', 'nobody waits for this call any more'));
        flight.reply.then(wipe, () => undefined);
      }
    }
  }

  #begin(name: string, start: (scope: AbortScope) => Promise<Uint8Array>): Flight {
    const scope = new AbortScope();
    const flight: Flight = { scope, reply: start(scope), waiting: 0 };
    this.#flights.set(name, flight);
    return flight;
  }
}
