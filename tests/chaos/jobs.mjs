// What the product is asked to do while faults happen, as a command and as a call of the library. What an option is called stands
// here and nowhere else.
import { constants } from 'node:fs';
import { copyFile, readFile, rename, writeFile } from 'node:fs/promises';
import { KMSClient } from '@aws-sdk/client-kms';
import * as bson from 'bson';
import { awsKms, ClientEncryption, migrate, restoreBackup } from 'csfle-wasm';
import { MongoClient } from 'mongodb';

const BATCH = 2;
/** Must be in no output. */
export const AWS_SECRET = 'chaos-secret-access-key';
export const BACKUP_PASSPHRASE = 'chaos backup passphrase';
/** Long enough for a machine that is busy, and for a KMS that hangs as short as it may be. */
export const KMS_TIMEOUTS_MS = { usual: 8000, hanging: 400 };

/**
 * `mode` and `from`/`to` (`a` and `b` are AWS keys) say what is done; `keysUnder` where the keys of the world are first, `collections`
 * which of its collections are named, `writes` how many write commands it sends in a world of world.mjs. Jobs that `rewrites` change documents; what
 * `partial` ones ask for may be refused, since the old keys that they remove are still in use. `nested: false` leaves out encrypted
 * values inside encrypted values: a re-encryption does not reach those under an old key, and its report says "Not done".
 */
export const JOBS = [
  { name: 'rewrap-local-to-aws', mode: 'rewrap', from: 'local', to: 'a', writes: 3 },
  { name: 'rewrap-aws-to-aws', mode: 'rewrap', from: 'aws', to: 'b', keysUnder: 'aws', writes: 5 },
  { name: 'rewrap-aws-to-local', mode: 'rewrap', from: 'aws', to: 'local', keysUnder: 'aws', writes: 5 },
  { name: 'undo', mode: 'rewrap', from: 'aws', to: 'local', keysUnder: 'aws', undo: true, writes: 5 },
  { name: 'reencrypt', mode: 'reencrypt', from: 'local', to: 'a', collections: ['people', 'visits'], schemas: true, rewrites: true, nested: false, writes: 19 },
  {
    name: 'reencrypt-aws-to-aws',
    mode: 'reencrypt',
    from: 'aws',
    to: 'b',
    keysUnder: 'aws',
    collections: ['people', 'visits'],
    schemas: true,
    rewrites: true,
    nested: false,
    writes: 24,
  },
  {
    name: 'reencrypt-and-delete',
    mode: 'reencrypt',
    from: 'local',
    to: 'a',
    collections: ['people', 'visits'],
    schemas: true,
    rewrites: true,
    deletes: true,
    nested: false,
    writes: 31,
  },
  {
    name: 'reencrypt-nested-and-delete',
    mode: 'reencrypt',
    from: 'local',
    to: 'a',
    collections: ['people', 'visits'],
    rewrites: true,
    deletes: true,
    partial: true,
    writes: 27,
  },
  {
    name: 'reencrypt-one-and-delete',
    mode: 'reencrypt',
    from: 'local',
    to: 'a',
    collections: ['people'],
    schemas: true,
    rewrites: true,
    deletes: true,
    partial: true,
    writes: 9,
  },
  { name: 'decrypt', mode: 'decrypt', collections: ['people', 'visits'], schemas: true, rewrites: true, writes: 9 },
  { name: 'restore', mode: 'restore', keysUnder: 'local', rerun: 'always', writes: 5 },
  { name: 'create-data-key', mode: 'create', to: 'a', writes: 1 },
  { name: 'create-local-data-key', mode: 'create', to: 'local', writes: 1 },
  { name: 'keys-rewrap', mode: 'keys-rewrap', to: 'b', keysUnder: 'aws', writes: 5 },
  { name: 'keys-rewrap-to-local', mode: 'keys-rewrap', to: 'local', keysUnder: 'aws', writes: 5 },
];

