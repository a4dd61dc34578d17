/** The table that says errors and reports of the library in flags of the command. */

import { CsfleError, type ErrorCode } from '../index.js';
import { type HostWords, Wording } from '../node/words.js';

const NOT_TRUSTED = 'Find out who wrote this key document: nothing was sent for it.';
const IN_USE = 'or leave namespaces out of the search with --skip-namespace and --skip-reason.';
const RESTORE = 'Restore the key document from a backup: csfle backup restore <file>.';
const REPORT = 'This is a mistake in this command: please report it.';

/** What is at hand for a provider, and how to add it. */
function providerRemedy(message: string): string {
  const provider = /(?:provider |`)"?([\w:]+)/.exec(message)?.[1] ?? 'local';
  if (provider === 'local') return 'Pass --local-key-file, or set CSFLE_LOCAL_KEY to the base64 text of the key.';
  if (provider.startsWith('local:')) return `Pass the master key of this provider: --local-key-file ${provider}=<file>.`;
  if (provider.split(':', 1)[0] === 'aws') return 'Run: npm install @aws-sdk/client-kms, and run the command again.';
  return 'Pass --kms-module <file>, a module that exports this provider as the library takes it.';
}

/** Words of the command. A test goes through every code and every message of the library. */
export const COMMAND_WORDS: HostWords = {
  wrongLocalKey: `Pass the file of the master key that wrapped these keys with --local-key-file. If it is that file, the key document is damaged: ${RESTORE.charAt(0).toLowerCase()}${RESTORE.slice(1)}`,
  names: {
    kmsProviders: 'the master keys of this command',
    keyVault: '--key-vault',
    keyVaultNamespace: '--key-vault',
    keyVaultStore: '--key-vault',
    keyVaultClient: '--uri',
    trustedMasterKeys: '--trusted-master-key',
    allowedEndpoints: '--allow-endpoint',
    deleteOldKeys: '--delete-old-keys',
    confirmPlaintext: '--confirm-plaintext',
    createdBefore: '--created-before',
    keyIds: '--key',
    keyFilter: '--key',
    otherCollections: '--collection',
    dataClients: '--data-uri',
    skipNamespaces: '--skip-namespace',
    onBackup: 'the backup',
    batchSize: '--batch-size',
    kmsConcurrency: '--kms-concurrency',
    kmsTimeoutMS: '--kms-timeout-ms',
    kmsRetries: 'the number of retries',
    allowUnproven: '--allow-unproven',
    fromAnotherKeyVault: '--from-another-key-vault',
    withoutTakenNames: '--without-taken-names',
    createBackup: 'csfle backup create',
    restoreBackup: 'csfle backup restore',
    verifyBackup: 'csfle backup verify',
    restoreRetiredKeys: 'csfle keys restore',
    retiredKeys: 'csfle keys retired',
    retireKeys: 'csfle keys delete',
    purgeRetiredKeys: 'csfle keys purge',
    proveKeys: 'csfle doctor',
    rewrapManyDataKey: 'csfle keys rewrap',
    createDataKey: 'csfle keys create',
    awsKms: 'AWS KMS',
  },
  everyday: {
    from: '--from',
    to: '--to',
    mode: '--mode',
    all: '--all-keys',
    collections: '--collection',
    schemas: '--schema-file',
    execute: '--execute',
    overwrite: '--overwrite',
    backup: '--backup-file',
    replaced: '--replaced-file',
    before: '--before',
    proof: '--proof-collection',
    key: '--passphrase-file or --to',
    evidence: '--skip-namespace',
  },
  phrases: [
    [/kmsProviders has no `([^`]*)`/, 'no master key of the provider $1 is at hand'],
    [/KMS provider `([^`]*)` is not configured/, 'no master key of the provider $1 is at hand'],
    [/, which kmsProviders does not have/, ', of which no master key is at hand'],
    [/kmsProviders\[("[^"]*")\](?:\.key)?/, 'the master key of the provider $1'],
    [/kmsProviders\.([\w:]+)(?:\.key)?/, 'the master key of the provider $1'],
    [/trustedMasterKeys\[(\d+)\]/, 'pattern [$1] of --trusted-master-key or CSFLE_TRUSTED_MASTER_KEYS'],
    [/schemas\[\d+\]/, '--schema-file'],
    [/evidence: \{ skipNamespaces: \['\*'\], reason: '\.\.\.' \}, with otherCollections for those to search/, "--skip-namespace '*' --skip-reason <text>"],
    [/evidence\.skipNamespaces/, '--skip-namespace'],
    [/evidence\.reason/, '--skip-reason'],
    [/the KMS callback failed/, 'the KMS client failed'],
    [/proof\.collections/, '--proof-collection'],
    [/`proof: false`/, '--no-proof'],
    [/\bfrom and keyFilter\b/, '--from and --key'],
    [/masterKey\.(\w+)/, 'the field $1 of the master key'],
    [/pass a MongoClient with keyVaultNamespace, or keyVaultStore/, 'give --uri and --key-vault'],
    [/\bis of the mode (reencrypt|decrypt|rewrap)( or (?:reencrypt|decrypt|rewrap))?, not of (\w+)/, 'is of --mode $1$2, not of $3'],
    [/\ban array of texts\b/, 'a list of texts'],
  ],
  remedies: {
    INTERNAL: REPORT,
    MACHINE_OUT_OF_ORDER: REPORT,
    HOST_NOT_INITIALIZED: REPORT,
    HOST_CLOSED: REPORT,
    KEY_VAULT_UNEXPECTED_KEY: REPORT,
    KMS_REPLY_INVALID: REPORT,
    KEY_VAULT_RETIREMENT_UNSUPPORTED: REPORT,
    KMS_PROVIDERS_INVALID: 'Correct what the message names of the master keys: --local-key-file, --to, --from.',
    HOST_WASM_FAILED: 'Install the package csfle-wasm anew: its csfle.wasm is missing or damaged, or this machine is out of memory.',
    HOST_CALLBACK_FAILED: 'Correct what the message names, and run the command again.',
    HOST_BSON_MISSING: 'Run: npm install bson mongodb',
    HOST_BSON_MISMATCH: 'Run: npm install bson mongodb, so that both are of one release.',
    ARGUMENT_INVALID: 'Correct the option that the message names. See --help.',
    OPTION_INVALID: 'Correct the option that the message names. See --help.',
    'OPTION_INVALID collections':
      'Repeat --collection <database.collection> for every collection that holds values under these keys, or leave it out with --mode rewrap.',
    'OPTION_INVALID deleteOldKeys': 'Leave --delete-old-keys out, or choose --mode reencrypt.',
    'OPTION_INVALID confirmPlaintext': 'Leave --confirm-plaintext out, or choose --mode decrypt.',
    'OPTION_INVALID schemas': 'Leave --schema-file out, or choose --mode reencrypt or decrypt.',
    'OPTION_INVALID dataClients': 'Leave --data-uri out and unset CSFLE_DATA_URIS, or choose --mode reencrypt.',
    KEY_REFERENCE_INVALID: 'Name the data key by its id or by one of its alternate names. See: csfle keys list',
    KMS_PROVIDER_NOT_CONFIGURED: providerRemedy,
    KMS_ENDPOINT_INVALID: 'Write the endpoint as host[:port]. For an endpoint of this machine alone set AWS_ENDPOINT_URL_KMS, which may be a URL.',
    MASTER_KEY_INVALID: 'Correct --key-arn, --region or --endpoint; of a source --from-key-arn, --from-region or --from-endpoint.',
    MIGRATION_TARGET_INVALID: 'Give --from and --to as providers at hand, and for aws the whole key: --key-arn, of the source --from-key-arn.',
    KEY_MATERIAL_LENGTH: RESTORE,
    KEY_VAULT_DOCUMENT_MALFORMED: RESTORE,
    KEY_VAULT_FIELD_MISSING: RESTORE,
    KEY_VAULT_FIELD_INVALID: RESTORE,
    KEY_VAULT_KEY_NOT_FOUND: 'Check --key-vault. A retired key comes back with csfle keys restore, a deleted one with csfle backup restore <file>.',
    KEY_VAULT_DUPLICATE_KEY: 'Choose another alternate name, or take it from the key that has it: csfle keys alt-name remove.',
    KEY_VAULT_MASTER_KEY_NOT_TRUSTED: `${NOT_TRUSTED} If the master key is yours, it has to match --trusted-master-key and CSFLE_TRUSTED_MASTER_KEYS where they are given, and of csfle migrate --from or --to. If its endpoint is yours, add --allow-endpoint <host[:port]>, or --from-endpoint beside --from-key-arn.`,
    KMS_ENDPOINT_NOT_ALLOWED:
      'Find out who wrote this key document: nothing was sent there. If the endpoint is yours, add --allow-endpoint <host[:port]>; csfle migrate also takes --from-key-arn with --from-endpoint.',
    KMS_REPLY_LENGTH: 'The KMS returned something else than a data key: check that the endpoint and the master key are the right ones.',
    KMS_REPLY_MISMATCH: 'The KMS did not return what it was given; nothing was written. Check its endpoint.',
    KMS_CREDENTIALS_UNAVAILABLE:
      'Give the AWS SDK credentials: environment (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), configuration files, or the role of the instance.',
    KMS_REGION_MISMATCH: 'Give the region of the key with --region, or its whole ARN.',
    KMS_REQUEST_REFUSED: 'The KMS refused the request as invalid. Check the kind and the usage of the master key.',
    KMS_FAILED: 'The KMS failed in an unusual way: see the message, and the log of the KMS.',
    BACKUP_NOT_RECOGNIZED: 'Give a file that csfle backup create or csfle migrate --execute made.',
    BACKUP_KEY_MISSING: 'Pass --passphrase-file for a backup under a passphrase, --local-key-file for one under a local master key.',
    BACKUP_KEY_WRONG: (message) =>
      message.endsWith('sealed under a passphrase')
        ? 'Give the passphrase that the backup was made with (--passphrase-file or CSFLE_BACKUP_PASSPHRASE), or another copy of the file.'
        : 'Give the master key that the backup was made with (--local-key-file, or access to the KMS), or another copy of the file.',
    BACKUP_RESTORE_UNPROVEN:
      'Pass --local-key-file or let AWS KMS answer, so that both wrappings can be compared; add --allow-unproven only if you know that the backup is right.',
    BACKUP_KEY_VAULT_MISMATCH: 'Check which backup is meant, and --key-vault; add --from-another-key-vault when the keys shall really go there.',
    MIGRATION_CONFIRMATION_MISSING: 'Add --confirm-plaintext when documents shall really be stored in the clear.',
    MIGRATION_BACKUP_FAILED: 'Nothing was written. Name a new file with --backup-file where one can be written, or take no backup with --no-backup.',
    MIGRATION_INDEX_MISSING: 'Run: csfle keys index --key-vault <namespace>',
    MIGRATION_OLD_KEYS_IN_USE: 'Migrate the collection that the message names too: add --collection.',
    MIGRATION_COLLECTION_MISSING:
      'Add --collection for every collection that holds values under these keys: their alternate names move to the new keys, and queries by name would miss the others.',
    MIGRATION_NO_KEYS_CHOSEN:
      'Nothing was written. Check --key-vault, --from and the choice of data keys (--created-before, --key): together they name no key. --allow-empty is for a key vault that is meant to have none. See: csfle keys list',
    MIGRATION_EVIDENCE_INCOMPLETE: `Allow this user to list and read every namespace, ${IN_USE}`,
    KEY_VAULT_KEY_IN_USE: `Re-encrypt or delete the values that the report names first, ${IN_USE}`,
    OPERATION_ABORTED: 'Run the command again.',
  },
};

/** Says errors and reports of the library in words of the command. */
export const inCommand = new Wording(COMMAND_WORDS, (code) => new CsfleError(code as ErrorCode, '').remedy);
