/** What `csfle doctor` says about one thing that it looked at. */

import type { ErrorCode } from '../index.js';
import { type PrintableError, printableError } from './output.js';

/** One thing that was looked at. */
export interface Finding {
  readonly state: 'ok' | 'warn' | 'fail';
  readonly name: string;
  readonly detail: string;
  readonly remedy?: string;
  readonly code?: ErrorCode | PrintableError['code'];
}

/** Takes a finding as soon as it is there. */
export type AddFinding = (finding: Finding) => void;

/** What could not be looked at. */
export function failed(name: string, error: unknown): Finding {
  const { code, message, remedy } = printableError(error);
  return { state: 'fail', name, detail: message, remedy, code };
}
