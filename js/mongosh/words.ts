/** The table that says errors and reports of the library in the options and methods of the shell. */

import { CsfleError, type ErrorCode } from '../index.js';
import { type HostWords, Wording } from '../node/words.js';

const RESTORE = 'Restore the key document from a backup: csfle.backup.restore(file, { ... }).';
const REPORT = 'This is a mistake in this package: please report it. Start the shell anew before going on.';
const IN_USE = "or leave namespaces out of the search: evidence: { skipNamespaces: ['logs.*'], reason: '...' }.";

function providerRemedy(message: string): string {
  const provider = /(?:provider |`)"?([\w:]+)/.exec(message)?.[1] ?? 'local';
  const type = provider.split(':', 1)[0];
  const name = /^\w+$/.test(provider) ? provider : `'${provider}'`;
  if (type === 'local') return `Add it to kmsProviders: { ${name}: csfle.localKeyFile('master-key.bin') }.`;
  if (type === 'aws') return `Add it to kmsProviders: { ${name}: csfle.awsKms() }.`;
  return `Add it to kmsProviders: { ${name}: { encrypt, decrypt } }.`;
}

/** Words of the shell. Most options have the names that they have in the library. A test goes through every code. */
export const SHELL_WORDS: HostWords = {
  wrongLocalKey: `Give the file of the master key that wrapped these keys: kmsProviders: { local: csfle.localKeyFile('master-key.bin') }. If it is that file, the key document is damaged: ${RESTORE.charAt(0).toLowerCase()}${RESTORE.slice(1)}`,
  names: {
    keyVaultStore: 'keyVaultNamespace',
    onBackup: 'backupFile',
    createBackup: 'csfle.backup.create',
    verifyBackup: 'csfle.backup.verify',
    readBackup: 'csfle.backup.verify',
    restoreBackup: 'csfle.backup.restore',
    restoreRetiredKeys: 'keyVault.restoreKey',
    retireKeys: 'keyVault.deleteKey',
    proveKeys: 'csfle.status',
    awsKms: 'csfle.awsKms',
  },
  everyday: {},
  phrases: [
    // csfle.keyVault() and keyVault.createKey() are of the shell.
    [/(?<![\w./"'-])keyVault(?![\w/"'(-]|\.\w)/g, 'keyVaultNamespace'],
    [/no key vault: pass a MongoClient with keyVaultNamespace, or keyVaultStore/, 'no key vault: give keyVaultNamespace'],
    [/dataClients must hold MongoClients/, 'dataClients must hold connections such as db.getMongo()'],
    [/name one in dataClients/, 'name a connection such as db.getMongo() in dataClients'],
  ],
  remedies: {
    INTERNAL: REPORT,
    MACHINE_OUT_OF_ORDER: REPORT,
    HOST_NOT_INITIALIZED: REPORT,
    HOST_BSON_MISSING: REPORT,
    KEY_VAULT_UNEXPECTED_KEY: REPORT,
    KEY_VAULT_RETIREMENT_UNSUPPORTED: REPORT,
    HOST_BSON_MISMATCH: 'Pass values that the shell itself made: UUID(), BinData(), ObjectId().',
    HOST_WASM_FAILED: 'Install the package csfle-wasm anew: its csfle.wasm is missing or damaged, or this machine is out of memory.',
    HOST_CLOSED: 'Open another one with csfle.clientEncryption() or csfle.keyVault(): this one was closed.',
    HOST_CALLBACK_FAILED: 'Correct what the message names, and run it again.',
    OPERATION_ABORTED: 'Run it again.',
    KEY_REFERENCE_INVALID: 'Name the data key by exactly one of its id, a UUID, and keyAltName, a string.',
    KMS_PROVIDER_NOT_CONFIGURED: providerRemedy,
    KEY_VAULT_DOCUMENT_MALFORMED: RESTORE,
    KEY_VAULT_FIELD_MISSING: RESTORE,
    KEY_VAULT_FIELD_INVALID: RESTORE,
    KEY_VAULT_KEY_NOT_FOUND: 'Check keyVaultNamespace. A retired key comes back with keyVault.restoreKey(), a deleted one with csfle.backup.restore().',
    KMS_ENDPOINT_NOT_ALLOWED: 'Find out who wrote this key document: nothing was sent there. If the endpoint is yours, allow it by name in allowedEndpoints.',
    KMS_CREDENTIALS_UNAVAILABLE: 'Give the AWS SDK credentials: environment, csfle.awsKms({ profile }), or the role of the instance.',
    KMS_REGION_MISMATCH: 'Use csfle.awsKms() without region, or with the region of the master key.',
    KMS_REQUEST_REFUSED: 'The KMS refused the request as invalid. Check the kind and the usage of the master key.',
    KMS_FAILED: 'The KMS failed in an unusual way: see the message, and the log of the KMS.',
    BACKUP_NOT_RECOGNIZED: 'Give a file that csfle.backup.create() or csfle.migrate() made.',
    BACKUP_KEY_MISSING: 'Give passphraseFile, or kmsProviders with the master key that the backup is under, as the message says.',
    BACKUP_KEY_WRONG: (message) =>
      message.endsWith('sealed under a passphrase')
        ? 'Give the passphrase that the backup was made with (passphraseFile or passphrase), or another copy of the file.'
        : 'Give the master key that the backup was made with in kmsProviders, or another copy of the file.',
    BACKUP_RESTORE_UNPROVEN:
      'Give kmsProviders that open both wrappings, so that they can be compared; set allowUnproven: true only if you know that the backup is right.',
    BACKUP_KEY_VAULT_MISMATCH: 'Check which backup is meant, and keyVaultNamespace; set fromAnotherKeyVault: true when the keys shall really go there.',
    MIGRATION_CONFIRMATION_MISSING: 'Set confirmPlaintext: true when documents shall really be stored in the clear.',
    MIGRATION_BACKUP_FAILED: 'Nothing was written. Name a new file in backupFile where one can be written, or take no backup with backup: false.',
    MIGRATION_INDEX_MISSING: 'Create the unique index: csfle.keyVault({ ... }) does, unless names are taken twice.',
    MIGRATION_OLD_KEYS_IN_USE: 'Migrate the collection that the message names too: add it to collections.',
    MIGRATION_EVIDENCE_INCOMPLETE: `Allow this user to list and read every namespace, ${IN_USE}`,
    KEY_VAULT_KEY_IN_USE: `Re-encrypt or delete the values that the report names first, ${IN_USE}`,
    MIGRATION_NO_KEYS_CHOSEN:
      'Nothing was written. Check keyVaultNamespace, from and the choice of data keys: together they name no key. allowEmpty: true is for a key vault that is meant to have none. See: csfle.status()',
    'OPTION_INVALID collections': 'Set collections: [db.patients, ...] to every collection that holds values under these keys; the mode rewrap takes none.',
  },
};

/** Says errors and reports of the library in words of the shell. */
export const inShell = new Wording(SHELL_WORDS, (code) => new CsfleError(code as ErrorCode, '').remedy);
