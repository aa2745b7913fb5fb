// Preloaded into a process (node --import): at one of its writes below a folder it sends itself a signal, so that a test can stop or kill a
// run at that very place, however fast the machine is. ZAZEN_AT_A_WRITE has what process.ts calls an AtWrite.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";

const { folder, verb: wanted, place, nth, half, signal, times } = JSON.parse(process.env.ZAZEN_AT_A_WRITE);

const open = new Map(); // paths of descriptors
const { openSync } = fs;
fs.openSync = (path, ...more) => {
  const file = openSync(path, ...more);
  open.set(file, String(path));
  return file;
};

const namedBehind = ["symlinkSync", "copyFileSync"]; // what is written is their second argument
const pathOf = (verb, args) => {
  const target = namedBehind.includes(verb) ? args[1] : args[0];
  return typeof target === "number" ? (open.get(target) ?? "") : String(target);
};

let seen = 0;
let sent = 0;
function isDue(verb, path) {
  if (!path.startsWith(folder)) return false;
  if (sent > 0) return sent < times;
  return (wanted === "any" || wanted === verb) && path.includes(place) && ++seen === nth;
}

/** What a process that dies within a call can leave; the other calls are whole or not at all. */
function doHalf(verb, act, [target, content]) {
  if (verb === "writeFileSync") act(target, content.slice(0, content.length / 2));
  if (verb === "writeSync") act(target, content.subarray(0, content.length / 2));
  if (verb !== "rmSync" || !fs.existsSync(target) || !fs.statSync(target).isDirectory()) return;
  const files = fs.readdirSync(target, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const entry of files.slice(0, files.length / 2)) act(join(entry.parentPath, entry.name));
}

const verbs = ["mkdirSync", "writeFileSync", "writeSync", "fsyncSync", "renameSync", "rmSync", "truncateSync"];
for (const verb of [...verbs, ...namedBehind]) {
  const act = fs[verb];
  fs[verb] = (...args) => {
    if (!isDue(verb, pathOf(verb, args))) return act(...args);
    sent++;
    if (signal === "SIGKILL") {
      if (half) doHalf(verb, act, args);
      process.kill(process.pid, signal);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // until it has come
    }
    const result = act(...args);
    process.kill(process.pid, signal);
    return result;
  };
}
syncBuiltinESMExports();
