/**
 * Errors and reports of the library in the words of a host: the command has flags and the shell has options of its own. A host gives
 * one table; this applies it where a text is shown, so that no place has to think of it.
 */

/** What a host says in place of the library. */
export interface HostWords {
  /** Names that only an option of the library has, wherever they stand in a text. */
  readonly names: Readonly<Record<string, string>>;
  /** Options that are everyday words too: replaced between backticks, and where the error is about that option. */
  readonly everyday: Readonly<Record<string, string>>;
  /** Parts of sentences that have to change as a whole. They come first. */
  readonly phrases: readonly (readonly [pattern: RegExp, text: string])[];
  /** Remedies by `CODE option`, or else by `CODE`; those of the library are translated. */
  readonly remedies: Readonly<Record<string, string | ((message: string) => string)>>;
  /** What to do when a key document does not open under the local master key that was given. */
  readonly wrongLocalKey: string;
}

/** What is said of an error. */
export interface SaidError {
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Applies the table of a host. */
export class Wording {
  /** Where the local master key of a provider came from, such as a file: what does not open under it names that. */
  readonly localKeys: Map<string, string> = new Map();
  readonly #words: HostWords;
  readonly #names: RegExp;
  readonly #remedyOf: (code: string) => string;

  /** `remedyOf` is what the library says about a code. */
  constructor(words: HostWords, remedyOf: (code: string) => string) {
    this.#words = words;
    this.#remedyOf = remedyOf;
    const names = Object.keys(words.names).sort((one, other) => other.length - one.length);
    // Between dots, slashes, quotes and hyphens a name may be one of the caller's: of a collection, a file, a key.
    this.#names = new RegExp(`(?<![\\w./"'-])(?:${names.join('|')})(?![\\w/"'-])(?:\\(\\))?`, 'g');
  }

  /** A text of the library. `option` is the one that it is about. */
  text(text: string, option?: string): string {
    const { names, everyday, phrases } = this.#words;
    let said = text;
    for (const [pattern, replacement] of phrases) said = said.replace(pattern, replacement);
    said = said.replace(/`(\w+)`/g, (quoted, name: string) => everyday[name] ?? names[name] ?? quoted);
    const word = option === undefined ? undefined : everyday[option];
    if (word !== undefined) said = said.replace(new RegExp(`(?<![\\w./"'-])${option}(?![\\w/"'-])`), word);
    return said.replace(this.#names, (name) => names[name.replace('()', '')] ?? name);
  }

  /** What to do about an error. `remedy` is what the library says. */
  remedy({ code, message, details }: SaidError, remedy: string): string {
    const { remedies } = this.#words;
    const own = remedies[`${code} ${optionOf(details) ?? ''}`] ?? remedies[code];
    if (own !== undefined) return typeof own === 'function' ? own(message) : own;
    // Where no cause is shown nothing points to one; where one is shown it stands above.
    const rest = remedy.replace(/See `cause`(?:\.|:) (\w)/, (_, first: string) => first.toUpperCase());
    return this.text(rest);
  }

  /** An error, or what a report says of one. */
  error<Said extends SaidError>(error: Said): Said {
    const { message, remedy, details } = error;
    const closed = this.#closedLocalKey(error as unknown as Readonly<Record<string, unknown>>, message);
    if (closed !== undefined) return { ...error, message: closed, ...(remedy === undefined ? {} : { remedy: this.#words.wrongLocalKey }) };
    return { ...error, message: this.text(message, optionOf(details)), ...(remedy === undefined ? {} : { remedy: this.remedy(error, remedy) }) };
  }

  /** A report, with every error and every check in it. The rest is the same. */
  report<Report>(report: Report): Report {
    return this.#inReport(report) as Report;
  }

  /** Of a value that fails to authenticate the value is damaged; of a key document under a local master key, it is another one's. */
  #closedLocalKey(said: Readonly<Record<string, unknown>>, text: string): string | undefined {
    if (said['code'] !== 'CRYPTO_AUTHENTICATION_FAILED' || !NOT_AUTHENTIC.test(text)) return undefined;
    const { provider = (said['details'] as SaidError['details'])?.['provider'], kind, name } = said;
    const isOfKey = kind === 'key' || name === 'old-keys-unwrap';
    const id = typeof provider === 'string' ? provider : isOfKey ? [...this.localKeys.keys()][0] : undefined;
    if (id?.split(':', 1)[0] !== 'local') return undefined;
    const source = this.localKeys.get(id);
    const under = source === undefined ? 'the local master key that was given' : `the local master key of ${source}`;
    return text.replace(
      NOT_AUTHENTIC,
      `${isOfKey && name !== undefined ? 'the key documents do' : 'the key document does'} not open under ${under} (HMAC validation failure)`,
    );
  }

  #inReport(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((one) => this.#inReport(one));
    // What has a class, such as an id of BSON, is no part of a report.
    if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
    const inner = Object.fromEntries(Object.entries(value).map(([name, one]) => [name, this.#inReport(one)]));
    const { code, message, detail, ok } = inner;
    if (typeof detail === 'string') {
      const closed = this.#closedLocalKey(inner, detail);
      // A check has no remedy of its own.
      const remedy =
        closed !== undefined
          ? this.#words.wrongLocalKey
          : ok === false && typeof code === 'string'
            ? this.remedy({ code, message: detail }, this.#remedyOf(code))
            : undefined;
      return { ...inner, detail: closed ?? this.text(detail), ...(remedy === undefined ? {} : { remedy }) };
    }
    return typeof code === 'string' && typeof message === 'string' ? this.error(inner as unknown as SaidError) : inner;
  }
}

const NOT_AUTHENTIC = /HMAC validation failure$/;

function optionOf(details: SaidError['details']): string | undefined {
  const name = details?.['option'] ?? details?.['argument'];
  return typeof name === 'string' ? name : undefined;
}
