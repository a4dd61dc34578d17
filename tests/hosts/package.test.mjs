// The packed tarball, installed into an empty project and used by name, as a reader of the README would.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { root } from '../../js/dev/paths.mjs';
import { consumerProject } from './consumer.mjs';

let project;
let run;
let remove;
before(() => {
  ({ folder: project, run, remove } = consumerProject('csfle-package-'));
});
after(() => remove());

function runProgram(name, source, ...args) {
  writeFileSync(join(project, name), source);
  return run(process.execPath, [name, ...args]);
}

const roundTrip = `
  async function roundTrip({ ClientEncryption, MemoryKeyVaultStore }) {
    const keyVaultStore = new MemoryKeyVaultStore();
    const encryption = new ClientEncryption(null, { keyVaultStore, kmsProviders: { local: { key: new Uint8Array(96).fill(7) } } });
    const keyId = await encryption.createDataKey('local', { keyAltNames: ['packed'] });
    const sealed = await encryption.encrypt('hello', { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic' });
    const opened = await encryption.decrypt(sealed);
    encryption.close();
    return sealed.sub_type + ' ' + opened;
  }
`;

test('CommonJS requires the package by name and encrypts', () => {
  const answer = runProgram('a.cjs', `${roundTrip} roundTrip(require('csfle-wasm')).then(console.log);`);
  assert.equal(answer, '6 hello\n');
});

test('ESM imports the package by name and encrypts', () => {
  const answer = runProgram(
    'b.mjs',
    `import { ClientEncryption, MemoryKeyVaultStore } from 'csfle-wasm'; ${roundTrip} console.log(await roundTrip({ ClientEncryption, MemoryKeyVaultStore }));`,
  );
  assert.equal(answer, '6 hello\n');
});

test('both ways of loading give one instance', () => {
  const answer = runProgram(
    'c.mjs',
    `
    import { createRequire } from 'node:module';
    import whole, * as imported from 'csfle-wasm';
    const required = createRequire(import.meta.url)('csfle-wasm');
    const differing = Object.keys(required).filter((name) => imported[name] !== required[name]);
    console.log(JSON.stringify({ names: Object.keys(required).length, differing, isWhole: whole === required }));`,
  );
  const { names, differing, isWhole } = JSON.parse(answer);
  assert.ok(names > 5);
  assert.deepEqual(differing, []);
  assert.ok(isWhole, 'as default, what require() gives');
});

test('the slim entry takes the bytes that the package exports', () => {
  const answer = runProgram(
    'd.mjs',
    `
    import { readFileSync } from 'node:fs';
    import { fileURLToPath } from 'node:url';
    import * as bson from 'bson';
    import * as slim from 'csfle-wasm/slim';
    ${roundTrip}
    await slim.init(readFileSync(fileURLToPath(import.meta.resolve('csfle-wasm/csfle.wasm'))));
    class ClientEncryption extends slim.ClientEncryption {
      constructor(client, options) { super(client, { ...options, bson }); }
    }
    console.log(await roundTrip({ ...slim, ClientEncryption }));`,
  );
  assert.equal(answer, '6 hello\n');
});

test('the command runs from the folder of binaries', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.match(run(join(project, 'node_modules', '.bin', 'csfle'), ['--version']), new RegExp(`\\b${version.replaceAll('.', '\\.')}\\b`));
});

test('the package brings itself and nothing else', () => {
  const listed = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8')).packages;
  assert.deepEqual(Object.keys(listed), ['', 'node_modules/csfle-wasm']);
});

// ---- types: what an application's compiler sees

const program = `
  import { ClientEncryption, CsfleError, MemoryKeyVaultStore, awsKms, migrate, type KmsProviders } from 'csfle-wasm';
  const kmsProviders: KmsProviders = { local: { key: new Uint8Array(96) } };
  const encryption = new ClientEncryption(null, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders });
  export async function use(): Promise<string> {
    const id = await encryption.createDataKey('local');
    try {
      await encryption.encrypt(1, { algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', keyId: id });
    } catch (error) {
      if (error instanceof CsfleError) return error.code;
    }
    return [typeof awsKms, typeof migrate].join();
  }
`;

const compilers = [
  ['an ESM module of Node', 'consumer.mts', { module: 'NodeNext', moduleResolution: 'NodeNext' }],
  ['a program for Node alone', 'alone.mts', { module: 'NodeNext', moduleResolution: 'NodeNext', lib: ['ES2022', 'ESNext.Disposable'] }],
  ['a CommonJS module of Node', 'consumer.cts', { module: 'Node16', moduleResolution: 'Node16' }],
  ['a bundler for browsers', 'consumer.ts', { module: 'ESNext', moduleResolution: 'Bundler', customConditions: ['browser'] }],
];

function compile(file, source, modules) {
  writeFileSync(join(project, file), source);
  writeFileSync(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      // skipLibCheck stays off: our own declarations have to be right too.
      compilerOptions: {
        target: 'ES2022',
        lib: ['ES2022', 'ESNext.Disposable', 'DOM'],
        types: ['node'],
        strict: true,
        noEmit: true,
        exactOptionalPropertyTypes: true,
        ...modules,
      },
      files: [file],
    }),
  );
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return spawnSync(process.execPath, [compiler, '--project', project], { cwd: project, encoding: 'utf8' });
}

for (const [what, file, modules] of compilers) {
  test(`the declarations satisfy the strict compiler in ${what}`, () => {
    const { status, stdout } = compile(file, program, modules);
    assert.equal(status, 0, stdout);
  });
}

test('a misspelled algorithm does not compile', () => {
  const { status, stdout } = compile('wrong.mts', program.replace('_SHA_512-Random', '_SHA_512-Randomized'), compilers[0][2]);
  assert.notEqual(status, 0);
  assert.match(stdout, /wrong\.mts.*is not assignable to type .Algorithm./);
});
