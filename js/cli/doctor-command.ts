import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { driverKeyVaultStore, type KeyDocument, version } from '../index.js';
import { type Connection, connect, connectionString } from './connection.js';
import { counted } from './counted.js';
import { proveEach } from './doctor-keys.js';
import { EXIT_DONE, EXIT_FAILED } from './failure.js';
import { type AddFinding, failed, type Finding } from './finding.js';
import { chmodRemedy, inspectKeyFile } from './key-file.js';
import type { KeysFlags } from './keys-command.js';
import { mark, type Output } from './output.js';
import { vaultOption } from './vault-option.js';

const OLDEST_NODE = 20;
/** Options of `csfle doctor`. */
export interface DoctorFlags extends KeysFlags {
  readonly collection: readonly string[];
}

/** `csfle doctor`: looks at everything a migration depends on, and says what to do about what is not in order. */
export async function doctorCommand(flags: DoctorFlags, output: Output): Promise<number> {
  const findings: Finding[] = [];
  const add = (finding: Finding): void => {
    findings.push(finding);
    const { state, name, detail, remedy } = finding;
    output.line(`${mark(state, process.stdout)}  ${name.padEnd(20)}  ${detail}`);
    if (state !== 'ok' && remedy !== undefined && remedy !== '') output.line(`${' '.repeat(28)}${remedy}`);
  };
  for (const finding of versions()) add(finding);
  for (const path of Object.values(flags.localKeyFile ?? {})) add(await keyFile(path));
  await withConnection(flags, output, add);
  const failed = findings.filter(({ state }) => state === 'fail').length;
  const warned = findings.filter(({ state }) => state === 'warn').length;
  output.document({ ok: failed === 0, findings });
  output.line(failed === 0 && warned === 0 ? 'everything is in order' : `${failed} failed, ${warned} to look at`);
  return failed === 0 ? EXIT_DONE : EXIT_FAILED;
}

function versions(): readonly Finding[] {
  const node = process.versions.node;
  const oldEnough = Number(node.split('.', 1)[0]) >= OLDEST_NODE;
  return [
    { state: oldEnough ? 'ok' : 'fail', name: 'node', detail: node, remedy: `Install Node ${OLDEST_NODE} or newer.` },
    packageVersion('csfle-wasm', 'fail', ''),
    // Asked of the instance itself, so that the answer proves that it runs.
    { state: 'ok', name: 'webassembly', detail: `the instance runs, core ${version()}` },
    packageVersion('bson', 'fail', 'Run: npm install bson'),
    packageVersion('mongodb', 'fail', 'Run: npm install mongodb'),
    packageVersion('@aws-sdk/client-kms', 'warn', 'Run: npm install @aws-sdk/client-kms, if keys are in AWS KMS.'),
  ];
}

function packageVersion(name: string, otherwise: 'warn' | 'fail', remedy: string): Finding {
  const version = installedVersion(name);
  return version === undefined ? { state: otherwise, name, detail: 'not installed', remedy } : { state: 'ok', name, detail: version };
}

/** The version of a package as this command would load it; not every package exports its package.json. */
function installedVersion(name: string): string | undefined {
  try {
    let folder = dirname(createRequire(import.meta.url).resolve(name));
    for (; folder !== dirname(folder); folder = dirname(folder)) {
      const file = join(folder, 'package.json');
      const found = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string }) : {};
      if (found.name === name) return found.version;
    }
  } catch {
    // Not installed.
  }
  return undefined;
}

async function keyFile(path: string): Promise<Finding> {
  try {
    const { mode, exposed } = await inspectKeyFile(path);
    if (exposed)
      return {
        state: 'fail',
        name: 'local key file',
        detail: `${path} is accessible to other users (mode ${mode})`,
        remedy: chmodRemedy(path),
        code: 'CLI_KEY_FILE_EXPOSED',
      };
    return { state: 'ok', name: 'local key file', detail: `${path}, mode ${mode}` };
  } catch (error) {
    return failed('local key file', error);
  }
}

async function withConnection(flags: DoctorFlags, output: Output, add: AddFinding): Promise<void> {
  let connection: Connection;
  try {
    connection = await connect(connectionString(flags.uri, output), output);
  } catch (error) {
    add(failed('server', error));
    return;
  }
  try {
    const { serverVersion, setName } = await serverFacts(connection);
    add({
      state: 'ok',
      name: 'server',
      detail: `version ${serverVersion}${setName === undefined ? ', no replica set' : `, replica set ${setName}`}`,
    });
    await keyVault(flags, connection, output, add);
  } finally {
    await connection.client.close();
  }
}

async function serverFacts({ client }: Connection): Promise<{ serverVersion: string; setName: string | undefined }> {
  const admin = client.db('admin');
  const [build, hello] = await Promise.all([admin.command({ buildInfo: 1 }), admin.command({ hello: 1 })]);
  return { serverVersion: String(build.version), setName: hello.setName === undefined ? undefined : String(hello.setName) };
}

async function keyVault(flags: DoctorFlags, connection: Connection, output: Output, add: AddFinding): Promise<void> {
  const store = driverKeyVaultStore(connection.client, flags.keyVault);
  let keys: readonly KeyDocument[];
  try {
    keys = (await store.find({})) as readonly KeyDocument[];
    add({
      state: keys.length > 0 ? 'ok' : 'warn',
      name: 'key vault',
      detail: `${flags.keyVault}: ${counted(keys.length, 'key')}`,
      remedy: 'Check --key-vault, or make a key: csfle keys create.',
    });
    const found = await store.capabilities?.();
    if (found !== undefined) {
      const { writable, uniqueIndex, reason } = found;
      add({
        state: writable ? 'ok' : 'warn',
        name: 'key vault writable',
        detail: writable ? 'updates are allowed' : (reason ?? 'no'),
        remedy: 'Grant find, insert, update and remove on the key vault to this user.',
      });
      add({
        state: uniqueIndex ? 'ok' : 'warn',
        name: 'alternate name index',
        detail: uniqueIndex ? 'keyAltNames has its unique index' : 'two keys may take one name',
        remedy: `Run: csfle keys index${vaultOption(flags.keyVault)}`,
      });
    }
  } catch (error) {
    add(failed('key vault', error));
    return;
  }
  await proveEach(keys, flags, connection, output, add);
}
