// A process that does jobs through the library. It is started before it is needed, and may be killed at any time.
import { performInLibrary } from './jobs.mjs';

process.on('message', async (call) => {
  const progress = [];
  const answer = { number: call.number };
  try {
    Object.assign(answer, await performInLibrary(call, (tick) => progress.push(tick)));
  } catch (error) {
    answer.ok = false;
    answer.error = { name: error.name, code: error.code, message: error.message, stack: error.stack, remedy: error.remedy, details: error.details };
  }
  process.send({ ...answer, progress });
});
process.on('disconnect', () => {
  process.exit(0);
});
process.send({ ready: true });
