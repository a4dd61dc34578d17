/** `csfle.status()`: which key vault, which keys, whether the configured master keys open them. */

import { createRequire } from 'node:module';
import { CsfleError, type Document, type ErrorCode } from '../index.js';
import { visible } from '../node/text.js';
import { AS_PRINTABLE, interruptible } from './help.js';
import type { ShellSession } from './session.js';
import { hostsOf, type ShellInstanceState } from './shell.js';
import { inShell } from './words.js';

const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
/** Keys that are tried at the same time; the KMS calls among them are bounded by the library. */
const KEYS_AT_ONCE = 32;

/** The state of the keys of one provider. */
export interface ProviderStatus {
  readonly keys: number;
  /** Keys that the configured master key opens. */
  readonly open: number;
}

/** A key that does not open, and why. */
export interface ClosedKey {
  readonly _id: unknown;
  readonly keyAltNames: readonly string[];
  readonly provider: string;
  readonly code: ErrorCode;
  /** What is wrong with it. */
  readonly message: string;
  readonly remedy: string;
}

/** What `csfle.status()` returns. */
export interface ShellStatus {
  /** First of all, how many keys do not open. Absent while no key vault is known. */
  readonly summary?: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Absent while no key vault is known. */
  readonly keyVault?: {
    readonly connection: string;
    readonly namespace: string;
    readonly writable: boolean;
    readonly reason?: string;
    /** Whether the unique index on keyAltNames is there. */
    readonly uniqueIndex: boolean;
    readonly keys: number;
    readonly providers: Readonly<Record<string, ProviderStatus>>;
    readonly closedKeys: readonly ClosedKey[];
  };
  readonly hint?: string;
}

/** Looks, without writing. Each key is tried by encrypting one value, which the result of is thrown away. */
export async function statusOf(session: ShellSession | undefined, state: ShellInstanceState | undefined): Promise<ShellStatus> {
  const versions = await versionsOf(session?.state ?? state);
  if (session === undefined) {
    return { versions, hint: 'No key vault yet: csfle.status({ keyVaultNamespace, kmsProviders }), or open one with csfle.keyVault(). See csfle.help()' };
  }
  const capabilities = await session.store.capabilities?.();
  const keys = await session.store.find({});
  const tried = await interruptible(session.state, (signal) => tryKeys(session, keys, signal));
  const providers: Record<string, ProviderStatus> = {};
  for (const { provider, failure } of tried) {
    const before = providers[provider] ?? { keys: 0, open: 0 };
    providers[provider] = { keys: before.keys + 1, open: before.open + (failure === undefined ? 1 : 0) };
  }
  const closedKeys = tried.flatMap(({ key, provider, failure }) =>
    failure === undefined ? [] : [closedKey({ _id: key['_id'], keyAltNames: namesOf(key), provider }, failure)],
  );
  const { writable = false, uniqueIndex = false, reason } = capabilities ?? {};
  return withVisiblePrint({
    summary: summaryOf(tried),
    versions,
    keyVault: {
      connection: hostsOf(session.vaultMongo),
      namespace: session.namespace,
      writable,
      ...(reason === undefined ? {} : { reason }),
      uniqueIndex,
      keys: keys.length,
      providers,
      closedKeys,
    },
  });
}

/** The shell prints text as it is: what others wrote into the key vault is shown with its unseen characters escaped. The data stays. */
function withVisiblePrint(status: ShellStatus): ShellStatus {
  return Object.defineProperty(status, AS_PRINTABLE, { value: () => inVisibleText(status) });
}

function inVisibleText(value: unknown): unknown {
  if (typeof value === 'string') return visible(value);
  if (Array.isArray(value)) return value.map(inVisibleText);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [visible(name), inVisibleText(one)]));
}

function closedKey(key: Pick<ClosedKey, '_id' | 'keyAltNames' | 'provider'>, { code, message, remedy, details }: CsfleError): ClosedKey {
  const said = inShell.error({ code, message, remedy, details });
  return { ...key, code, message: said.message, remedy: said.remedy };
}

/** Which keys do not open, provider by provider. Values are not looked at: the shell does not know where they are. */
function summaryOf(tried: readonly TriedKey[]): string {
  if (tried.length === 0) return 'the key vault has no data key';
  const closed = [...new Set(tried.map(({ provider }) => provider))].flatMap((provider) => {
    const under = tried.filter((one) => one.provider === provider);
    const failures = under.flatMap(({ failure }) => (failure === undefined ? [] : [failure.code]));
    if (failures.length === 0) return [];
    const [noun, verb] = [under.length === 1 ? 'key' : 'keys', failures.length === 1 ? 'does' : 'do'];
    const why = failures.every((code) => code === 'KMS_PROVIDER_NOT_CONFIGURED') ? `: kmsProviders has no ${provider}` : ' under this master key';
    return [`${failures.length} of ${under.length} ${noun} under ${provider} ${verb} not open${why}`];
  });
  return closed.length === 0 ? `every key opens: ${tried.length} of ${tried.length}` : closed.join('; ');
}

interface TriedKey {
  readonly key: Document;
  readonly provider: string;
  readonly failure: CsfleError | undefined;
}

async function tryKeys(session: ShellSession, keys: readonly Document[], signal: AbortSignal): Promise<readonly TriedKey[]> {
  const tried: TriedKey[] = [];
  for (let first = 0; first < keys.length && !signal.aborted; first += KEYS_AT_ONCE) {
    tried.push(...(await Promise.all(keys.slice(first, first + KEYS_AT_ONCE).map((key) => tryKey(session, key)))));
  }
  return tried;
}

async function tryKey({ encryption }: ShellSession, key: Document): Promise<TriedKey> {
  const provider = String((key['masterKey'] as Document | undefined)?.['provider'] ?? 'unknown');
  try {
    await encryption.encrypt(true, { keyId: key['_id'] as never, algorithm: RANDOM });
    return { key, provider, failure: undefined };
  } catch (error) {
    if (CsfleError.is(error)) return { key, provider, failure: error };
    throw error;
  }
}

function namesOf(key: Document): readonly string[] {
  const names = key['keyAltNames'];
  return Array.isArray(names) ? names : [];
}

async function versionsOf(state: ShellInstanceState | undefined): Promise<Readonly<Record<string, string>>> {
  const { version } = createRequire(__filename)('../package.json') as { readonly version: string };
  const shell = await state?.context?.version?.();
  return { 'csfle-wasm': version, ...(typeof shell === 'string' ? { mongosh: shell } : {}), node: process.versions.node };
}
