// @ts-check
// A thread between the caller and the process of tokenizer-child.mjs, so that the caller can wait for an answer without its event loop, as
// synchronous functions must. It passes calls on, and ends the process when that is past its deadline. Runs no code of strangers itself.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { workerData } from "node:worker_threads";

/** Beyond the deadline that the process keeps itself, for a process that no longer can. */
const GRACE_MS = 2_000;

/** @type {{ port: import("node:worker_threads").MessagePort, answers: Int32Array, heapMb: number }} */
const { port, answers, heapMb } = workerData;

const child = fork(fileURLToPath(new URL("./tokenizer-child.mjs", import.meta.url)), {
  execArgv: [`--max-old-space-size=${heapMb}`],
  stdio: ["ignore", "ignore", "ignore", "ipc"],
  env: {},
  serialization: "advanced",
});

/** Deadlines of the calls that wait for an answer. @type {Map<number, NodeJS.Timeout>} */
const waiting = new Map();
/** Why the process is no more. */
let ended = "";

/** @param {{ call: number, value?: unknown, error?: string, ended?: boolean }} message */
function answer(message) {
  clearTimeout(waiting.get(message.call));
  waiting.delete(message.call);
  port.postMessage(message);
  Atomics.add(answers, 0, 1);
  Atomics.notify(answers, 0);
}

/** @param {string} reason */
function end(reason) {
  ended ||= reason;
  for (const call of [...waiting.keys()]) answer({ call, error: ended, ended: true });
}

/** @param {{ call: number, deadlineMs: number }} message */
function pass(message) {
  const { call, deadlineMs } = message;
  const expire = () => {
    end(`took more than ${deadlineMs} ms`);
    child.kill("SIGKILL");
  };
  waiting.set(call, setTimeout(expire, deadlineMs + GRACE_MS));
  if (ended !== "") return end(ended);
  child.send(message, (error) => error && end(error.message));
}

port.on("message", pass);
child.on("message", answer);
child.on("error", (error) => end(error.message));
child.on("close", (code, signal) =>
  end(`its process ended (${signal ?? `exit code ${code}`}), perhaps over ${heapMb} MB of memory`),
);
