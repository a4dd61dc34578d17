/** A re-encryption that stopped half way, known by the marks that it leaves in alternate names. */

import type { KeyDocument, KeyProofReport, MasterKeyDocument } from '../index.js';
import { shellWord } from '../node/files.js';
import { counted } from './counted.js';
import type { Finding } from './finding.js';
import { altNamesOf, idOf, masterKeyOf } from './keys-command.js';
import { providerType } from './master-key.js';
import { vaultOption } from './vault-option.js';

const MARK = /^csfle-migrate:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** The warning, when values are left under keys that others already replace; its remedy is the command that goes on. */
export function stoppedMigration(keys: readonly KeyDocument[], found: KeyProofReport['found'], flags: { readonly keyVault: string }): Finding | undefined {
  const known = new Set(keys.map(idOf));
  const replacements = keys.flatMap((key) =>
    altNamesOf(key)
      .map((name) => MARK.exec(name)?.[1])
      .filter((old): old is string => old !== undefined && known.has(old))
      .map((old) => ({ old, masterKey: masterKeyOf(key) })),
  );
  const left = found.flatMap(({ namespace, byKey }) =>
    byKey.filter(({ keyId }) => replacements.some(({ old }) => old === keyId)).map((one) => ({ namespace, ...one })),
  );
  if (left.length === 0) return undefined;
  const oldKeys = [...new Set(left.map(({ keyId }) => keyId))];
  const collections = [...new Set(left.map(({ namespace }) => namespace))];
  const values = left.reduce((sum, one) => sum + one.values, 0);
  const target = replacements.find(({ old }) => oldKeys.includes(old))?.masterKey ?? { provider: 'local' };
  return {
    state: 'warn',
    name: 're-encryption',
    detail: `it is not finished: ${counted(values, 'value')} of ${collections.join(', ')} left under ${counted(oldKeys.length, 'key that has a replacement', 'keys that have replacements')}`,
    remedy: `Run it again: csfle migrate --mode reencrypt${oldKeys.map((id) => ` --key ${id}`).join('')}${collections.map((one) => ` --collection ${shellWord(one)}`).join('')}${targetOptions(target)}${vaultOption(flags.keyVault)} --execute`,
  };
}

/** The master key of a replacement as options of the command. */
function targetOptions({ provider, ...fields }: MasterKeyDocument): string {
  const { key, region, endpoint } = fields as Readonly<Record<string, unknown>>;
  const option = (name: string, value: unknown): string => (value === undefined ? '' : ` --${name} ${shellWord(String(value))}`);
  const ofAws = [option('key-arn', key), String(key).startsWith('arn:') ? '' : option('region', region), option('endpoint', endpoint)];
  const ofOthers = Object.keys(fields).length === 0 ? [] : [option('to-master-key', JSON.stringify(fields))];
  return [option('to', provider), ...(providerType(provider) === 'aws' ? ofAws : ofOthers)].join('');
}
