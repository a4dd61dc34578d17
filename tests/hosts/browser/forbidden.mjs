// The page of a site whose policy does not allow WebAssembly: init() has to say so.
import { init } from 'csfle-wasm';

const state = document.querySelector('#state');
try {
  await init();
  globalThis.results = { code: 'no error' };
} catch (error) {
  globalThis.results = { code: error.code, message: error.message };
}
state.dataset.state = 'done';
