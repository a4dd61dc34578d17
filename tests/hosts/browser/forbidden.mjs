// The page of a site whose policy does not allow WebAssembly: init() has to say so. It breaks the policy once more, with a
// picture, so that the test can see what a broken policy looks like.
import { init } from 'csfle-wasm';

const violations = [];
const heard = new Promise((resolve) => {
  document.addEventListener('securitypolicyviolation', ({ violatedDirective }) => {
    violations.push(violatedDirective);
    if (violatedDirective.startsWith('img-src')) resolve();
  });
});

let code = 'no error';
try {
  await init();
} catch (error) {
  code = error.code;
}
new Image().src = '/picture.png';
await heard;
globalThis.results = { code, violations };
const state = document.querySelector('#state');
state.textContent = code;
state.dataset.state = 'done';
