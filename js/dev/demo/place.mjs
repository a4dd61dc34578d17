// Where the demo takes place: a server, a KMS key, a database and a folder, all gone afterwards.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KMS } from '@aws-sdk/client-kms';
import { MongoClient } from 'mongodb';
import { createCmk, emulatorCredentials, startServices } from '../services.mjs';
import { ScriptFailure } from '../process.mjs';

// Resolves to everything the demo needs; `close()` removes what was made. With MONGODB_URI, AWS_ENDPOINT_URL_KMS or
// CSFLE_DEMO_KEY_ARN set, those are used instead of what would be started.
export async function openPlace() {
  const { MONGODB_URI, CSFLE_DEMO_KEY_ARN, AWS_ENDPOINT_URL_KMS } = process.env;
  const usesEmulator = CSFLE_DEMO_KEY_ARN === undefined && AWS_ENDPOINT_URL_KMS === undefined;
  if (usesEmulator) Object.assign(process.env, emulatorCredentials);
  const cleanUp = [];
  const close = async () => {
    for (const undo of cleanUp.splice(0).reverse()) await undo();
  };
  try {
    const services = await startServices({ kms: usesEmulator || AWS_ENDPOINT_URL_KMS !== undefined });
    cleanUp.push(() => services.stop());
    if (services.kmsEndpoint !== undefined) process.env.AWS_ENDPOINT_URL_KMS = services.kmsEndpoint;
    const arn = CSFLE_DEMO_KEY_ARN ?? (await createCmk(services.kmsEndpoint)).arn;
    const region = /^arn:[^:]+:kms:([^:]+):/.exec(arn)?.[1];
    if (region === undefined) throw new ScriptFailure('CSFLE_DEMO_KEY_ARN must be the ARN of a KMS key');
    const kms = new KMS({ region, maxAttempts: 1 });
    cleanUp.push(() => kms.destroy());

    const folder = await mkdtemp(join(tmpdir(), 'csfle-demo-'));
    cleanUp.push(() => rm(folder, { recursive: true, force: true }));
    const masterKey = randomBytes(96);
    cleanUp.push(() => masterKey.fill(0));
    await writeFile(join(folder, 'master-key.bin'), masterKey, { mode: 0o600 });

    const client = new MongoClient(services.mongodbUri, { serverSelectionTimeoutMS: 10_000 });
    cleanUp.push(() => client.close());
    await client.connect();
    const database = `csfle_demo_${randomBytes(4).toString('hex')}`;
    cleanUp.push(() => client.db(database).dropDatabase());
    const { version } = await client.db('admin').command({ buildInfo: 1 });
    return {
      client,
      database,
      folder,
      masterKey,
      kms,
      arn,
      region,
      close,
      mongodbUri: services.mongodbUri,
      keyVault: `${database}.__keyVault`,
      server: `${MONGODB_URI === undefined ? 'embedded, MongoDB-compatible' : 'MONGODB_URI'}, version ${version}`,
      kmsName: usesEmulator ? 'AWS KMS emulator (moto), through the real @aws-sdk/client-kms' : (AWS_ENDPOINT_URL_KMS ?? `AWS KMS in ${region}`),
    };
  } catch (error) {
    await close();
    throw error;
  }
}
