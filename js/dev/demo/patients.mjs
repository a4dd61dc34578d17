// 2,000 patients as BSON bytes, with every BSON type that can be encrypted somewhere.
import { BSONRegExp, BSONSymbol, Binary, Code, Decimal128, Double, Int32, Long, ObjectId, serialize, Timestamp, UUID } from 'bson';

export const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
export const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

// Every encryptable type. Those of the second list can only be encrypted randomly.
const deterministicTypes = {
  string: (n) => `text ${n}`,
  binary: (n) => new Binary(Buffer.from(`bytes ${n}`), 0),
  oldBinary: (n) => new Binary(Buffer.from(`old bytes ${n}`), 2),
  uuid: (n) => new UUID(`00000000-0000-4000-8000-${String(n).padStart(12, '0')}`),
  objectId: (n) => new ObjectId(String(n).padStart(24, '0')),
  date: (n) => new Date(1_700_000_000_000 - n * 86_400_000),
  regex: (n) => new BSONRegExp(`^ward ${n % 7}`, 'i'),
  code: (n) => new Code(`return ${n}`),
  symbol: (n) => new BSONSymbol(`symbol ${n}`),
  int32: (n) => new Int32(n),
  timestamp: (n) => new Timestamp({ t: 1_700_000_000 + n, i: n }),
  int64: (n) => Long.fromString('9007199254740993').add(n),
};
const randomTypes = {
  double: (n) => new Double(n / 8),
  document: (n) => ({ b: new Int32(n), a: { nested: `deep ${n}` } }),
  array: (n) => [new Int32(n), 'two', [new Double(3)]],
  codeWithScope: (n) => new Code('return x', { x: new Int32(n) }),
  bool: (n) => n % 2 === 0,
  decimal: (n) => Decimal128.fromString(`${n}.10`),
};
const dbPointerType = 0x0c;
const documentType = 0x03;
// Binary is there in three subtypes.
export const typeCount = new Set([
  dbPointerType, ...Object.values({ ...deterministicTypes, ...randomTypes }).map((make) => serialize({ '': make(1) })[4]),
]).size;

export const keyNames = ['demo.ssn', 'demo.medical', 'demo.insurance', 'demo.samples'];

// Which field is encrypted how. Paths that lead through arrays enter each element.
export const fields = {
  ssn: { algorithm: DETERMINISTIC, keyAltName: 'demo.ssn' },
  medicalRecords: { algorithm: RANDOM, keyAltName: 'demo.medical' },
  'visits.note': { algorithm: RANDOM, keyAltName: 'demo.medical' },
  'visits.prescriptions.drug': { algorithm: RANDOM, keyAltName: 'demo.medical' },
  'insurance.policyNumber': { algorithm: DETERMINISTIC, keyAltName: 'demo.insurance' },
  ...Object.fromEntries(
    [...Object.keys(deterministicTypes), 'dbPointer'].map((type) => [`samples.${type}`, { algorithm: DETERMINISTIC, keyAltName: 'demo.samples' }]),
  ),
  ...Object.fromEntries(Object.keys(randomTypes).map((type) => [`samples.${type}`, { algorithm: RANDOM, keyAltName: 'demo.samples' }])),
};

export const ssnOf = (n) => `${String(100 + (n % 900))}-${String(10 + (n % 90))}-${String(n).padStart(4, '0')}`;

export function patient(n) {
  const samples = serialize(Object.fromEntries(Object.entries({ ...deterministicTypes, ...randomTypes }).map(([type, make]) => [type, make(n)])));
  const document = serialize({
    _id: new Int32(n),
    name: `Patient ${n}`,
    ssn: ssnOf(n),
    bloodType: ['0+', 'A+', 'B+', 'AB-'][n % 4],
    medicalRecords: [{ weight: new Int32(50 + (n % 60)), bloodPressure: '120/80' }, { allergy: 'penicillin', since: new Date(1_500_000_000_000 + n) }],
    visits: Array.from({ length: 1 + (n % 3) }, (_, visit) => ({
      ward: `W${visit}`,
      note: `visit ${visit} of patient ${n}`,
      prescriptions: [{ drug: `drug ${(n + visit) % 40}`, days: new Int32(7) }],
    })),
    insurance: { carrier: 'MaestCare', policyNumber: new Int32(100_000 + n) },
  });
  return withElement(document, documentType, 'samples', withElement(samples, dbPointerType, 'dbPointer', dbPointer(n)));
}

// JavaScript's BSON library cannot write this type: a string (the namespace) and the 12 bytes of an ObjectId.
function dbPointer(n) {
  const namespace = Buffer.from('hospital.wards\0');
  const length = Buffer.alloc(4);
  length.writeInt32LE(namespace.length);
  return Buffer.concat([length, namespace, Buffer.from(String(n).padStart(24, '0'), 'hex')]);
}

// A document with one more element at its end.
function withElement(document, type, name, value) {
  const bytes = Buffer.concat([document.subarray(0, -1), Buffer.from([type]), Buffer.from(`${name}\0`), value, Buffer.from([0])]);
  bytes.writeInt32LE(bytes.length);
  return bytes;
}
