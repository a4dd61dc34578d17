// The snippets for Node and browsers as strict TypeScript, as they stand, against the packed tarball.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { root } from '../../js/dev/paths.mjs';
import { consumerProject } from '../hosts/consumer.mjs';
import { alias } from '../hosts/projects.mjs';
import { fencesOf, markdownFiles, textOf } from './markdown.mjs';
import { installStandIns } from './stand-ins.mjs';

const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const strict = { target: 'es2022', strict: true, noEmit: true, skipLibCheck: true };
const settings = {
  node: { ...strict, module: 'nodenext', moduleResolution: 'nodenext', lib: ['ES2022'], types: ['node'] },
  browser: { ...strict, module: 'preserve', moduleResolution: 'bundler', customConditions: ['browser'], lib: ['ES2022', 'DOM'], types: [] },
};

describe('the snippets as strict TypeScript', () => {
  let project;
  let remove;
  before(() => {
    ({ folder: project, remove } = consumerProject('csfle-snippets-'));
    const write = (name, text) => {
      mkdirSync(dirname(join(project, name)), { recursive: true });
      writeFileSync(join(project, name), text);
    };
    installStandIns({ write });
    mkdirSync(join(project, 'node_modules', '@aws-sdk'), { recursive: true });
    symlinkSync(join(root, 'node_modules', '@aws-sdk', 'client-kms'), join(project, 'node_modules', '@aws-sdk', 'client-kms'), 'junction');
    symlinkSync(join(project, 'node_modules', 'csfle-wasm'), join(project, 'node_modules', alias), 'junction');
  });
  after(() => remove());

  /** What the compiler says about files of these texts. */
  function complaintsAbout(kind, sources) {
    for (const [name, text] of Object.entries(sources)) writeFileSync(join(project, name), text);
    writeFileSync(join(project, `${kind}.json`), JSON.stringify({ compilerOptions: settings[kind], files: Object.keys(sources) }));
    return spawnSync(process.execPath, [compiler, '--project', `${kind}.json`, '--pretty', 'false'], { cwd: project, encoding: 'utf8' }).stdout;
  }

  for (const document of markdownFiles()) {
    for (const kind of Object.keys(settings)) {
      const fences = fencesOf(textOf(document)).filter((fence) => ['js', 'ts'].includes(fence.language) && fence.kind.split(' ')[0] === kind);
      if (fences.length === 0) continue;
      test(`${document}: ${fences.length} for ${kind}`, () => {
        assert.equal(complaintsAbout(kind, Object.fromEntries(fences.map(({ line, text }) => [`${basename(document)}-line-${line}.mts`, text]))), '');
      });
    }
  }

  test('a mistake in one of them is found', () => {
    const snippet = "import { ClientEncryption } from 'csfle-wasm';\nawait new ClientEncryption(null, { kmsProviders: {} }).createDataKey('asw');\n";
    for (const kind of Object.keys(settings))
      assert.match(complaintsAbout(kind, { [`mistake-${kind}.mts`]: snippet }), /^mistake-\w+\.mts\(2,\d+\): error TS2345: .*'"asw"'/);
  });
});
