/** What a callback threw, named by the SDK that most likely threw it. */

import { CsfleError } from '../errors.js';
import { classifyAwsError } from './aws.js';
import { classifyAzureError } from './azure.js';
import { classifyTransportError } from './failure.js';
import { classifyGcpError } from './gcp.js';

const CLASSIFIERS: Readonly<Record<string, (thrown: unknown, operation: 'encrypt' | 'decrypt') => CsfleError>> = {
  aws: classifyAwsError,
  azure: classifyAzureError,
  gcp: classifyGcpError,
};

/**
 * Finds the code for whatever a callback of `provider` (`aws`, `aws:eu`) threw.
 *
 * Callbacks written by hand mostly call the provider's own SDK, whose errors are as telling there as under `awsKms()`.
 * What none of them knows is `HOST_CALLBACK_FAILED`: a mistake in the callback must not pass for one of the KMS.
 */
export function classifyCallbackError(provider: string, operation: 'encrypt' | 'decrypt', thrown: unknown): CsfleError {
  try {
    if (CsfleError.is(thrown)) return thrown;
    const [type = ''] = provider.split(':', 1);
    const named = CLASSIFIERS[type]?.(thrown, operation) ?? classifyTransportError(thrown);
    if (named !== undefined && named.code !== 'KMS_FAILED') return named;
  } catch {
    // Looking at what was thrown may run code of its own, which may fail: then it says nothing about the KMS.
  }
  return new CsfleError('HOST_CALLBACK_FAILED', 'the KMS callback failed', { cause: thrown });
}
