// The command after a first signal: how long the write in flight may take, and what a second signal does.
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { sourceModule } from './source-module.mjs';

describe('a signal', () => {
  let Interrupt;
  before(async () => {
    ({ Interrupt } = await sourceModule('js/cli/interrupt.ts'));
  });

  function interrupted(t, signal) {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const exits = [];
    t.mock.method(process, 'exit', (code) => {
      exits.push(code);
    });
    const notes = [];
    const interrupt = new Interrupt((note) => notes.push(note));
    process.emit(signal, signal);
    return { interrupt, exits, notes };
  }

  it('lets the write in flight finish, for 30 seconds at most', (t) => {
    const { interrupt, exits, notes } = interrupted(t, 'SIGTERM');
    assert.deepEqual([interrupt.signal.aborted, interrupt.exitCode], [true, 143]);
    assert.match(notes[0], /in 30 seconds at the latest/);
    // The deadline stays when the work is over: output that nobody reads does not hold the process.
    interrupt.release();
    t.mock.timers.tick(29_999);
    assert.deepEqual(exits, []);
    t.mock.timers.tick(1);
    assert.deepEqual(exits, [143]);
  });

  it('that is the second one ends the process at once', (t) => {
    const { interrupt, exits, notes } = interrupted(t, 'SIGINT');
    assert.deepEqual(exits, []);
    process.emit('SIGHUP', 'SIGHUP');
    assert.equal(exits[0], 129);
    assert.match(notes[0], /Ctrl-C again to stop at once/);
    interrupt.release();
  });
});
