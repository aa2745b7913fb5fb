// @ts-check
// A thread beside a fuzz run: ends the process when one input takes too long or too much memory, which nothing in the thread that reads it
// can do, and says which input it was.
import { writeSync } from "node:fs";
import { workerData } from "node:worker_threads";

const LOOK_MS = 100;
const STDERR = 2;

/** @type {{ name: string, again: string, progress: Int32Array, deadlineMs: number, mostBytes: number }} */
const { name, again, progress, deadlineMs, mostBytes } = workerData;

const base = process.memoryUsage.rss();
let seen = -1;
let since = performance.now();

/** @param {string} what */
function end(what) {
  const input = Atomics.load(progress, 0);
  writeSync(STDERR, `\nfuzz ${name}, input ${input}: ${what}; again: ${again.replace("#", String(input))}\n`);
  process.kill(process.pid, "SIGKILL");
}

setInterval(() => {
  const input = Atomics.load(progress, 0);
  if (input !== seen) {
    seen = input;
    since = performance.now();
  }
  const grown = process.memoryUsage.rss() - base;
  if (performance.now() - since > deadlineMs) end(`no end within ${deadlineMs} ms`);
  if (grown > mostBytes) end(`${grown} bytes of memory, more than ${mostBytes}`);
}, LOOK_MS);
