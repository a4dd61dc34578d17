// Where the published vectors are. They are others' work under a licence of their own: read in place, never copied here.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromBase64, fromHex } from '../interop/raw-bson.mjs';

const PROJECT = fileURLToPath(new URL('../../', import.meta.url));

/** The folder of published vectors: `CSFLE_VECTORS`, or `../shared/vectors` beside the project. */
export const vectorsRoot = () => resolve(PROJECT, process.env.CSFLE_VECTORS || '../shared/vectors');

/** The folder of one kind of vector, or undefined with the reason when it is not there. */
export function vectorsFolder(...path) {
  const folder = join(vectorsRoot(), ...path);
  return existsSync(folder) ? { folder } : { missing: `no vectors at ${folder}` };
}

/** Every JSON file of a folder by its name without extension, in order. An empty folder is an error, not a pass. */
export function jsonFiles(folder) {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort();
  if (names.length === 0) throw new Error(`no JSON files in ${folder}`);
  return new Map(names.map((name) => [basename(name, '.json'), JSON.parse(readFileSync(join(folder, name), 'utf8'))]));
}

/** LOCAL_MASTERKEY of the specification's tests (client-side-encryption, tests/README). */
export const LOCAL_MASTER_KEY = fromBase64(
  'Mng0NCt4ZHVUYUJCa1kxNkVyNUR1QURhZ2h2UzR2d2RrZzh0cFBwM3R6NmdWMDFBMUN3YkQ5aXRRMkhGRGdQV09wOGVNYUMxT2k3NjZKelhaQmRCZGJkTXVyZG9uSjFk',
);

/** The local master key of the named provider `local:name2` in the same tests (unified/namedKMS-explicit). */
export const LOCAL_NAME2_MASTER_KEY = fromBase64(
  'local+name2+YUJCa1kxNkVyNUR1QURhZ2h2UzR2d2RrZzh0cFBwM3R6NmdWMDFBMUN3YkQ5aXRRMkhGRGdQV09wOGVNYUMxT2k3NjZKelhaQmRCZGJkTXVyZG9uSjFk',
);

/**
 * Secret data that KMIP test servers of the driver teams hold under the id "1". It is published with the test server
 * (mongodb-labs/drivers-evergreen-tools, .evergreen/csfle/kms_kmip_client.py), and it opens the corpus's KMIP key.
 */
export const KMIP_SECRET_1 = fromHex(`
  f5c95881f32706703371666849f9fd0e08cd8dc9376128fbdefefd496f3c7c90f8fb5e4c5d4d047562d4dac63609d363
  d770317c0b392e9d4689a125724617762ff3f0c881e8946aca320f7014389033d23343d40765ee3c298f26a3332ec015`);

/** Plaintext key material published beside libmongocrypt's test keys (test/data/keys/<UUID>-key-material.txt), by UUID. */
export const PUBLISHED_MATERIAL = new Map([
  [
    '12345678123498761234123456789012',
    fromHex(`
    7dbfebc619aa68a659f64b8e23ccd21644ac326cb74a26840c3d2420176c40ae088294d00ad6cae9684237b21b754cf5
    03f085c25cd320bf035c3417416e1e6fe3d9219f79586582112740b2add88e1030d91926ae8afc13ee575cfb8bb965b7`),
  ],
  [
    'abcdefab123498761234123456789012',
    fromHex(`
    a7ddbc4c8be00d51f68d9d8e485f351c8edc8d2206b24d8e0e1816d005fbe520e489125047d647b0d8684bfbdbf09c30
    4085ed086aba6c2b2b1677ccc91ced8847a733bf5e5682c84b3ee7969e4a5fe0e0c21e5e3ee190595a55f83147d8de2a`),
  ],
]);
