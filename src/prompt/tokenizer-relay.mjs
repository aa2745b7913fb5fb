// @ts-check
// A thread between the caller and the process of tokenizer-child.mjs, so that the caller can wait for an answer without its event loop, as
// synchronous functions must. It gives calls to the process one by one, and puts another process in the place of one that spins. Runs no code
// of strangers itself.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { workerData } from "node:worker_threads";
import { cpuDeadline } from "../config/cpu-deadline.mjs";

/** @typedef {{ call: number, name: string, request: unknown, deadlineMs: number }} Call */
/** @typedef {{ call: number, value?: unknown, error?: string }} Answer */

/** @type {{ port: import("node:worker_threads").MessagePort, answers: Int32Array, heapMb: number }} */
const { port, answers, heapMb } = workerData;

/** The number of a call that nobody waits for. */
const NOBODY = 0;

/** Calls without an answer; the process has the first. @type {Call[]} */
const waiting = [];
/** Of the first. @type {{ stop(): void } | undefined} */
let deadline;
/** What the process has loaded. @type {Call | undefined} */
let loaded;
/** Why there is no process any more. */
let ended = "";
/** @type {import("node:child_process").ChildProcess} */
let child = start();

function start() {
  const started = fork(fileURLToPath(new URL("./tokenizer-child.mjs", import.meta.url)), {
    execArgv: [`--max-old-space-size=${heapMb}`],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: {},
    serialization: "advanced",
  });
  // What comes late from a process that was replaced is no answer to a call of the next one.
  const end = (/** @type {string} */ reason) => started === child && giveUp(reason);
  started.on("message", (/** @type {Answer} */ message) => started === child && answer(message));
  started.on("error", (error) => end(error.message));
  started.on("close", (code, signal) =>
    end(`its process ended (${signal ?? `exit code ${code}`}), perhaps over ${heapMb} MB of memory`),
  );
  return started;
}

/** Gives the first call to the process. */
function next() {
  const [first] = waiting;
  if (first === undefined) return;
  if (ended !== "") return giveUp(ended);
  deadline = cpuDeadline(child.pid, first.deadlineMs, expire);
  child.send(first, (error) => error && giveUp(error.message));
}

/** Passes on what there is to the first call. @param {Answer} message */
function pass(message) {
  deadline?.stop();
  const done = waiting.shift();
  if (done?.name === "load" && message.error === undefined) loaded = { ...done, call: NOBODY };
  port.postMessage(message);
  Atomics.add(answers, 0, 1);
  Atomics.notify(answers, 0);
}

/** @param {Answer} message */
function answer(message) {
  pass(message);
  next();
}

/** From now on every call fails. @param {string} reason */
function giveUp(reason) {
  ended ||= reason;
  while (waiting[0] !== undefined) pass({ call: waiting[0].call, error: ended });
}

/** A process that spins in a text is replaced by one that loads the same; one that spins in the loading is not. @param {string} limit */
function expire(limit) {
  const error = `took more than ${limit}`;
  const [first] = waiting;
  const spun = child;
  if (first === undefined || loaded === undefined || first.name === "load") giveUp(error);
  else {
    child = start();
    waiting.splice(1, 0, loaded);
    answer({ call: first.call, error });
  }
  spun.kill("SIGKILL");
}

port.on("message", (/** @type {Call} */ message) => {
  if (waiting.push(message) === 1) next();
});
