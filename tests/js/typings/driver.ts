// Results stand where the driver's own types are asked for. It is compiled, never run.
import { type BackupKey, type BulkWriteResult, ClientEncryption, retiredKeys } from 'csfle-wasm';
import {
  type Binary,
  type ClientEncryption as DriverClientEncryption,
  type Collection,
  type DataKey,
  type DeleteResult,
  MongoClient,
  type UUID,
} from 'mongodb';

interface Patient {
  name: string;
  ssn: Binary;
  visits: { keyId: UUID; note: Binary | null }[];
}

const client = new MongoClient('mongodb://127.0.0.1');
const encryption = new ClientEncryption(client, { keyVaultNamespace: 'encryption.__keyVault', kmsProviders: { local: { key: Buffer.alloc(96) } } });
const algorithm = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';

// The interface of the driver's class, but for its cursor, its class of bulk results, and Queryable Encryption.
export const asDriver: Omit<DriverClientEncryption, 'getKeys' | 'rewrapManyDataKey' | 'createEncryptedCollection'> = encryption;

export async function use(patients: Collection<Patient>, vault: Collection<DataKey>): Promise<void> {
  const keyId: UUID = await encryption.createDataKey('local');
  const note: Binary = await encryption.encrypt('healthy', { keyId, algorithm });
  await patients.insertOne({ name: 'Ada', ssn: await encryption.encrypt('457-55-5462', { keyId, algorithm }), visits: [{ keyId, note }] });
  await patients.insertMany(await encryption.encryptDocuments<Patient>([{ name: 'Ada', ssn: '1', visits: [] }], { fields: { ssn: { keyId, algorithm } } }));
  await patients.findOne({ ssn: await encryption.encrypt('457-55-5462', { keyId, algorithm }) });
  await patients.updateOne({ name: 'Ada' }, { $set: { ssn: await encryption.encrypt('x', { keyId, algorithm }) } });

  const keys: DataKey[] = await encryption.getKeys().toArray();
  for await (const key of encryption.getKeys()) keys.push(key);
  const found: (DataKey | null)[] = [
    await encryption.getKey(keyId),
    await encryption.getKeyByAltName('a'),
    await encryption.addKeyAltName(keyId, 'a'),
    await encryption.removeKeyAltName(keyId, 'a'),
  ];
  const deleted: DeleteResult = await encryption.deleteKey(keyId);
  const { bulkWriteResult } = await encryption.rewrapManyDataKey({ _id: keyId });
  const result: BulkWriteResult | undefined = bulkWriteResult;
  const stored = await vault.find({ _id: { $in: keys.map((key) => key._id) } }).toArray();
  const ids: Binary[] = (await retiredKeys({ keyVault: { client, namespace: 'a.b' } })).map((key) => key.keyId);
  const sealedWith: BackupKey = { kmsProviders: {}, masterKey: { provider: 'aws', region: 'r', key: 'k' } };
  await client.db('d').collection('c').insertOne({ found, deleted, result, stored, ids, sealedWith });

  // @ts-expect-error a string is not encrypted
  await patients.insertOne({ name: 'Ada', ssn: '457-55-5462', visits: [] });
}
