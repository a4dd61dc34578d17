import cliProgress from 'cli-progress';
import type { MigrationProgress } from '../index.js';
import { visible } from '../node/text.js';
import { standardError, type TextStream } from './stream.js';

const TITLES: Readonly<Record<MigrationProgress['phase'], string>> = {
  'check-keys': 'checking keys',
  'prove-keys': 'looking for values that prove the keys',
  census: 'counting encrypted values',
  'create-keys': 'making data keys',
  keys: 'wrapping keys anew',
  documents: 'rewriting documents',
  'verify-documents': 'proving that nothing is left',
  'alternate-names': 'moving alternate names',
  'verify-keys': 'unwrapping every key again',
  evidence: 'searching for uses of the keys',
  'delete-keys': 'retiring old keys',
};
/** From this width on titles are padded, so that bars stand below each other. */
const WIDE = 110;
const LONGEST_BAR = 28;
const SHORTEST_BAR = 4;
/** What stands beside title and bar: percentage, counts, rate, time left. */
const NUMBERS = 42;
const LONGEST_TITLE = Math.max(...Object.values(TITLES).map((title) => title.length));

/** Shows progress on standard error: a bar with rate and time left on a terminal, one line per step elsewhere. */
export class ProgressView {
  readonly #stream: TextStream;
  readonly #note: (text: string) => void;
  #bar: cliProgress.SingleBar | undefined;
  #current: MigrationProgress | undefined;
  #startedMs = 0;

  /** `note` prints a line where there is no terminal. */
  constructor(note: (text: string) => void, stream: TextStream = standardError) {
    this.#note = note;
    this.#stream = stream;
  }

  /** Takes one tick; pass it as `onProgress`. */
  readonly show = (progress: MigrationProgress): void => {
    try {
      this.#show(progress);
    } catch {
      // What cannot be shown stops nothing.
    }
  };

  #show(progress: MigrationProgress): void {
    const current = this.#current;
    if (current === undefined || current.phase !== progress.phase || current.namespace !== progress.namespace || progress.done < current.done) {
      this.close();
      this.#startedMs = performance.now();
      if (this.#stream.isTTY) this.#bar = this.#startBar(progress);
    }
    this.#current = progress;
    this.#bar?.setTotal(progress.total);
    this.#bar?.update(progress.done, payloadOf(progress));
  }

  /** Ends the step under way. */
  close(): void {
    const last = this.#current;
    this.#current = undefined;
    if (last === undefined) return;
    if (this.#bar !== undefined) {
      this.#bar.update(last.done, { ...payloadOf(last), left: '' });
      this.#bar.stop();
      this.#bar = undefined;
    } else {
      const failed = last.failed > 0 ? `, ${last.failed} failed` : '';
      this.#note(`${titleOf(last)}: ${last.done} of ${last.total}${failed}, ${seconds(performance.now() - this.#startedMs)}`);
    }
  }

  #startBar(progress: MigrationProgress): cliProgress.SingleBar {
    const width = this.#stream.raw.columns ?? 80;
    const title = visible(titleOf(progress))
      .replaceAll('{', '(')
      .padEnd(width < WIDE ? 0 : LONGEST_TITLE);
    const bar = new cliProgress.SingleBar({
      stream: this.#stream.raw,
      format: `${title}  {bar}  {percentage}%  {value}/{total}  {rate}/s  {left}{failures}`,
      barCompleteChar: '\u2588',
      barIncompleteChar: '\u2591',
      barsize: Math.max(SHORTEST_BAR, Math.min(LONGEST_BAR, width - title.length - NUMBERS)),
      // Cut at the edge: without wrapping, a terminal shows the last character of a long line in its last column.
      linewrap: true,
      hideCursor: true,
      // The signal handler of the command restores the terminal; the library's own would end the process.
      gracefulExit: false,
    });
    bar.start(progress.total, progress.done, payloadOf(progress));
    return bar;
  }
}

function titleOf({ phase, namespace }: MigrationProgress): string {
  return namespace === undefined ? TITLES[phase] : `${TITLES[phase]} in ${namespace}`;
}

function payloadOf({ ratePerSec, etaMs, failed }: MigrationProgress): Record<string, string> {
  return {
    rate: ratePerSec >= 100 ? Math.round(ratePerSec).toLocaleString('en-US') : String(ratePerSec),
    left: etaMs === null || etaMs === 0 ? '' : `${seconds(etaMs)} left`,
    failures: failed > 0 ? `  ${failed} failed` : '',
  };
}

/** A duration for people. */
export function seconds(durationMs: number): string {
  if (durationMs < 60_000) return `${(durationMs / 1000).toFixed(1)} s`;
  const minutes = Math.floor(durationMs / 60_000);
  return `${minutes} min ${Math.round((durationMs - minutes * 60_000) / 1000)} s`;
}
