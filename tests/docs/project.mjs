// A reader's folder: the packed package installed in it, the peers beside it, a server, a KMS emulator, and whatever the snippets
// leave for each other, as files and exported variables do in one terminal.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from '../../js/dev/paths.mjs';
import { createCmk, emulatorCredentials, startServices } from '../../js/dev/services.mjs';
import { runShell } from '../hosts/mongosh/shell.mjs';
import { recordingKms } from './recording-kms.mjs';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

export const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
export const peers = Object.keys(manifest.peerDependencies);

/** Opens a folder with everything that a reader has. Close it. */
export async function openProject() {
  // A server of its own, also where MONGODB_URI names one: the documents use plain database names, and nobody's `hospital` is
  // to be touched.
  const services = await startServices({ env: { AWS_ENDPOINT_URL_KMS: process.env.TEST_KMS_ENDPOINT } });
  const kms = await recordingKms(services.kmsEndpoint);
  // The folder of the project, with room beside it for what a reader's own folders have.
  const folder = join(realpathSync(mkdtempSync(join(tmpdir(), 'csfle-docs-'))), 'hospital');
  mkdirSync(folder);
  const credentials = join(folder, 'aws-credentials');
  writeFileSync(
    credentials,
    `[csfle-migration]\naws_access_key_id = ${emulatorCredentials.AWS_ACCESS_KEY_ID}\naws_secret_access_key = ${emulatorCredentials.AWS_SECRET_ACCESS_KEY}\n`,
  );
  mkdirSync(join(folder, 'home'));
  const {
    AWS_ACCESS_KEY_ID: _id,
    AWS_SECRET_ACCESS_KEY: _secret,
    AWS_SESSION_TOKEN: _token,
    AWS_REGION: _region,
    MONGODB_URI: _uri,
    CSFLE_LOCAL_KEY: _key,
    ...inherited
  } = process.env;
  return new Project(folder, services, kms, (await createCmk(services.kmsEndpoint)).arn, {
    ...inherited,
    HOME: join(folder, 'home'),
    AWS_ENDPOINT_URL_KMS: kms.url,
    AWS_SHARED_CREDENTIALS_FILE: credentials,
    AWS_CONFIG_FILE: join(folder, 'aws-config'),
    AWS_EC2_METADATA_DISABLED: 'true',
    NO_COLOR: '1',
    npm_config_offline: 'true',
    npm_config_update_notifier: 'false',
  });
}

class Project {
  /** Another mongosh than that of this repository. */
  mongoshProgram;
  #env;
  #services;
  #scripts = 0;

  constructor(folder, services, kms, keyArn, env) {
    Object.assign(this, { folder, kms, keyArn, mongodbUri: services.mongodbUri, kmsEndpoint: services.kmsEndpoint });
    this.#services = services;
    this.#env = env;
  }

  /** Installs the packed package, offline, and links the peers that this repository has. */
  install(tarball) {
    writeFileSync(join(this.folder, 'package.json'), JSON.stringify({ name: 'hospital', private: true, type: 'module' }));
    const { status, stderr } = spawnSync('npm', ['install', '--offline', '--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', tarball], {
      cwd: this.folder,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    });
    assert.equal(status, 0, stderr);
    for (const peer of peers) this.link(peer, realpathSync(join(root, 'node_modules', peer)));
  }

  link(name, target) {
    const place = join(this.folder, 'node_modules', name);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(target, place, 'junction');
  }

  write(name, text) {
    const path = join(this.folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return path;
  }

  read(name) {
    return readFileSync(join(this.folder, name), 'utf8');
  }

  /** Runs lines of a terminal, stopping at the first that fails. What they export stays for the next ones. */
  async shell(lines) {
    const state = join(this.folder, '.environment');
    const result = await this.#run('bash', ['-euo', 'pipefail', '-c', `${lines}\nenv -0 > ${JSON.stringify(state)}`]);
    if (result.code === 0)
      this.#env = Object.fromEntries(
        readFileSync(state, 'utf8')
          .split('\0')
          .filter(Boolean)
          .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
      );
    return result;
  }

  /** Runs a module of this folder. */
  node(source) {
    this.#scripts += 1;
    const file = `snippet-${this.#scripts}.mjs`;
    this.write(file, source);
    return this.#run(process.execPath, [file]);
  }

  /** Types lines at the prompt of the real mongosh. Its errors do not end it, so they are looked for. */
  async mongosh(lines) {
    const { code, stdout, stderr } = await runShell(undefined, {
      uri: this.mongodbUri,
      cwd: this.folder,
      home: join(this.folder, 'home'),
      input: lines,
      env: this.#env,
      program: this.mongoshProgram,
    });
    const failed = /(?:^|> )(?:Uncaught\b|\w*Error\b)/m.test(stdout);
    return { code: failed ? 1 : code, stdout, stderr };
  }

  async close() {
    await this.kms.close();
    await this.#services.stop();
    rmSync(dirname(this.folder), { recursive: true, force: true });
  }

  #run(command, args) {
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, { cwd: this.folder, env: this.#env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 });
      const output = { stdout: '', stderr: '' };
      for (const name of ['stdout', 'stderr'])
        child[name].setEncoding('utf8').on('data', (chunk) => {
          output[name] += chunk;
        });
      child.on('error', reject);
      child.on('close', (code) => resolve({ code, ...output }));
    });
  }
}
