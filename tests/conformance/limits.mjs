// Sizes (specifications, client-side-encryption, prose test 4): a thousand-byte document that grows tenfold, and documents
// close to the 16 MiB a server stores.
import { binary, document, field, fields, value } from '../interop/raw-bson.mjs';
import { payloadLength } from '../interop/reference.mjs';
import { toDocument } from './extended-json.mjs';
import { jsonFiles, LOCAL_MASTER_KEY, vectorsFolder } from './published.mjs';
import { skippedSuite } from './corpus.mjs';
import { accepted, same, Suite } from './suite.mjs';

const MAX_DOCUMENT = 16_777_216;
const BATCH = 2_097_152;

/** Encryption rules of a JSON schema, one per top-level property, as `encryptDocument` takes them. */
function rulesOf(schema, bson) {
  return Object.fromEntries(
    Object.entries(schema.properties).map(([name, { encrypt, ...rest }]) => {
      if (!encrypt || Object.keys(rest).length > 0) throw new Error(`limits-schema: unknown keywords at ${name}`);
      const {
        keyId: [keyId],
        algorithm,
        bsonType,
        ...unknown
      } = encrypt;
      if (bsonType !== 'string' || Object.keys(unknown).length > 0) throw new Error(`limits-schema: unknown keywords at ${name}`);
      return [name, { algorithm, keyId: new bson.Binary(binary(toValueOf(keyId)).content, 4), optional: true }];
    }),
  );
}

const toValueOf = (json) => field(toDocument({ v: json }), 'v');

/** Only the package encrypts whole documents; libmongocrypt needs a query analyser for that. */
export async function runLimits(open) {
  const { folder, missing } = vectorsFolder('driver-specs', 'limits');
  if (missing) return [skippedSuite('limits', missing)];
  const subject = await open({ local: LOCAL_MASTER_KEY });
  if (!subject.encryptDocument) return [skippedSuite('limits', 'this side does not encrypt whole documents')];
  const bson = await import('bson');
  const files = jsonFiles(folder);
  const limits = fields(toDocument(files.get('limits-doc')));
  const rules = rulesOf(files.get('limits-schema'), bson);
  subject.vault = [toDocument(files.get('limits-key'))];
  const unencrypted = (length) => document([['_id', value.string('x')], ...limits, ['unencrypted', value.string('a'.repeat(length))]]);

  const suite = new Suite('limits');
  await suite.case('limits-doc grows from about 1,000 to about 10,000 bytes and back', async () => {
    const plain = document(limits);
    const { output } = accepted(await subject.encryptDocument(plain, rules));
    // Each value of 6 bytes (int32 length, "a", NUL) becomes a binary of 82 bytes with 5 bytes of length and subtype.
    const expected = plain.length + limits.length * (5 + payloadLength(6) - 6);
    if (output.length !== expected) throw new Error(`${output.length} bytes, expected ${expected}`);
    same(accepted(await subject.decryptDocument(output)).output, plain, 'document');
  });
  await suite.case('limits-doc with 2 MiB beside it encrypts and decrypts', async () => {
    const plain = unencrypted(BATCH - 2000);
    const { output } = accepted(await subject.encryptDocument(plain, rules));
    same(accepted(await subject.decryptDocument(output)).output, plain, 'document');
  });
  await suite.case('16 MiB minus 2,000 bytes without encrypted fields passes', async () => {
    const plain = document([
      ['_id', value.string('x')],
      ['unencrypted', value.string('a'.repeat(MAX_DOCUMENT - 2000))],
    ]);
    same(accepted(await subject.encryptDocument(plain, rules)).output, plain, 'document');
  });
  await suite.case('limits-doc with 16 MiB minus 2,000 bytes beside it is refused: it would not fit once encrypted', async () => {
    const answer = await subject.encryptDocument(unencrypted(MAX_DOCUMENT - 2000), rules);
    if (answer.ok) throw new Error(`accepted: ${answer.output.length} bytes`);
    if (answer.code !== 'BSON_TOO_LARGE') throw new Error(`${answer.code}, expected BSON_TOO_LARGE`);
  });
  await suite.case('every schema rule names a field of limits-doc', () => {
    const names = limits
      .map(([name]) => name)
      .sort()
      .join();
    if (Object.keys(rules).sort().join() !== names) throw new Error('fields differ');
  });
  await subject.close();
  return [suite];
}