/** The same move in the other direction, for two runners at the same time. */
export const OPPOSITES = {
  'rewrap-local-to-aws': { name: 'rewrap-aws-to-local', mode: 'rewrap', from: 'aws', to: 'local' },
  'rewrap-aws-to-aws': { name: 'rewrap-aws-to-local', mode: 'rewrap', from: 'aws', to: 'local' },
  reencrypt: { name: 'reencrypt-aws-to-local', mode: 'reencrypt', from: 'aws', to: 'local', collections: ['people', 'visits'] },
  'reencrypt-and-delete': { name: 'rewrap-aws-to-local', mode: 'rewrap', from: 'local', to: 'b' },
  decrypt: { name: 'reencrypt', mode: 'reencrypt', from: 'local', to: 'a', collections: ['people', 'visits'] },
};

/** Where the files of a job are: `disk` is where what it writes goes. */
export const filesOf = (disk) => ({ schema: `${disk}/schema-map.json`, backup: `${disk}/backup` });

/** The keys that a re-encryption replaces, as text: those that were under its old master key at first. */
export const oldKeyIds = (job, keys) =>
  Object.values(keys)
    .filter(({ provider, later }) => provider === job.from && !later)
    .map(({ id }) => id.toHexString(true));

/** The arguments of the command. `withBackup` has it write a backup first. */
export function commandArguments(
  job,
  { database, folder, arns, keys },
  { disk = folder, withBackup = false, json = true, kmsTimeoutMs = KMS_TIMEOUTS_MS.usual } = {},
) {
  const { schema, backup } = filesOf(disk);
  const common = ['--key-vault', `${database}.__keyVault`, ...(json ? ['--json'] : [])];
  const localKey = ['--local-key-file', `${folder}/master-key.bin`];
  const to = job.to === 'local' ? ['--to', 'local'] : ['--to', 'aws', '--key-arn', arns[job.to]];
  const tuning = ['--kms-timeout-ms', String(kmsTimeoutMs)];
  switch (job.mode) {
    case 'restore':
      return ['backup', 'restore', backup, '--overwrite', '--execute', '--replaced-file', `${disk}/replaced.csfle-backup`, ...common, ...localKey];
    case 'create':
      return ['keys', 'create', ...to, '--alt-name', 'made', ...common, ...(job.to === 'local' ? localKey : [])];
    case 'keys-rewrap':
      return ['keys', 'rewrap', '--all', ...to, ...common, ...localKey, '--no-backup'];
    default:
      return [
        'migrate',
        '--mode',
        job.mode,
        '--execute',
        ...common,
        ...localKey,
        ...tuning,
        '--batch-size',
        String(BATCH),
        ...(job.undo ? ['--from', 'local', '--to', 'aws', '--key-arn', arns.a, '--undo'] : []),
        ...(job.from === undefined || job.undo ? [] : ['--from', job.from]),
        ...(job.to === undefined || job.undo ? [] : to),
        ...(job.collections ?? []).flatMap((collection) => ['--collection', `${database}.${collection}`]),
        ...(job.schemas ? ['--schema-file', schema] : []),
        ...(job.mode === 'reencrypt' ? oldKeyIds(job, keys).flatMap((id) => ['--key', id]) : []),
        ...(job.deletes ? ['--delete-old-keys'] : []),
        ...(job.mode === 'decrypt' ? ['--confirm-plaintext'] : []),
        ...backupArguments(withBackup, backup),
      ];
  }
}

const backupArguments = (withBackup, file) => (withBackup ? ['--backup-file', file] : ['--no-backup']);

/** Whether the backup of a job goes under its new master key, which is at the KMS; else under a passphrase. */
export const isUnderKms = (job) => job.to === 'a' || job.to === 'b';

/** The environment of the command. */
export const commandEnvironment = (job, { uri, kmsEndpoint }) => ({
  ...(isUnderKms(job) ? {} : { CSFLE_BACKUP_PASSPHRASE: BACKUP_PASSPHRASE }),
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  MONGODB_URI: uri,
  AWS_ENDPOINT_URL_KMS: kmsEndpoint,
  NO_COLOR: '1',
  AWS_ACCESS_KEY_ID: 'chaos',
  AWS_SECRET_ACCESS_KEY: AWS_SECRET,
  AWS_REGION: 'us-east-1',
  AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
});

