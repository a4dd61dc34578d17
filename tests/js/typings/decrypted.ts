// What decryptDocument infers. It is compiled, never run.
import { ClientEncryption, type Decrypted, type Encrypted, MemoryKeyVaultStore } from 'csfle-wasm';
import type { Binary, Collection, Document, Long, ObjectId, UUID, WithId } from 'mongodb';

// Whether two types are the same, and not just assignable to each other.
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_same: Same<A, B>): void => {};

interface Patient {
  readonly name: string;
  readonly ssn: Encrypted<string>;
  born?: Encrypted<Date>;
  visits: { keyId: UUID; at: Date; note: Encrypted<string> | null; score: Long; scan: Binary }[];
}
interface Plain {
  readonly name: string;
  readonly ssn: string;
  born?: Date;
  visits: { keyId: UUID; at: Date; note: string | null; score: Long; scan: unknown }[];
}

same<Decrypted<Patient>, Plain>(true);
same<Decrypted<{ a: Binary; b: Binary | undefined; c: [Binary, number] }, number>, { a: number; b: number | undefined; c: [number, number] }>(true);
same<Decrypted<{ _id: ObjectId; a: unknown; b: RegExp; c: Uint8Array }>, { _id: ObjectId; a: unknown; b: RegExp; c: Uint8Array }>(true);
same<Decrypted<null>, null>(true);
same<Decrypted<Document>['x'], Document['x']>(true);
same<Decrypted<Encrypted<{ a: number }>>, { a: number }>(true);

const encryption = new ClientEncryption(null, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: {} });

export async function use(patients: Collection<Patient>, documents: Collection, bare: Collection<{ ssn: Binary }>): Promise<void> {
  const found = await encryption.decryptDocument(await patients.findOne({ name: 'Ada' }));
  const ssn: string | undefined = found?.ssn;
  const note: string | null | undefined = found?.visits[0]?.note;
  const id: ObjectId | undefined = found?._id;
  // @ts-expect-error null passes through
  found.name;
  // @ts-expect-error a string is no number
  const wrong: number | undefined = found?.ssn;
  const one = await encryption.decryptDocument({} as WithId<Patient>);
  one.ssn.length;

  const all = await encryption.decryptDocuments(await patients.find().toArray());
  const names: string[] = all.map((patient) => patient.ssn);
  for await (const patient of encryption.decryptDocuments(patients.find())) names.push(patient.ssn);
  async function* generated(): AsyncGenerator<{ ssn: Encrypted<string> }> {}
  for await (const patient of encryption.decryptDocuments(generated())) names.push(patient.ssn);
  // The method without its object, where one document after the other is decrypted.
  for await (const patient of patients.find().map((document) => encryption.decryptDocument(document))) names.push((await patient).ssn);

  // Documents without a type, and what the caller states.
  const untyped = await encryption.decryptDocument(await documents.findOne());
  names.push(untyped?.['ssn'], untyped?.['visits'][0].note);
  const stated: { ssn: string } = await encryption.decryptDocument<{ ssn: string }>({ ssn: {} as Binary });
  const orNull: { ssn: string } | null = await encryption.decryptDocument<{ ssn: string }>(await bare.findOne());
  const many: { ssn: string }[] = await encryption.decryptDocuments<{ ssn: string }>(await bare.find().toArray());
  for await (const { ssn: text } of encryption.decryptDocuments<{ ssn: string }>(bare.find())) names.push(text);
  const unknownText = (await encryption.decryptDocument({} as { ssn: Binary })).ssn;
  // @ts-expect-error nobody said what it is
  unknownText.length;
  const value: string = await encryption.decrypt({} as Encrypted<string>);
  const bytes: Uint8Array[] = [await encryption.decryptDocument(new Uint8Array(5)), await encryption.decryptDocuments(new Uint8Array(5))];
  const encrypted: Encrypted<string> = await encryption.encrypt('x', { keyAltName: 'a', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' });
  await documents.insertOne({ ssn, note, id, wrong, stated, orNull, many, value, bytes, encrypted });
}
