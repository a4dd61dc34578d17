// Counting what was run. A case passes, fails with the reason, or is skipped with the reason; nothing else exists.

/** Thrown by a case that finds out on the way that it cannot be judged here. */
export class Skip extends Error {}

export class Suite {
  constructor(name) {
    this.name = name;
    this.passed = 0;
    this.failures = [];
    this.skips = [];
  }

  /** Runs one case. It fails by throwing anything but a `Skip`. */
  async case(name, check) {
    try {
      await check();
      this.passed += 1;
    } catch (error) {
      if (error instanceof Skip) this.skip(name, error.message);
      else this.failures.push({ case: name, reason: error.message });
    }
  }

  skip(name, reason) {
    this.skips.push({ case: name, reason });
  }

  get cases() {
    return this.passed + this.failures.length + this.skips.length;
  }

  /** What is reported. `reasons` has each reason for skipping once, with the number of its cases; `skips` has the cases. */
  summary() {
    return {
      suite: this.name,
      passed: this.passed,
      failed: this.failures.length,
      skipped: this.skips.length,
      ...(this.skips.length > 0 && { reasons: counted(this.skips.map(({ reason }) => reason)), skips: this.skips }),
      ...(this.failures.length > 0 && { failures: this.failures.slice(0, 20) }),
    };
  }
}

const counted = (reasons) => [...new Set(reasons)].map((reason) => `${reasons.filter((other) => other === reason).length}: ${reason}`);

/** Fails when a side refused; returns its answer otherwise. */
export function accepted(answer) {
  if (!answer.ok) throw new Error(`refused: ${answer.code ?? ''} ${answer.message}`);
  return answer;
}

export function same(actual, expected, what) {
  const [left, right] = [actual, expected].map((bytes) => Buffer.from(bytes).toString('hex'));
  if (left !== right) throw new Error(`${what}: found ${left.slice(0, 200)}, expected ${right.slice(0, 200)}`);
}

export function sameValue(actual, expected) {
  if (!actual.equals(expected)) {
    const described = ({ type, bytes }) => `type ${type} ${Buffer.from(bytes).toString('hex')}`;
    throw new Error(`value: found ${described(actual)}, expected ${described(expected)}`);
  }
}
