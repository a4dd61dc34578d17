// Run with --expose-gc: prints whether the key of an instance that nobody closed is in the memory, before and after it was collected.
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';
import { scan } from './scan.mjs';
import { formsOfKey } from './secrets.mjs';

let memory;
const Instance = WebAssembly.Instance;
WebAssembly.Instance = class extends Instance {
  constructor(...given) {
    super(...given);
    memory = this.exports.memory;
  }
};

const { ClientEncryption, MemoryKeyVaultStore } = createRequire(import.meta.url)('csfle-wasm');
const key = randomBytes(96);
// Round keys and HMAC states count too: the key itself is not kept.
const forms = formsOfKey('local master key', key);
const isInMemory = () => scan(memory.buffer, forms).length > 0;

async function useAndForget() {
  const encryption = new ClientEncryption(null, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: { local: { key } } });
  const keyId = await encryption.createDataKey('local');
  await encryption.encrypt('a value', { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' });
  return isInMemory();
}

const before = await useAndForget();
for (let round = 0; round < 50 && isInMemory(); round += 1) {
  globalThis.gc();
  await setTimeout(10);
}
process.stdout.write(JSON.stringify({ before, after: isInMemory() }));
