// Files that the command writes: complete or not at all, not through symbolic links of others; the same command continues after a stop.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EJSON } from 'bson';
import { hospital } from '../migration/fixtures.mjs';
import { csfle, slowKms } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle and its files', { timeout: 300_000, skip: process.platform === 'win32' && 'links and permissions of POSIX' }, () => {
  let lab;
  let folder;
  let keyFile;
  let masterKey;
  let count = 0;
  before(async () => {
    lab = await openCommandLab({ ownServer: true });
    folder = lab.folder;
    const place = await hospital(lab, { documents: 0 });
    masterKey = place.masterKey;
    keyFile = await lab.keyFileOf(place);
  });
  after(() => lab.close());

  const fresh = () => {
    const path = join(folder, `place-${count++}`);
    mkdirSync(path);
    return path;
  };
  const run = async (place, args, more = {}) => {
    const { code, stdout, stderr } = await csfle(
      ['migrate', '--key-vault', place.namespace, '--local-key-file', keyFile, '--to', 'aws', '--key-arn', lab.to.key, '--execute', '--json', ...args],
      { env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint, ...more.env }, whileRunning: more.whileRunning },
    );
    return { code, stderr, report: JSON.parse(stdout) };
  };
  const reencrypt = (place, path) => {
    const { skipNamespaces, reason } = lab.elsewhere(place.database);
    const alone = [...skipNamespaces.flatMap((name) => ['--skip-namespace', name]), '--skip-reason', reason];
    return [
      '--mode',
      'reencrypt',
      '--created-before',
      place.cutOff.toISOString(),
      '--no-backup',
      '--collection',
      place.patientsNamespace,
      '--schema-file',
      path,
      ...alone,
    ];
  };
  const schemaOf = ({ keys }, padding = 0) => {
    const encrypt = { bsonType: 'string', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic', keyId: [keys.ssn] };
    return `${EJSON.stringify({ bsonType: 'object', description: 'x'.repeat(padding), properties: { ssn: { encrypt } } }, undefined, 2)}\n`;
  };
  const codes = ({ failures }) => failures.map(({ code }) => code);

  it('a schema file keeps its permissions, and the link that leads to it', async () => {
    const path = fresh();
    const place = await hospital(lab, { documents: 2, masterKey });
    writeFileSync(join(path, 'real.json'), schemaOf(place));
    chmodSync(join(path, 'real.json'), 0o640);
    symlinkSync('real.json', join(path, 'schema.json'));
    const before = readFileSync(join(path, 'real.json'), 'utf8');
    const { code, report } = await run(place, reencrypt(place, join(path, 'schema.json')));
    assert.equal(code, 0, JSON.stringify(report.failures));
    assert.equal(readlinkSync(join(path, 'schema.json')), 'real.json');
    assert.equal(statSync(join(path, 'real.json')).mode & 0o777, 0o640);
    assert.notEqual(readFileSync(join(path, 'real.json'), 'utf8'), before);
    assert.equal(readFileSync(join(path, 'schema.json.before-migration'), 'utf8'), before);
    assert.deepEqual(readdirSync(path).sort(), ['real.json', 'schema.json', 'schema.json.before-migration']);
  });

  it('a symbolic link under the name of the kept original, or an incomplete original, is refused, and the schema file is not changed', async () => {
    const path = fresh();
    const place = await hospital(lab, { documents: 2, masterKey });
    const file = join(path, 'schema.json');
    const kept = `${file}.before-migration`;
    writeFileSync(file, schemaOf(place));
    writeFileSync(join(path, 'whole.json'), schemaOf(place));
    for (const plant of [
      () => symlinkSync(join(path, 'elsewhere'), kept),
      () => symlinkSync('whole.json', kept),
      () => writeFileSync(kept, ''),
      () => writeFileSync(kept, schemaOf(place).slice(0, 100)),
    ]) {
      plant();
      const { code, report } = await run(place, reencrypt(place, file));
      assert.equal(code, 1);
      assert.deepEqual(codes(report), ['MIGRATION_SCHEMA_FAILED']);
      assert.equal(readFileSync(file, 'utf8'), schemaOf(place));
      assert.equal(existsSync(join(path, 'elsewhere')), false);
      unlinkSync(kept);
    }
    assert.equal((await run(place, reencrypt(place, file))).code, 0);
    assert.equal(readFileSync(kept, 'utf8'), schemaOf(place));
  });

  it('each run keeps the schema file that it changes, under a name that is free', async () => {
    const path = fresh();
    const place = await hospital(lab, { documents: 2, masterKey });
    const file = join(path, 'schema.json');
    writeFileSync(file, schemaOf(place));
    // Of another run, and not what the file holds now.
    writeFileSync(`${file}.before-migration`, '{"other.schema": {}}');
    assert.equal((await run(place, reencrypt(place, file))).code, 0);
    assert.equal(readFileSync(`${file}.before-migration`, 'utf8'), '{"other.schema": {}}');
    assert.equal(readFileSync(`${file}.before-migration.2`, 'utf8'), schemaOf(place));
    // The original that an interrupted run kept of the same file is accepted.
    const again = await hospital(lab, { documents: 2, masterKey });
    writeFileSync(file, schemaOf(again));
    writeFileSync(`${file}.before-migration`, schemaOf(again));
    assert.equal((await run(again, reencrypt(again, file))).code, 0);
    assert.deepEqual(readdirSync(path), ['schema.json', 'schema.json.before-migration', 'schema.json.before-migration.2']);
  });

  it('a number in a schema file that JavaScript cannot represent is refused before any write, with the reason', async () => {
    const path = fresh();
    const place = await hospital(lab, { documents: 2, masterKey });
    const file = join(path, 'schema.json');
    for (const number of ['9007199254740993', '12345678901234567890', '1e400']) {
      const text = schemaOf(place).replace('"bsonType": "object"', `"maximum": ${number}, "bsonType": "object"`);
      assert.ok(text.includes(number));
      writeFileSync(file, text);
      const { code, report } = await run(place, reencrypt(place, file));
      assert.deepEqual([code, codes(report)], [1, ['MIGRATION_SCHEMA_FAILED']]);
      assert.match(report.failures[0].message, new RegExp(number));
      assert.equal(readFileSync(file, 'utf8'), text);
      assert.equal(await place.vault.countDocuments(), 3, 'no key was made');
    }
    writeFileSync(file, schemaOf(place));
    writeFileSync(`${file}.before-migration`, '');
    const { report } = await run(place, reencrypt(place, file));
    assert.match(report.failures[0].message, /before-migration is no extended JSON/);
  });

  it('a full disk damages neither schema file nor original, and the retry succeeds', async (t) => {
    const path = fresh();
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path], { encoding: 'utf8' });
    if (mounted.status !== 0) return t.skip(`no small file system can be mounted here: ${mounted.stderr ?? mounted.error}`);
    try {
      const place = await hospital(lab, { documents: 2, masterKey });
      const file = join(path, 'schema.json');
      const original = schemaOf(place, 40_000);
      writeFileSync(file, original);
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const { code, report } = await run(place, reencrypt(place, file));
        assert.deepEqual([code, codes(report)], [1, ['MIGRATION_SCHEMA_FAILED']]);
        assert.deepEqual(readdirSync(path), ['schema.json']);
        assert.equal(readFileSync(file, 'utf8'), original);
      }
      // Room for the original that is kept, and none for the new one.
      spawnSync('mount', ['-o', 'remount,size=100k', path]);
      assert.equal((await run(place, reencrypt(place, file))).code, 1);
      assert.equal(readFileSync(file, 'utf8'), original);
      assert.equal(readFileSync(`${file}.before-migration`, 'utf8'), original);
      spawnSync('mount', ['-o', 'remount,size=256k', path]);
      assert.equal((await run(place, reencrypt(place, file))).code, 0);
      assert.notEqual(readFileSync(file, 'utf8'), original);
      assert.equal(readFileSync(`${file}.before-migration`, 'utf8'), original);

      const backup = await run(await hospital(lab, { documents: 0, masterKey }), ['--backup-file', join(path, 'absent', 'vault.jsonl')]);
      assert.deepEqual([backup.code, codes(backup.report)], [1, ['MIGRATION_BACKUP_FAILED']]);
    } finally {
      spawnSync('umount', [path]);
    }
  });

  it('the same command after an interruption accepts the backup of the same run; any other file is refused', async () => {
    const path = fresh();
    const place = await hospital(lab, { documents: 0, masterKey });
    const file = join(path, 'vault.jsonl');
    let child;
    const kms = await slowKms(lab.kmsEndpoint, {
      delayMs: 100,
      onCall: (calls) => {
        if (calls === 6) child.kill('SIGTERM');
      },
    });
    const stopped = await run(place, ['--backup-file', file, '--kms-concurrency', '1'], {
      env: { AWS_ENDPOINT_URL_KMS: kms.endpoint },
      whileRunning: (started) => {
        child = started;
      },
    });
    await kms.close();
    assert.equal(stopped.code, 143);
    const backup = readFileSync(file);
    assert.equal(lstatSync(file).mode & 0o777, 0o600);
    const again = await run(place, ['--backup-file', file]);
    assert.equal(again.code, 0, JSON.stringify(again.report.failures));
    assert.deepEqual(readFileSync(file), backup);

    const other = await hospital(lab, { documents: 0, masterKey });
    const before = await other.dump();
    writeFileSync(join(path, 'cut.jsonl'), backup.subarray(0, -40));
    symlinkSync('vault.jsonl', join(path, 'link.jsonl'));
    for (const name of ['vault.jsonl', 'cut.jsonl', 'link.jsonl']) {
      const { code, report } = await run(other, ['--backup-file', join(path, name)]);
      assert.deepEqual([code, codes(report)], [1, ['MIGRATION_BACKUP_FAILED']], name);
    }
    assert.deepEqual(await other.dump(), before);
    assert.deepEqual(readFileSync(file), backup);
  });
});
