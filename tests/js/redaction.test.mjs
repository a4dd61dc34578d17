// js/cli/redaction.ts: no secret of a connection string is printed, however it is written and whoever quotes it.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { root } from '../../js/dev/paths.mjs';
import { sourceModule } from './source-module.mjs';

const { Redactor, redactUri, passwordOf } = await sourceModule('js/cli/redaction.ts', pathToFileURL(join(root, 'js', 'cli', 'x.js')).href);

const cases = {
  'a space': ['mongodb://user:canary pass@host/', ['canary pass']],
  'a space, percent-encoded': ['mongodb://user:canary%20pass@host/', ['canary pass', 'canary%20pass']],
  'odd characters': ['mongodb://user:can%2Fary%3A%40%23%22x@host:27017/db', ['can%2Fary%3A%40%23%22x', 'can/ary:@#"x']],
  'characters that the driver encodes': ['mongodb://user:canary"<pass>|^@host/', ['canary"<pass>|^', 'canary%22%3Cpass%3E%7C%5E']],
  'an @ that the driver refuses': ['mongodb://user:canary@pass@host/', ['canary@pass']],
  'a slash that the driver refuses': ['mongodb://user:canary/pass@host/', ['canary/pass']],
  'a question mark that the driver refuses': ['mongodb://user:canary?pass@host/', ['canary?pass']],
  'a stray percent sign': ['mongodb://user:canary%pass@host/', ['canary%pass']],
  'the scheme in capitals': ['MONGODB://user:canary pass@host/', ['canary pass']],
  'SRV and several hosts': ['mongodb+srv://user:canary pass@host.example/?w=majority', ['canary pass']],
  'a session token': [
    'mongodb://u:canary-secret@h/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:canary%2Btok%2Fen%3D%3D',
    ['canary-secret', 'canary%2Btok%2Fen%3D%3D', 'canary+tok/en=='],
  ],
  'a session token with its colon encoded': [
    'mongodb://h/?authMechanismProperties=ENVIRONMENT:test%2CAWS_SESSION_TOKEN%3Acanary%2Btoken',
    ['canary+token', 'canary%2Btoken'],
  ],
  'passwords among the options': [
    'mongodb://h/?tls=true&tlsCertificateKeyFilePassword=canary%20tls,x&PROXYPASSWORD=canary+proxy&proxyHost=p',
    ['canary tls,x', 'canary%20tls,x', 'canary+proxy', 'canary proxy'],
  ],
};

for (const [name, [uri, secrets]] of Object.entries(cases)) {
  test(name, () => {
    const redactor = new Redactor();
    redactor.addUri(uri);
    const texts = [
      redactUri(uri),
      redactor.clean(uri),
      redactor.clean(`cannot connect to ${uri} (MongoParseError)`),
      redactor.clean(`"${uri}"`),
      ...secrets.map((secret) => redactor.clean(`authentication of <${secret}> failed`)),
    ];
    for (const text of texts) for (const secret of secrets) assert.ok(!text.includes(secret), `${text} has ${secret}`);
    assert.ok(redactUri(uri).includes('h'), 'the host is named');
  });
}

test('what is no secret stays', () => {
  const redactor = new Redactor();
  redactor.addUri('mongodb://host:27017/db?replicaSet=rs0&authMechanismProperties=SERVICE_NAME:mongodb');
  assert.equal(redactor.clean('host:27017 of rs0, service mongodb'), 'host:27017 of rs0, service mongodb');
  assert.equal(passwordOf('mongodb://host:27017/db?replicaSet=rs0'), undefined);
  assert.equal(redactUri('mongodb://u:pw@127.0.0.1:9/'), 'mongodb://u:***@127.0.0.1:9/');
});
