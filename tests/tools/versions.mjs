// The pinned versions of every package of the tests: those of the project and those of this folder.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../js/dev/paths.mjs';

const pinnedBy = (path) => JSON.parse(readFileSync(join(root, path), 'utf8')).devDependencies;

export const pinned = { ...pinnedBy('package.json'), ...pinnedBy('tests/tools/package.json') };
