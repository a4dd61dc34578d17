// The slim entry needs its input.
import * as bson from 'bson';
import { ClientEncryption, init, MemoryKeyVaultStore } from 'csfle-wasm/slim';

await init(new Uint8Array(8));
await init(fetch('https://example.com/csfle.wasm'));
new ClientEncryption(null, { bson, keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: {} }).close();
// @ts-expect-error nothing to start from
await init();
// @ts-expect-error the slim entry fetches nothing
await init('https://example.com/csfle.wasm');
