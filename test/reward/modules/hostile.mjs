// A reward that does what its sample says, as the worst of users' code might.
import { spawn } from "node:child_process";

const hold = [];

const acts = {
  exit: () => process.exit(3),
  kill: () => process.kill(process.pid, "SIGKILL"),
  abort: () => process.abort(),
  loop: () => {
    for (;;);
  },
  never: () => new Promise(() => {}),
  "late loop": async () => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (;;);
  },
  pattern: () => /^(a+)+$/.test(`${"a".repeat(40)}b`),
  buffers: () => {
    for (;;) hold.push(Buffer.alloc(64 << 20, 1));
  },
  heap: () => {
    for (;;) hold.push(new Array(10_000).fill({}));
  },
  "throw null": () => {
    throw null;
  },
  "throw trap": () => {
    throw {
      get message() {
        throw new Error("no message");
      },
      toJSON() {
        throw new Error("no JSON");
      },
    };
  },
  reject: () => Promise.reject("a text"),
  error: () => {
    throw new RangeError("out of range");
  },
  stray: () => {
    setTimeout(() => {
      throw new Error("stray");
    });
    return new Promise(() => {});
  },
  unhandled: () => {
    void Promise.reject(new Error("unhandled"));
    return new Promise(() => {});
  },
  orphan: ({ record }) => {
    spawn("sleep", [record.answer], { stdio: "ignore" });
    for (;;);
  },
  NaN: () => Number.NaN,
  undefined: () => undefined,
  text: () => "0.5",
  list: () => [1],
  print: () => {
    console.log("printed by a reward");
    process.stdout.write("written by a reward\n");
    return 7;
  },
};

export default function hostile(input) {
  const act = acts[input.completion];
  return act === undefined ? input.completion.length : act(input);
}
