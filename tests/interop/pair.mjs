// Both sides with the same providers and the same data keys, for the tests that compare them.
import { randomBytes } from 'node:crypto';
import { Ours } from './ours.mjs';
import { Peer } from './peer.mjs';
import { binary, document, field, fields } from './raw-bson.mjs';
import { Theirs } from './theirs.mjs';

export const MASTER_KEYS = Object.freeze({
  local: [],
  'local:other': [],
  aws: [
    ['region', 'us-east-1'],
    ['key', 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'],
  ],
  'aws:eu': [
    ['region', 'eu-central-1'],
    ['key', 'alias/csfle'],
    ['endpoint', 'kms.example.org:8443'],
  ],
  azure: [
    ['keyVaultEndpoint', 'vault-one.vault.azure.net'],
    ['keyName', 'key-one'],
  ],
  gcp: [
    ['projectId', 'project'],
    ['location', 'global'],
    ['keyRing', 'ring'],
    ['keyName', 'key'],
  ],
  kmip: [['keyId', '42']],
});

export const providersOf = () => ({
  local: new Uint8Array(randomBytes(96)),
  'local:other': new Uint8Array(randomBytes(96)),
  aws: true,
  'aws:eu': true,
  azure: true,
  gcp: true,
  kmip: true,
});

export const keyIdOf = (key) => binary(field(key, '_id')).content;

/** Fails on a refusal, with what was refused. */
export function accept(answer, what = 'call') {
  if (!answer.ok) throw new Error(`${what} refused: ${answer.code ?? ''} ${answer.message}`);
  return answer;
}

export class Pair {
  static async start(providers = providersOf(), options = {}) {
    const peer = await Peer.start();
    return new Pair(peer, providers, await Theirs.open(peer, providers, options), await Ours.open(providers, options));
  }

  constructor(peer, providers, theirs, ours) {
    Object.assign(this, { peer, providers, theirs, ours });
  }

  /** Both sides see exactly these key documents. */
  setVault(keys) {
    this.theirs.vault = keys;
    this.ours.vault = keys;
  }

  /** A data key made by one side, with known material. */
  async dataKey(maker, provider, keyAltNames = []) {
    const material = new Uint8Array(randomBytes(96));
    const { output } = accept(
      await this[maker].createDataKey(provider, { masterKey: MASTER_KEYS[provider], keyAltNames, keyMaterial: material }),
      `createDataKey(${provider})`,
    );
    return { document: output, keyId: keyIdOf(output), material, keyAltNames, provider, maker };
  }

  async stop() {
    this.ours.close();
    await this.theirs.close();
    await this.peer.stop();
  }
}

/** A copy of a document with one field replaced, added (at the end) or, with undefined, removed. */
export function withField(bytes, name, item) {
  const entries = fields(bytes);
  const at = entries.findIndex(([known]) => known === name);
  if (item === undefined) return document(entries.filter(([known]) => known !== name));
  return document(at < 0 ? [...entries, [name, item]] : entries.with(at, [name, item]));
}

export const HEX = (bytes) => Buffer.from(bytes).toString('hex');
