// No secret in any output, whichever way a command fails.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hospital } from '../migration/fixtures.mjs';
import { csfle, refusingKms } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle keeps secrets', { timeout: 180_000 }, () => {
  let lab;
  let folder;
  let place;
  before(async () => {
    lab = await openCommandLab();
    folder = lab.folder;
    place = await hospital(lab, { documents: 2 });
  });
  after(() => lab.close());

  it('prints none of the given secrets, neither when a command fails nor when it succeeds', async () => {
    const password = 'canary-p%40ss-5f1e';
    const [, host] = /^mongodb:\/\/(?:[^@]*@)?([^/?]+)/.exec(lab.uri);
    const withPassword = `mongodb://canary-user:${password}@127.0.0.1:9/?serverSelectionTimeoutMS=300`;
    const badOption = `mongodb://canary-user:${password}@${host}/?tlsCertificateKeyFilePassword=canary-tls-pass&unknownOption=1`;
    // The driver quotes a part of these two in its error.
    const withoutHost = 'mongodb://canary-user:canary-without-host/';
    const absentKeyFile = 'mongodb://127.0.0.1:9/?tls=true&tlsCertificateKeyFile=/canary-absent.pem';
    const wrongKey = randomBytes(96);
    const files = {
      right: await lab.keyFileOf(place),
      wrong: join(folder, 'wrong.bin'),
      exposed: join(folder, 'exposed.bin'),
      text: join(folder, 'text.bin'),
      passphrase: join(folder, 'passphrase.txt'),
      backup: join(folder, 'backup'),
    };
    await writeFile(files.wrong, wrongKey, { mode: 0o600 });
    await writeFile(files.exposed, place.masterKey);
    await chmod(files.exposed, 0o604);
    await writeFile(files.text, 'canary-not-a-key', { mode: 0o600 });
    await writeFile(files.passphrase, 'canary-passphrase\n', { mode: 0o600 });
    const secrets = [
      password,
      decodeURIComponent(password),
      'canary-tls-pass',
      'canary-without-host',
      'canary-absent',
      'canary-aws-secret',
      'canary-session-token',
      'canary-not-a-key',
      'canary-passphrase',
      'canary-environment',
      ...[place.masterKey, wrongKey].flatMap((key) => [
        key.toString('base64'),
        key.toString('hex'),
        key.toString('latin1'),
        key.subarray(0, 32).toString('hex'),
      ]),
    ];
    const env = { AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint, AWS_SECRET_ACCESS_KEY: 'canary-aws-secret', AWS_SESSION_TOKEN: 'canary-session-token' };
    const migrate = (file, ...more) => ['migrate', '--key-vault', place.namespace, '--local-key-file', file, '--to', 'aws', '--key-arn', lab.to.key, ...more];
    const backup = (command, ...more) => ['backup', command, files.backup, ...more];
    const inVault = ['--key-vault', place.namespace, '--no-collections', '--include-local-key', '--local-key-file', files.right];
    assert.equal((await csfle(backup('create', ...inVault, '--passphrase-file', files.passphrase), { env: { MONGODB_URI: lab.uri } })).code, 0);
    const runs = [
      [backup('create', ...inVault, '--passphrase-file', files.passphrase), { MONGODB_URI: lab.uri }, 2],
      [backup('verify', '--passphrase-file', files.passphrase), {}, 0],
      [backup('verify'), { CSFLE_BACKUP_PASSPHRASE: 'canary-environment' }, 1],
      [backup('verify', '--passphrase-file', files.exposed), {}, 2],
      [backup('restore', '--key-vault', place.namespace, '--passphrase-file', files.passphrase), { MONGODB_URI: lab.uri }, 0],
      [migrate(files.right), { MONGODB_URI: lab.uri }, 0],
      [migrate(files.wrong, '--execute'), { MONGODB_URI: lab.uri }, 1],
      [migrate(files.exposed), { MONGODB_URI: lab.uri }, 2],
      [migrate(files.text), { MONGODB_URI: lab.uri }, 2],
      [migrate(files.right, '--uri', withPassword), {}, 1],
      [migrate(files.right), { MONGODB_URI: withPassword }, 1],
      [migrate(files.right, '--uri', badOption), {}, 2],
      [migrate(files.right), { MONGODB_URI: withoutHost }, 2, /Unable to parse .*\*\*\*/],
      [migrate(files.right), { MONGODB_URI: absentKeyFile }, 1, /no such file or directory, open '\*\*\*'/],
      [['migrate', '--to', 'aws', '--key-arn', lab.to.key], { MONGODB_URI: lab.uri, CSFLE_LOCAL_KEY: `${place.masterKey.toString('base64')}x` }, 2],
      [migrate(files.right, '--key-arn', lab.to.key.replace(/.{12}$/, '000000000000')), { MONGODB_URI: lab.uri }, 1],
      [migrate(files.right), { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: 'http://127.0.0.1:9' }, 1],
      [['doctor', '--key-vault', place.namespace, '--local-key-file', files.wrong], { MONGODB_URI: lab.uri }, 1],
      [['doctor', '--uri', withPassword], {}, 1],
      [['keys', 'list', '--uri', withPassword], {}, 1],
      [['keys', 'list', '--key-vault', place.namespace], { MONGODB_URI: lab.uri }, 0],
      [['keys', 'show', 'ssn', '--key-vault', place.namespace], { MONGODB_URI: lab.uri }, 0],
      [['decrypt', place.patientsNamespace, '--key-vault', place.namespace, '--local-key-file', files.wrong], { MONGODB_URI: lab.uri }, 1],
    ];
    for (const [args, more, expected, blanked] of runs) {
      for (const json of [[], ['--json']]) {
        const { code, stdout, stderr } = await csfle([...args, ...json], { env: { ...env, ...more } });
        assert.equal(code, expected, `${args.join(' ')}\n${stdout}${stderr}`);
        for (const secret of secrets) {
          assert.ok(!`${stdout}${stderr}`.includes(secret), `a secret in the output of ${args.slice(0, 2).join(' ')}`);
        }
        // The JSON form of an error has no cause, which holds the second of the quotations.
        if (blanked !== undefined && json.length === 0) assert.match(`${stdout}${stderr}`, blanked);
        assert.ok(!/\bat .*\.m?js:\d+/.test(stderr), `a stack trace in the output of ${args.slice(0, 2).join(' ')}: ${stderr}`);
      }
    }
  });

  // The redactor blanks out texts of four characters and more; shorter passwords are removed from connection strings only.
  const shortPassword = 'q7Z';
  const unreachable = `mongodb://u:${shortPassword}@127.0.0.1:9/?serverSelectionTimeoutMS=200`;
  const hidesShortPassword = ({ stdout, stderr }) => {
    assert.match(stderr, /mongodb:\/\/u:\*\*\*@127\.0\.0\.1:9/);
    assert.ok(!`${stdout}${stderr}`.includes(shortPassword), `the password is in the output: ${stdout}${stderr}`);
  };

  it('warns about a password in --uri, uses it and does not print it', async () => {
    const result = await csfle(['keys', 'list', '--uri', unreachable]);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /--uri holds a password.*prefer MONGODB_URI/);
    hidesShortPassword(result);
  });

  it('warns about a password in --data-uri, and takes connection strings of further deployments from the environment', async () => {
    const args = ['keys', 'delete', 'ssn', '--yes', '--key-vault', place.namespace];
    const asOption = await csfle([...args, '--data-uri', unreachable], { env: { MONGODB_URI: lab.uri } });
    assert.match(asOption.stderr, /--data-uri holds a password.*prefer CSFLE_DATA_URIS/);
    const asVariable = await csfle(args, { env: { MONGODB_URI: lab.uri, CSFLE_DATA_URIS: `${lab.uri} ${unreachable}` } });
    assert.doesNotMatch(asVariable.stderr, /holds a password/);
    for (const result of [asOption, asVariable]) {
      assert.equal(result.code, 1);
      hidesShortPassword(result);
    }
    assert.equal(await place.vault.countDocuments({ keyAltNames: 'ssn' }), 1);
  });

  it('blanks out credentials that the KMS quotes in its error', async () => {
    const kms = await refusingKms('you said canary-aws-secret and canary-session-token');
    const env = {
      MONGODB_URI: lab.uri,
      AWS_ENDPOINT_URL_KMS: kms.endpoint,
      AWS_SECRET_ACCESS_KEY: 'canary-aws-secret',
      AWS_SESSION_TOKEN: 'canary-session-token',
    };
    const { code, stderr } = await csfle(['keys', 'create', '--key-vault', place.namespace, '--to', 'aws', '--key-arn', lab.to.key], { env });
    await kms.close();
    assert.equal(code, 1);
    assert.match(stderr, /cause: AccessDeniedException: you said \*\*\* and \*\*\*/);
    assert.match(stderr, /\[KMS_ACCESS_DENIED\]/);
  });
});