/**
 * Does a job through the library, in a process of its own. `call` is plain data: `{ job, uri, kmsEndpoint, database, folder, disk,
 * masterKey (base64), arns, oldKeys, kmsTimeoutMs }`. Resolves to `{ ok, report }` of plain data.
 */
export async function performInLibrary({ job, uri, kmsEndpoint, database, disk, masterKey, arns, oldKeys, kmsTimeoutMs }, onProgress) {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 4000 });
  const namespace = `${database}.__keyVault`;
  const key = Buffer.from(masterKey, 'base64');
  const credentials = { accessKeyId: 'chaos', secretAccessKey: AWS_SECRET };
  const kmsProviders = { local: { key }, aws: awsKms(({ region }) => new KMSClient({ region, endpoint: kmsEndpoint, credentials, maxAttempts: 1 })) };
  const to = masterKeyOf(job.to, arns);
  const { schema, backup } = filesOf(disk);
  const tuning = { kmsTimeoutMS: kmsTimeoutMs, kmsRetries: 1 };
  try {
    await client.connect();
    if (job.mode === 'restore') {
      const lines = (await readFile(backup, 'utf8')).split('\n').filter(Boolean);
      const documents = lines.map((line) => bson.EJSON.parse(line, { relaxed: false }));
      const replaced = { key: { passphrase: BACKUP_PASSPHRASE, argon2: { memoryKiB: 19_456, iterations: 2 } }, write: () => {} };
      const report = await restoreBackup({ keyVault: { client, namespace }, documents, overwrite: true, kmsProviders, replaced, execute: true });
      return { ok: report.ok, report };
    }
    if (job.mode === 'create' || job.mode === 'keys-rewrap') {
      const encryption = new ClientEncryption(client, { keyVaultNamespace: namespace, kmsProviders, kmsTimeoutMS: kmsTimeoutMs });
      const { provider, ...described } = to;
      const target = provider === 'local' ? {} : { masterKey: described };
      const result =
        job.mode === 'create'
          ? { id: (await encryption.createDataKey(provider, { ...target, keyAltNames: ['made'] })).toHexString(true) }
          : await encryption.rewrapManyDataKey({}, { provider, ...target });
      encryption.close();
      return { ok: true, report: JSON.parse(JSON.stringify(result)) };
    }
    const report = await migrate({
      keyVault: { client, namespace },
      kmsProviders,
      mode: job.mode,
      execute: true,
      batchSize: BATCH,
      onProgress,
      ...tuning,
      ...(job.from === undefined ? {} : { from: { provider: job.from } }),
      ...(job.to === undefined ? {} : { to }),
      ...(job.collections === undefined ? {} : { collections: job.collections.map((collection) => ({ client, namespace: `${database}.${collection}` })) }),
      ...(job.mode === 'reencrypt' ? { keyIds: oldKeys } : {}),
      ...(job.schemas ? { schemas: [schemaOf(schema)] } : {}),
      ...(job.deletes ? { deleteOldKeys: true } : {}),
      ...(job.mode === 'decrypt' ? { confirmPlaintext: true } : {}),
    });
    return { ok: report.ok, report };
  } finally {
    await client.close();
  }
}

function masterKeyOf(to, arns) {
  if (to === undefined) return undefined;
  return to === 'local' ? { provider: 'local' } : { provider: 'aws', region: 'us-east-1', key: arns[to] };
}

/** A schema in a file, as an application would keep it: replaced as a whole, with the original beside it. */
function schemaOf(path) {
  return {
    name: 'schema map',
    read: async () => bson.EJSON.parse(await readFile(path, 'utf8'), { relaxed: false }),
    async write(rewritten) {
      await copyFile(path, `${path}.before-migration`, constants.COPYFILE_EXCL).catch((error) => {
        if (error.code !== 'EEXIST') throw error;
      });
      await writeFile(`${path}.new`, bson.EJSON.stringify(rewritten, undefined, 2, { relaxed: false }));
      await rename(`${path}.new`, path);
    },
  };
}
