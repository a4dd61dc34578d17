/** Keeps secrets out of everything that is printed, whichever way they got into a message. */

const HIDDEN = '***';
// Connection string options that carry secrets (MongoDB connection string specification, authentication and TLS options).
const SECRET_OPTIONS = /\b(tlsCertificateKeyFilePassword|proxyPassword|AWS_SESSION_TOKEN|tlsCertificateKeyFile)(=|:)[^&,\s]+/gi;
const USER_INFO = /(mongodb(?:\+srv)?:\/\/)([^@/\s]*)@/gi;

/** A connection string without its password and without options that are secrets. */
export function redactUri(uri: string): string {
  return uri
    .replace(USER_INFO, (_, scheme: string, user: string) => {
      const colon = user.indexOf(':');
      return `${scheme}${colon < 0 ? user : `${user.slice(0, colon)}:${HIDDEN}`}@`;
    })
    .replace(SECRET_OPTIONS, (_, option: string, sign: string) => `${option}${sign}${HIDDEN}`);
}

/** The password of a connection string, or undefined. */
export function passwordOf(uri: string): string | undefined {
  const user = /^mongodb(?:\+srv)?:\/\/([^@/\s]*)@/i.exec(uri)?.[1];
  const colon = user?.indexOf(':') ?? -1;
  return user === undefined || colon < 0 || colon === user.length - 1 ? undefined : user.slice(colon + 1);
}

/** Replaces known secrets in texts. */
export class Redactor {
  readonly #secrets = new Set<string>();

  /** From now on this text is never printed. Short texts would blank out innocent words, so they are refused. */
  add(secret: string | undefined): void {
    if (secret !== undefined && secret.length >= 4) this.#secrets.add(secret);
  }

  /** Learns the password of a connection string, as written and decoded. */
  addUri(uri: string): void {
    const password = passwordOf(uri);
    this.add(password);
    if (password === undefined) return;
    try {
      this.add(decodeURIComponent(password));
    } catch {
      // A stray percent sign: the driver will refuse the connection string, and the text as written is known already.
    }
  }

  clean(text: string): string {
    let cleaned = redactUri(text);
    for (const secret of this.#secrets) cleaned = cleaned.replaceAll(secret, HIDDEN);
    return cleaned;
  }
}
