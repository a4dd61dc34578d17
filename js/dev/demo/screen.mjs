// What the demo prints: steps, facts and proofs, in one column layout.
const colours = { bold: '1', dim: '2', green: '32', red: '31', cyan: '36' };
const usesColour = process.stdout.isTTY && !process.env.NO_COLOR;

export function paint(colour, text) {
  return usesColour ? `\u001b[${colours[colour]}m${text}\u001b[0m` : text;
}

export const print = (text = '') => process.stdout.write(`${text}\n`);

export const count = (number) => number.toLocaleString('en-US');
export const seconds = (durationMs) => `${(durationMs / 1000).toFixed(1)} s`;

let steps = 0;
export function step(title) {
  steps += 1;
  print(`\n${paint('bold', `${steps}. ${title}`)}`);
}

export function fact(name, text) {
  print(`   ${name.padEnd(18)}${text}`);
}

// A proof: `work` returns what was shown, or throws. Returns whether it held.
export async function proof(claim, work) {
  try {
    const shown = await work();
    print(`   ${paint('green', 'proved')}  ${claim}`);
    if (shown !== undefined) for (const line of [shown].flat()) print(`           ${paint('dim', line)}`);
    return true;
  } catch (error) {
    print(`   ${paint('red', 'FAILED')}  ${claim}`);
    print(`           ${error.message}`);
    return false;
  }
}
