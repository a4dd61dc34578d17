/** Explicit encryption in the shell, with the signatures of the shell's own ClientEncryption. */

import { CsfleError, type Document, type EncryptDocumentOptions, type EncryptOptions } from '../index.js';
import { requireArguments } from './arguments.js';
import { visible } from '../node/text.js';
import { AS_PRINTABLE, type ClassHelp, INSTANCE_STATE, offerMethods, shellClass } from './help.js';
import { openSession, type ShellSession } from './session.js';
import { hostsOf, type ShellInstanceState } from './shell.js';

const MANUAL = 'https://mongodb.com/docs/manual/reference/method';
const ALGORITHMS = "'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic' or '...-Random'";

/** What `csfle.clientEncryption()` returns. */
export class ShellClientEncryption {
  readonly #session: ShellSession;

  constructor(options: unknown) {
    this.#session = openSession(options);
    offerMethods(this);
  }

  /** The session behind `value` when that is a ShellClientEncryption. */
  static sessionOf(value: unknown): ShellSession | undefined {
    return typeof value === 'object' && value !== null && #session in value ? value.#session : undefined;
  }

  async encrypt(keyId: unknown, value: unknown, algorithmOrOptions: string | Omit<EncryptOptions, 'keyId'>): Promise<unknown> {
    requireArguments('ClientEncryption.encrypt', [keyId, value, algorithmOrOptions], ['any', 'any', 'any']);
    const options = typeof algorithmOrOptions === 'object' ? { keyId, ...algorithmOrOptions } : { keyId, algorithm: algorithmOrOptions };
    // With an alternate name in the options the shell's users pass null or undefined as the key id.
    const { keyId: chosen, ...rest } = options;
    return this.#session.encryption.encrypt(value, (chosen === null ? rest : options) as EncryptOptions);
  }

  async decrypt(value: unknown): Promise<unknown> {
    requireArguments('ClientEncryption.decrypt', [value], ['any']);
    return this.#session.encryption.decrypt(value as never);
  }

  async encryptExpression(keyId: unknown, expression: unknown, options: unknown): Promise<never> {
    requireArguments('ClientEncryption.encryptExpression', [keyId, expression, options], ['any', 'any', 'any']);
    throw new CsfleError('ALGORITHM_QUERYABLE', 'encryptExpression makes range queries of Queryable Encryption');
  }

  async createEncryptedCollection(databaseName: string, collectionName: string, options: unknown): Promise<never> {
    requireArguments('ClientEncryption.createEncryptedCollection', [databaseName, collectionName, options], ['string', 'string', 'object']);
    throw new CsfleError('ALGORITHM_QUERYABLE', 'createEncryptedCollection makes collections of Queryable Encryption');
  }

  async decryptDocument(document: Document): Promise<Document> {
    requireArguments('ClientEncryption.decryptDocument', [document], ['object']);
    return this.#session.encryption.decryptDocument(document);
  }

  async decryptDocuments(documents: unknown): Promise<Document[]> {
    requireArguments('ClientEncryption.decryptDocuments', [documents], ['object']);
    return [...(await this.#session.encryption.decryptDocuments(await listOf(documents)))];
  }

  async encryptDocument(document: Document, options: EncryptDocumentOptions): Promise<Document> {
    requireArguments('ClientEncryption.encryptDocument', [document, options], ['object', 'object']);
    return this.#session.encryption.encryptDocument(document, options);
  }

  async encryptDocuments(documents: unknown, options: EncryptDocumentOptions): Promise<Document[]> {
    requireArguments('ClientEncryption.encryptDocuments', [documents, options], ['object', 'object']);
    return [...(await this.#session.encryption.encryptDocuments(await listOf(documents), options))];
  }

  close(): void {
    this.#session.encryption.close();
  }

  [AS_PRINTABLE](): string {
    return `ClientEncryption class for ${hostsOf(this.#session.mongo)}, key vault ${visible(this.#session.namespace)}`;
  }

  [INSTANCE_STATE](): ShellInstanceState | undefined {
    return this.#session.state;
  }
}

// An array, or a cursor of the shell, which is the natural thing to hand over: decryptDocuments(db.patients.find()).
async function listOf(documents: unknown): Promise<readonly Document[]> {
  if (Array.isArray(documents)) return documents;
  const cursor = documents as { toArray?(): Promise<Document[]> };
  if (typeof cursor.toArray === 'function') return cursor.toArray();
  throw new CsfleError('ARGUMENT_INVALID', 'expected an array of documents or a cursor', { details: { argument: 'documents' } });
}

const HELP: ClassHelp = {
  name: 'ClientEncryption',
  description: 'Client Field Level Encryption Class (csfle-wasm)',
  docs: `${MANUAL}/ClientEncryption`,
  methods: {
    encrypt: {
      usage: 'clientEncryption.encrypt(keyId, value, algorithm | { algorithm, keyAltName })',
      description: `Encrypts the value with the data key and the algorithm. The algorithm is ${ALGORITHMS}; with keyAltName in the options pass null as keyId.`,
      docs: `${MANUAL}/ClientEncryption.encrypt`,
    },
    decrypt: {
      usage: 'clientEncryption.decrypt(encryptedValue)',
      description: 'Decrypts an encrypted value, a Binary of subtype 6, if the key vault has its data key and the master key opens it.',
      docs: `${MANUAL}/ClientEncryption.decrypt`,
    },
    encryptExpression: {
      usage: 'clientEncryption.encryptExpression(keyId, expression, options)',
      description: 'Not available: expressions belong to Queryable Encryption.',
    },
    createEncryptedCollection: {
      usage: 'clientEncryption.createEncryptedCollection(dbName, collName, options)',
      description: 'Not available: encrypted collections belong to Queryable Encryption.',
    },
    decryptDocument: {
      usage: 'clientEncryption.decryptDocument(document)',
      description: 'Returns the document with every encrypted value in it decrypted, at any depth.',
    },
    decryptDocuments: {
      usage: 'clientEncryption.decryptDocuments(documents | cursor)',
      description: 'Returns the documents of an array or a cursor with every encrypted value decrypted.',
    },
    encryptDocument: {
      usage: "clientEncryption.encryptDocument(document, { fields: { 'path.to.field': { algorithm, keyId | keyAltName, optional? } } })",
      description: `Returns the document with the named fields encrypted. The algorithm is ${ALGORITHMS}; arrays on the way are entered. A document without such a field is refused, unless its rule says optional: true.`,
    },
    encryptDocuments: {
      usage: "clientEncryption.encryptDocuments(documents | cursor, { fields: { 'path.to.field': { algorithm, keyId | keyAltName, optional? } } })",
      description: 'Returns the documents of an array or a cursor with the named fields encrypted.',
    },
    close: {
      usage: 'clientEncryption.close()',
      description: 'Wipes the master key and the data keys from memory. The object cannot be used any more.',
      synchronous: true,
    },
  },
};

shellClass(ShellClientEncryption, HELP);
