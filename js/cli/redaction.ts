/** Keeps secrets out of everything that is printed, whichever way they got into a message. */

import { createRequire } from 'node:module';

const HIDDEN = '***';
// Connection string options that carry secrets (MongoDB connection string specification, authentication and TLS options).
const SECRET_OPTIONS = ['tlsCertificateKeyFilePassword', 'proxyPassword', 'tlsCertificateKeyFile'] as const;
// Properties of authMechanismProperties that are none; whatever else stands there may be one, as AWS_SESSION_TOKEN is.
const PUBLIC_PROPERTIES: ReadonlySet<string> = new Set([
  'SERVICE_NAME',
  'SERVICE_REALM',
  'SERVICE_HOST',
  'CANONICALIZE_HOST_NAME',
  'ENVIRONMENT',
  'TOKEN_RESOURCE',
  'ALLOWED_HOSTS',
]);
const OPTIONS_IN_TEXT = new RegExp(`\\b(${SECRET_OPTIONS.join('|')}|AWS_SESSION_TOKEN)(=|:|%3A)[^&,\\s]+`, 'gi');
const USER_INFO_IN_TEXT = /(mongodb(?:\+srv)?:\/\/)([^@/\s]*)@/gi;

/** What is read off a connection string by the driver's own parser. */
interface ParsedUri {
  readonly password: string;
  readonly hosts: readonly string[];
  readonly searchParams: { entries(): IterableIterator<[string, string]> };
}

interface UriParser {
  readonly ConnectionString: new (uri: string, options: { looseValidation: boolean }) => ParsedUri;
}

/** The driver's parser, or undefined where there is no driver or the text is no connection string. */
function parsed(uri: string): ParsedUri | undefined {
  try {
    // A dependency of the driver, found from where the driver is.
    const driver = createRequire(createRequire(import.meta.url).resolve('mongodb'));
    const { ConnectionString } = driver('mongodb-connection-string-url') as UriParser;
    return new ConnectionString(uri, { looseValidation: true });
  } catch {
    return undefined;
  }
}

/** Scheme, user, password and the rest, however odd: the last `@` before the options ends them, or else the last one of all. */
function splitUri(uri: string): { scheme: string; user: string; password: string | undefined; rest: string } | undefined {
  const scheme = /^\s*mongodb(?:\+srv)?:\/\//i.exec(uri)?.[0];
  if (scheme === undefined) return undefined;
  const after = uri.slice(scheme.length);
  const authority = /^[^/?#]*/.exec(after)?.[0] ?? '';
  const at = authority.includes('@') ? authority.lastIndexOf('@') : after.lastIndexOf('@');
  // Without an `@`, what is no host and port is user and password of a string whose host was forgotten or encoded.
  if (at < 0 && !authority.split(',').every((host) => /^(?:\[[^\]]*\]|[\w.-]*)(?::\d*)?$/.test(host))) {
    const [user = '', ...secret] = decoded(authority).split(/[:;]/);
    return { scheme, user, password: secret.join(':') || undefined, rest: after.slice(authority.length) };
  }
  const userInfo = at < 0 ? '' : after.slice(0, at);
  // An `@` among the options only: the hosts before it are no user.
  if (at >= 0 && !authority.includes('@') && parsed(uri) !== undefined && !userInfo.slice(0, authority.length).includes(':'))
    return { scheme, user: '', password: undefined, rest: after };
  const colon = userInfo.search(/[:;]|%3a/i);
  return {
    scheme,
    user: colon < 0 ? userInfo : userInfo.slice(0, colon),
    password: colon < 0 ? undefined : userInfo.slice(colon).replace(/^(?:[:;]|%3a)/i, ''),
    rest: after.slice(at + 1),
  };
}

/** A whole connection string without its password and without its options, which may be secrets. */
export function redactUri(uri: string): string {
  const split = splitUri(uri);
  if (split === undefined) return inText(uri);
  const { scheme, user, password, rest } = split;
  const credentials = user === '' && password === undefined ? '' : `${user}${password === undefined ? '' : `:${HIDDEN}`}@`;
  const [address = '', ...options] = rest.split('?');
  return `${scheme}${credentials}${address}${options.length > 0 ? `?${HIDDEN}` : ''}`;
}

/** The password of a connection string as written, or undefined. */
export function passwordOf(uri: string): string | undefined {
  return splitUri(uri)?.password || undefined;
}

/** The secrets among the options of a connection string, as written. */
function secretOptionsOf(uri: string): readonly string[] {
  const written = uri
    .slice(uri.indexOf('?') + 1)
    .split('&')
    .map((option): [string, string] => {
      const equals = option.indexOf('=');
      return [option.slice(0, equals), option.slice(equals + 1)];
    });
  const entries = uri.includes('?') ? [...written, ...(parsed(uri)?.searchParams.entries() ?? [])] : [];
  return entries.flatMap(([name, value]) => {
    if (SECRET_OPTIONS.some((option) => option.toLowerCase() === name.toLowerCase())) return [value];
    return name.toLowerCase() === 'authmechanismproperties' ? secretPropertiesOf(value) : [];
  });
}

function secretPropertiesOf(value: string): readonly string[] {
  return [value, decoded(value)].flatMap((text) =>
    text.split(',').flatMap((property) => {
      const [, name = '', secret = ''] = /^([^:%]*)(?::|%3A)(.*)$/is.exec(property) ?? [];
      return PUBLIC_PROPERTIES.has(name.toUpperCase()) ? [] : [secret];
    }),
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A stray percent sign: the driver will refuse the connection string, and the text as written is known already.
    return text;
  }
}

/** Replaces known secrets in texts. */
export class Redactor {
  readonly #secrets = new Set<string>();
  readonly #uris = new Map<string, string>();

  /** From now on this text is never printed. Short texts would blank out innocent words, so they are refused. */
  add(secret: string | undefined): void {
    if (secret !== undefined && secret.length >= 4) this.#secrets.add(secret);
  }

  /** Learns the secrets of a connection string: as written, decoded, and as the driver's parser and others would write them. */
  addUri(uri: string): void {
    this.#uris.set(uri, redactUri(uri));
    const ofParser = parsed(uri)?.password;
    // Messages quote parts of a malformed string: the password up to what the parser took for a separator.
    const parts = (passwordOf(uri) ?? '').split(/[@\s,/:;?]|%40|%3a/i);
    for (const secret of [passwordOf(uri), ofParser, ...parts, ...secretOptionsOf(uri)]) {
      if (secret === undefined || secret === '') continue;
      for (const form of [secret, secret.replaceAll('+', ' ')])
        for (const text of [form, decoded(form), encodeURIComponent(decoded(form)), encodeURI(decoded(form))]) this.add(text);
    }
  }

  clean(text: string): string {
    let cleaned = text;
    for (const [uri, redacted] of this.#uris) cleaned = cleaned.replaceAll(uri, redacted);
    cleaned = inText(cleaned);
    // Long ones first: a short one may be part of a long one.
    for (const secret of [...this.#secrets].sort((one, other) => other.length - one.length)) cleaned = cleaned.replaceAll(secret, HIDDEN);
    return cleaned;
  }
}

/** Connection strings and their options in a text, also those that nobody announced. */
function inText(text: string): string {
  return text
    .replace(USER_INFO_IN_TEXT, (_, scheme: string, user: string) => {
      const colon = user.indexOf(':');
      return `${scheme}${colon < 0 ? user : `${user.slice(0, colon)}:${HIDDEN}`}@`;
    })
    .replace(OPTIONS_IN_TEXT, (_, option: string, sign: string) => `${option}${sign}${HIDDEN}`);
}
