// The fuzz itself sees what it is there for: errors without a type, without form or too long, loops, memory, codes that nothing reaches.
import { execFile } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { InputError } from "../../src/errors.js";
import { root } from "./codes.js";
import { faultOf, runDirected, runFuzz, type Target } from "./fuzz.js";
import { damageBytes, mutateJsonFile, mutateLines, mutateValue } from "./mutate.js";

const good = new InputError("SOME_CODE", "[file] expected a number, got x; correct it");

function targetThat(read: (folder: string) => void, directed: Target["directed"] = []): Target {
  const make = () => ({ "a/b.json": "1" });
  return {
    name: "harness",
    inputs: { quick: 5, full: 5 },
    readers: [],
    make,
    read: async (folder) => read(folder),
    directed,
  };
}

describe("a run", () => {
  test("counts what is accepted and what is refused", async () => {
    let n = 0;
    const report = await runFuzz(
      targetThat(() => {
        if (n++ % 2 === 0) throw good;
      }),
    );
    expect(report).toMatchObject({ inputs: 5, accepted: 2, refused: { SOME_CODE: 3 } });
  });

  test("ends at an error without a type, names the input and keeps it", async () => {
    const kept = join(root, "build", "fuzz", "harness-0");
    rmSync(kept, { recursive: true, force: true });
    const failing = runFuzz(targetThat(() => void (null as unknown as string).length));
    await expect(failing).rejects.toThrow(/fuzz harness, input 0: an untyped TypeError.*ZAZEN_FUZZ_INPUT=0/s);
    expect(existsSync(join(kept, "a", "b.json"))).toBe(true);
    rmSync(kept, { recursive: true });
  });

  test("a directed input has to give its own code", async () => {
    const throws = () => {
      throw good;
    };
    expect(await runDirected(targetThat(throws, [["SOME_CODE", {}]]))).toEqual(new Set(["SOME_CODE"]));
    await expect(runDirected(targetThat(throws, [["OTHER_CODE", {}]]))).rejects.toThrow("expected OTHER_CODE");
    await expect(runDirected(targetThat(() => {}, [["OTHER_CODE", {}]]))).rejects.toThrow("got none");
  });
});

describe("an error is as it should be", () => {
  test("one of the house is", () => expect(faultOf(good)).toBeNull());

  test.each([
    ["no type", new RangeError("Maximum call stack size exceeded"), "untyped RangeError"],
    ["no error", "text", "untyped text"],
    ["no place", new InputError("X_Y", "expected a, got b; do c"), "without the form"],
    ["no expectation", new InputError("X_Y", "[a] cannot open: b; do c"), "without the form"],
    ["no advice", new InputError("X_Y", "[a] expected b, got c"), "without the form"],
  ])("one of %s is not", (_, error, fault) => expect(faultOf(error)).toContain(fault));
});

describe("an input that does not end, or fills the memory, ends the process by name", () => {
  const run = (body: string) => {
    const script =
      `const { Worker } = require("node:worker_threads");` +
      `new Worker(${JSON.stringify(join(root, "test/fuzz/watchdog.mjs"))}, { workerData: { name: "x", again: "SEED=1 INPUT=#",` +
      ` progress: new Int32Array(new SharedArrayBuffer(4)).fill(7), deadlineMs: 1000, mostBytes: 2 ** 28 } });` +
      `setTimeout(() => { ${body} }, 500);`;
    return promisify(execFile)(process.execPath, ["--eval", script], { timeout: 60_000 });
  };

  test.each([
    ["a loop", "for (;;);", /fuzz x, input 7: no end within 1000 ms; again: SEED=1 INPUT=7/],
    ["memory", "const all = []; for (;;) all.push(Buffer.alloc(2 ** 24, 1));", /fuzz x, input 7: \d+ bytes of memory/],
  ])("%s", async (_, body, message) => {
    await expect(run(body)).rejects.toMatchObject({ signal: "SIGKILL", stderr: expect.stringMatching(message) });
  });
});

describe("mutations", () => {
  const value = { a: [1, "x", null], b: { c: true, d: 2.5 } };

  test("are a function of the stream, and differ from one to the next", () => {
    const all = (seed: number) =>
      Array.from({ length: 200 }, (_, n) => {
        const stream = random(seed, n);
        return [
          mutateValue(value, stream, ["word"]),
          mutateJsonFile(value, stream, ["word"]).toString("hex"),
          mutateLines("a: 1\nb: 2", stream, ["piece"]),
          damageBytes(Buffer.from("bytes"), stream).toString("hex"),
        ].join("\n");
      });
    expect(all(1)).toEqual(all(1));
    expect(new Set(all(1)).size).toBeGreaterThan(190);
    expect(all(2)).not.toEqual(all(1));
  });

  test("reach what a reader has to stand: repeated keys, nesting, edges, long texts, bytes that are no UTF-8", () => {
    const texts = Array.from({ length: 2_000 }, (_, n) => mutateJsonFile(value, random(3, n), ["word"]));
    const some = (test: (text: string) => boolean) => texts.filter((text) => test(text.toString("latin1"))).length;
    expect(some((text) => text.split('"a":').length > 2)).toBeGreaterThan(20);
    expect(some((text) => /\[{200}/.test(text) || text.includes('{"a":{"a":{"a":{"a":'))).toBeGreaterThan(20);
    expect(some((text) => /1e400|9007199254740993|4294967296/.test(text))).toBeGreaterThan(20);
    expect(some((text) => text.length > 5_000)).toBeGreaterThan(20);
    expect(texts.filter((text) => text.toString().includes("\ufffd")).length).toBeGreaterThan(20);
    expect(some((text) => text.includes('"__proto__":'))).toBeGreaterThan(5);
    expect(texts.filter((text) => isJson(text.toString())).length).toBeGreaterThan(500);
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
