/** The `csfle` object of mongosh: `load('.../csfle.mongosh.js')`, or `const csfle = require('csfle-wasm/mongosh')`. */

import type { KmsCallbacks, MigrationReport } from '../index.js';
import { type AwsKmsOptions, awsKms } from './aws-kms.js';
import { ShellBackup } from './backup.js';
import { ShellClientEncryption } from './client-encryption.js';
import { AS_PRINTABLE, type ClassHelp, INSTANCE_STATE, offerMethods, shellClass } from './help.js';
import { ShellKeyVault } from './key-vault.js';
import { LocalKeyFile, type LocalKeyFileOptions } from './local-key-file.js';
import { migrateInShell, type ShellMigrateOptions } from './migration.js';
import { openSession, type ShellEncryptionOptions, type ShellSession } from './session.js';
import { knownInstanceState, rememberShell, type ShellGlobal, type ShellInstanceState, type ShellMongo } from './shell.js';
import { type ShellStatus, statusOf } from './status.js';

export type { AwsCredentials, AwsKmsOptions } from './aws-kms.js';
export type { ShellBackup, ShellBackupKey, ShellBackupResult, ShellCreateBackupOptions, ShellRestoreBackupOptions } from './backup.js';
export type { ShellClientEncryption } from './client-encryption.js';
export type { ShellKeyVault } from './key-vault.js';
export type { ShellKmsProviders, ShellLocalProvider, ShellRemoteProvider } from './kms-providers.js';
export type { LocalKeyFile, LocalKeyFileOptions } from './local-key-file.js';
export type { ShellCollection, ShellMigrateOptions } from './migration.js';
export type { ShellEncryptionOptions } from './session.js';
export type { ShellRestoreReport } from './restore-text.js';
export type { ShellMongo } from './shell.js';
export type { ClosedKey, ProviderStatus, ShellStatus } from './status.js';

/** How csfle.mongosh.js hands over the global object of the shell; not enumerable, not for users. */
const ATTACH: unique symbol = Symbol.for('csfle-wasm.attach') as never;

/** Everything that the shell gets. Methods that return promises are awaited by the shell. */
class Csfle {
  /** Sealed backups of a key vault. */
  readonly backup: ShellBackup = new ShellBackup();
  /** What was opened last: `status()` without options tells about it. */
  #lastSession: ShellSession | undefined;

  constructor() {
    offerMethods(this);
  }

  clientEncryption(options: ShellEncryptionOptions | ShellMongo): ShellClientEncryption {
    const clientEncryption = new ShellClientEncryption(options);
    this.#lastSession = ShellClientEncryption.sessionOf(clientEncryption);
    return clientEncryption;
  }

  async keyVault(options: ShellEncryptionOptions | ShellMongo | ShellClientEncryption): Promise<ShellKeyVault> {
    const keyVault = await ShellKeyVault.open(options);
    this.#lastSession = ShellKeyVault.sessionOf(keyVault);
    return keyVault;
  }

  async migrate(options: ShellMigrateOptions): Promise<MigrationReport> {
    return migrateInShell(options);
  }

  async status(options?: ShellEncryptionOptions | ShellMongo | ShellClientEncryption | ShellKeyVault): Promise<ShellStatus> {
    if (options === undefined) return statusOf(this.#lastSession, knownInstanceState());
    const opened = ShellClientEncryption.sessionOf(options) ?? ShellKeyVault.sessionOf(options);
    if (opened !== undefined) return statusOf(opened, undefined);
    const session = openSession(options, 'csfle.status');
    try {
      return await statusOf(session, undefined);
    } finally {
      session.encryption.close();
    }
  }

  awsKms(options?: AwsKmsOptions): KmsCallbacks {
    return awsKms(options);
  }

  localKeyFile(file: string, options?: LocalKeyFileOptions): LocalKeyFile {
    return new LocalKeyFile(file, options);
  }

  [ATTACH](global: ShellGlobal): this {
    rememberShell(global);
    return this;
  }

  [AS_PRINTABLE](): string {
    return 'csfle: client-side field level encryption without libmongocrypt. See csfle.help()';
  }

  [INSTANCE_STATE](): ShellInstanceState | undefined {
    return knownInstanceState();
  }
}

const HELP: ClassHelp = {
  name: 'Csfle',
  description: 'Client-Side Field Level Encryption (csfle-wasm)',
  docs: 'https://mongodb.com/docs/manual/core/csfle',
  objects: { backup: 'Sealed backups of a key vault: create, verify and restore. See csfle.backup.help().' },
  methods: {
    clientEncryption: {
      usage: 'csfle.clientEncryption({ keyVaultNamespace, kmsProviders, client })',
      description:
        "Returns an object that encrypts and decrypts values and documents. kmsProviders as in the drivers, or { local: csfle.localKeyFile('master-key.bin') }, { aws: csfle.awsKms() }; client defaults to the current connection. trustedMasterKeys names the only master keys to use, allowedEndpoints those endpoints of key documents that no cloud runs.",
      synchronous: true,
    },
    keyVault: {
      usage: 'csfle.keyVault({ keyVaultNamespace, kmsProviders, client } | clientEncryption)',
      description: 'Returns the key vault, which creates and manages data keys. Makes sure of its unique index on keyAltNames.',
    },
    migrate: {
      usage: "csfle.migrate({ keyVaultNamespace, kmsProviders, from: { provider: 'local' }, to: { provider: 'aws', region, key }, execute })",
      description:
        "Moves data keys to another master key. Without execute: true it only plans and checks. mode is 'rewrap' (the default), 'reencrypt' or 'decrypt'; the latter two rewrite collections: [db.patients]. 'reencrypt' replaces the data keys that createdBefore: ISODate('2026-11-01'), keyIds: [id] or all: true choose, whatever wraps them now. A sealed backup is taken before the first write: backupFile sets its file name; backup: false takes no backup.",
    },
    status: {
      usage: 'csfle.status({ keyVaultNamespace, kmsProviders } | keyVault)',
      description: 'Tells which keys the key vault has, and which of them the master keys open. Without arguments: about what was opened last.',
    },
    awsKms: {
      usage: 'csfle.awsKms({ region, endpoint, profile })',
      description: 'Makes an aws provider of the AWS SDK installed in the working folder, with the credentials that the SDK finds.',
      synchronous: true,
    },
    localKeyFile: {
      usage: 'csfle.localKeyFile(path, { create })',
      description:
        'Takes a local master key from a file of 96 bytes that only its owner reads. create: true makes a new one if there is none, and says so with its absolute path.',
      synchronous: true,
    },
  },
};
shellClass(Csfle, HELP);

/** The object that the shell gets. */
export const csfle: Csfle = new Csfle();
// `require('csfle-wasm/mongosh')` is this object itself (js/build.mjs), so that both ways of taking it work.
Object.defineProperty(csfle, 'csfle', { value: csfle });
