// What runs each kind of fence. A kind that is not here fails the test of the document, so that no snippet goes unread.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { transform } from 'esbuild';
import { root } from '../../js/dev/paths.mjs';
import { fencesOf, textOf } from './markdown.mjs';
import { manifest, peers } from './project.mjs';
import { installStandIns } from './stand-ins.mjs';

// What a reader puts in: the only changes that are made to a snippet before it runs.
const placeholders = {
  connectionString: 'mongodb://localhost:27017',
  keyArn: 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
  keyId: '6c1f2d0e-0b6a-4f3c-9a53-6f0b8a6f7d11',
};

export function filledIn(text, project) {
  return text.replaceAll(placeholders.connectionString, project.mongodbUri).replaceAll(placeholders.keyArn, project.keyArn);
}

/** `language kind` -> what runs it. A runner returns the output that `text output` after it is compared with. */
export const runners = {
  'sh scripts': onlyScripts,
  'sh clone': packsInClone,
  'sh install': installs,
  'sh project': runsInProject,
  'js node': runsInNode,
  'ts node': runsAsTypeScript,
  'js mongosh': typesInMongosh,
  'json policy': isLeastPrivilege,
  'json file': becomesFile,
  'http policy': isOnlyPolicy,
  'js browser': runsInBrowser,
  'text output': matchesOutput,
};

/** The runner of a fence: `kind` may have a name of a file after its first word. */
export function runnerOf({ language, kind, line }) {
  const [word, file] = kind.split(' ');
  const run = runners[`${language} ${word}`];
  assert.ok(run !== undefined, `nothing runs the fence of line ${line}: \`${language} ${kind}\``);
  return { run, file };
}

function commandsOf(text) {
  return text
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter(Boolean);
}

// `npm test` cannot run itself; the demo has its test beside the snippets.
function onlyScripts({ text }) {
  for (const command of commandsOf(text)) {
    const name = /^npm (?:run )?([\w:-]+)(?: -- .+)?$/.exec(command)?.[1];
    assert.ok(name in manifest.scripts, `package.json has no script for: ${command}`);
  }
}

// Set-up and build have run before any test; packing runs here.
function packsInClone({ text }, { project, state }) {
  const commands = commandsOf(text);
  assert.equal(commands.at(-1), 'npm pack');
  onlyScripts({ text: commands.slice(0, -1).join('\n') });
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project.folder], {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  assert.equal(status, 0, stderr);
  state.tarball = JSON.parse(stdout)[0].filename;
}

// The same packages from where they are at hand: nothing is fetched in a test.
function installs({ text }, { project, state }) {
  const [command, ...more] = commandsOf(text);
  assert.deepEqual(more, []);
  const [npm, install, tarball, ...packages] = command.split(' ');
  assert.deepEqual([npm, install, tarball.split('/').at(-1)], ['npm', 'install', state.tarball]);
  assert.deepEqual(packages.toSorted(), peers.toSorted());
  project.install(join(project.folder, state.tarball));
  installStandIns(project);
}

async function runsInProject({ text }, { project }) {
  const result = await project.shell(filledIn(text, project));
  assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`);
  return result.stdout;
}

async function runsInNode({ text, file }, { project }) {
  const source = filledIn(text, project);
  if (file !== undefined) project.write(file, source);
  const result = await project.node(source);
  assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`);
  printsAsSaid(text, result.stdout);
  return result.stdout;
}

// Its types are checked by types.test.mjs.
async function runsAsTypeScript({ text, file }, context) {
  const { code } = await transform(text, { loader: 'ts', format: 'esm', target: 'es2022' });
  const claims = [...text.matchAll(/\/\/ prints .+$/gm)].map(([claim]) => `${claim}\n`).join('');
  return runsInNode({ text: `${code}${claims}`, file }, context);
}

async function typesInMongosh({ text }, { project }) {
  const result = await project.mongosh(filledIn(text, project));
  assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`);
  printsAsSaid(text, result.stdout);
  return result.stdout;
}

/** A comment `// prints x` is a claim: the output has these texts, in this order. */
export function printsAsSaid(source, output) {
  let rest = output.replace(/\s+/g, ' ');
  for (const [, said] of source.matchAll(/\/\/ prints (.+)$/gm)) {
    const at = rest.indexOf(said);
    assert.ok(at !== -1, `the output lacks ${JSON.stringify(said)}:\n${output}`);
    rest = rest.slice(at + said.length);
  }
}

function isLeastPrivilege({ text }) {
  const { Version, Statement: statements } = JSON.parse(text);
  assert.equal(Version, '2012-10-17');
  assert.equal(statements.length, 1);
  const [{ Effect, Action, Resource, ...others }] = statements;
  assert.deepEqual([Effect, Action.toSorted(), Resource, others], ['Allow', ['kms:Decrypt', 'kms:Encrypt'], placeholders.keyArn, {}]);
}

async function becomesFile({ text, file }, { project, keyIdOf }) {
  JSON.parse(text);
  project.write(file, text.replaceAll(placeholders.keyId, await keyIdOf('patients.ssn')));
}

function policyIn(text) {
  const header = /^Content-Security-Policy: (.+)\n$/.exec(text)?.[1];
  assert.ok(header, 'one header');
  return header;
}

function isOnlyPolicy({ text }) {
  policyIn(text);
}

/** Runs a page under the policy that docs/browsers.md gives. */
async function runsInBrowser({ text }, { project }) {
  const { runInBrowser } = await import('./browser.mjs');
  const [policy, ...more] = fencesOf(textOf('docs/browsers.md')).filter(({ language, kind }) => `${language} ${kind}` === 'http policy');
  assert.deepEqual(more, [], 'one policy');
  const output = await runInBrowser(filledIn(text, project), { project, policy: policyIn(policy.text) });
  printsAsSaid(text, output);
  return output;
}

// Ids, times and the reader's own names differ from run to run. A line `...` stands for any number of lines.
const varying = [
  [/arn:aws:kms:[\w-]+:\d+:key\/[\w-]+/g, '<arn>'],
  [/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/g, '<id>'],
  [/\b[0-9a-f]{24}\b/g, '<oid>'],
  [/\b\d+\.\d s\b/g, '<time>'],
  [/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<date>'],
  [/\b(?:localhost|127\.0\.0\.1):\d+\b/g, '<host>'],
  [/[ \t]+/g, ' '],
];

function matchesOutput({ text }, { lastOutput }) {
  assert.ok(lastOutput !== undefined, 'no command before it');
  const shape = (from) =>
    varying
      .reduce((now, [pattern, by]) => now.replace(pattern, by), from)
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean);
  const pattern = shape(text)
    .map((line) => (line === '...' ? '(?:.*\\n)*' : `${line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\n`))
    .join('');
  const found = `${shape(lastOutput).join('\n')}\n`;
  assert.ok(new RegExp(`^${pattern}$`).test(found), `expected:\n${text}\nfound:\n${lastOutput}`);
}
