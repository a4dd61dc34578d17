// A lock between processes: whoever creates the file may go on; its content is the holder's process id, so that a lock left
// behind by a killed process is taken over.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';

export async function withLock(path, work, waitMs = 15 * 60_000) {
  const deadline = Date.now() + waitMs;
  while (!take(path)) {
    if (Date.now() > deadline) throw new Error(`${path} is still held by process ${holder(path)}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function take(path) {
  try {
    writeFileSync(path, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  const pid = holder(path);
  if (pid !== undefined && !isAlive(pid)) rmSync(path, { force: true });
  return false;
}

function holder(path) {
  try {
    return Number(readFileSync(path, 'utf8')) || undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
