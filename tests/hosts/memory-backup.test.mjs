// Sealed backups leave neither passphrase nor content in the WebAssembly memory, however they ended.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, describe, it } from 'node:test';
import * as bson from 'bson';
import { openBoundary } from './boundary.mjs';
import { scan } from './memory/scan.mjs';
import { formsOfKey, formsOfText } from './memory/secrets.mjs';
import { document, Session } from './memory/session.mjs';

const LOCAL = { provider: 'local' };
const AWS = { provider: 'aws', region: 'us-east-1', key: 'arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000' };

describe('after backups were sealed and opened, the WebAssembly memory', { timeout: 120_000 }, () => {
  let boundary;
  let session;
  const masterKey = randomBytes(96);
  const passphrase = `passphrase-${randomBytes(24).toString('hex')}`;
  const name = `schema-${randomBytes(24).toString('hex')}`;
  const forms = [...formsOfKey('local master key', masterKey), ...formsOfText('passphrase', passphrase), ...formsOfText('name of a schema', name)];
  const records = Buffer.concat([
    document({ type: 'schema', name, bytes: new bson.Binary(randomBytes(200_000), 0) }),
    document({ type: 'localMasterKey', provider: 'local', key: new bson.Binary(masterKey, 0) }),
  ]);
  const facts = document({ keyVault: null });
  const words = () => new TextEncoder().encode(passphrase);
  const namesFound = () => scan(boundary.memory.buffer, forms).map((found) => found.name);

  before(async () => {
    boundary = await openBoundary();
    session = new Session(boundary);
  });

  const open = () => session.engine(Uint8Array.from(masterKey), randomBytes(96));

  it('contains the secrets while they are in use (control)', async () => {
    const engine = open();
    const machine = engine.sealBackup(document(AWS), facts, records);
    assert.notDeepEqual(namesFound(), []);
    machine.free();
    engine.free();
  });

  it('contains no secret after sealing and opening under every kind of key', async () => {
    const engine = open();
    const files = [
      await session.run(engine.sealBackupWithPassphrase(words(), { memoryKiB: 19_456, iterations: 2 }, facts, records)),
      await session.run(engine.sealBackup(document(LOCAL), facts, records)),
      await session.run(engine.sealBackup(document(AWS), facts, records)),
    ];
    for (const file of files) assert.ok(Buffer.from(await session.run(engine.openBackup(file, words()))).includes(masterKey));
    engine.free();
    assert.deepEqual(namesFound(), []);
  });

  it('keeps the 64 MiB of a passphrase, and uses them again', async () => {
    const mebibytes = 64;
    const engine = open();
    const sizes = [boundary.memory.buffer.byteLength];
    for (let run = 0; run < 3; run += 1) {
      await session.run(engine.sealBackupWithPassphrase(words(), { memoryKiB: mebibytes * 1024, iterations: 2 }, facts, records));
      sizes.push(boundary.memory.buffer.byteLength);
    }
    engine.free();
    const grown = (sizes[1] - sizes[0]) / 2 ** 20;
    // A part of it fits into memory that the instance already has.
    assert.ok(grown > mebibytes - 25 && grown < mebibytes + 8, `${grown} MiB`);
    assert.deepEqual(sizes.slice(2), [sizes[1], sizes[1]]);
    assert.deepEqual(namesFound(), []);
  });

  it('contains no secret after failures', async () => {
    const engine = open();
    const file = await session.run(engine.sealBackupWithPassphrase(words(), { memoryKiB: 19_456, iterations: 2 }, facts, records));
    const fails = (work, code) => assert.rejects(async () => session.run(work()), { code });
    await fails(() => engine.openBackup(file, words().subarray(1)), 'BACKUP_KEY_WRONG');
    const damaged = Uint8Array.from(file);
    damaged[damaged.length - 1] ^= 1;
    await fails(() => engine.openBackup(damaged, words()), 'BACKUP_CHUNK_DAMAGED');
    await fails(() => engine.sealBackupWithPassphrase(words(), { memoryKiB: 8, iterations: 2 }, facts, records), 'BACKUP_LIMIT_EXCEEDED');
    await fails(() => engine.sealBackup(document(LOCAL), facts, records.subarray(1)), 'BACKUP_CONTENT_INVALID');
    engine.free();
    assert.deepEqual(namesFound(), []);
  });
});
