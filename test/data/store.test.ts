// Records by index, in memory and spilled: what comes back is what was put in, and no file is left.
import { existsSync, readdirSync, readlinkSync, truncateSync } from "node:fs";
import { expect, test } from "vitest";
import { OrderedSource } from "../../src/data/order.js";
import { random } from "../../src/data/random.js";
import { RecordStore } from "../../src/data/store.js";
import { temporaryFolder } from "../helpers/temporary.js";

const text = {
  encode: (record: string) => new TextEncoder().encode(record),
  decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes),
};

const MIB = 1 << 20; // of a chunk

/** Lengths from 0 over a few bytes to more than a chunk. */
function records(): string[] {
  const draws = random(3, 1);
  const short = Array.from({ length: 2_500 }, (_, i) => `${i}:`.repeat(draws.int(200)));
  return [...short, "x".repeat(MIB - 1), "y".repeat(2 * MIB + 3), "", "z", ...short];
}

test.each([
  ["in memory", 64 * MIB],
  ["all spilled", 0],
  ["spilled inside of a chunk", MIB + 12_345],
  ["spilled at the edge of a chunk", 2 * MIB],
])("%s", (_, memoryBytes) => {
  const folder = temporaryFolder("store");
  using store = new RecordStore(text, { memoryBytes, folder });
  const expected = records();
  for (const record of expected) store.push(record);
  expect(store.length).toBe(expected.length);
  const draws = random(4, 1);
  for (let n = 0; n < 3_000; n++) {
    const index = draws.int(expected.length);
    if (store.at(index) !== expected[index]) throw new Error(`record ${index}`);
  }
  expect([store.at(-1), store.at(expected.length), store.at(0.5)]).toEqual([undefined, undefined, undefined]);
  expect(readdirSync(folder)).toEqual([]);
});

/** What a descriptor leads to; "" for one that is gone by now. */
function linkOf(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}

test.skipIf(!existsSync("/proc/self/fd"))("a file that lost its bytes is an error by name", () => {
  const folder = temporaryFolder("store");
  using store = new RecordStore(text, { memoryBytes: 0, folder });
  store.push("abc");
  const files = readdirSync("/proc/self/fd").map((name) => `/proc/self/fd/${name}`);
  truncateSync(files.find((file) => linkOf(file).startsWith(folder))!, 0);
  expect(() => store.at(0)).toThrow(expect.objectContaining({ code: "DISK" }));
});

test("a store is a source like a list", () => {
  using store = new RecordStore(text);
  const list = Array.from({ length: 20 }, (_, i) => String(i));
  for (const record of list) store.push(record);
  const cursor = { seed: 1, epoch: 0, position: 0 };
  expect(new OrderedSource(store, cursor).next(50)).toEqual(new OrderedSource(list, cursor).next(50));
});
