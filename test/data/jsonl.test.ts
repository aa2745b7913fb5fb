// Streaming JSONL: records with their lines, errors that name file and line, seeded order that resumes.
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadJsonl, readJsonl } from "../../src/data/jsonl.js";
import { type Cursor, epochOrder, OrderedSource } from "../../src/data/order.js";
import { temporaryFolder } from "../helpers/temporary.js";

function file(content: string | Uint8Array): string {
  const path = join(temporaryFolder("jsonl"), "data.jsonl");
  writeFileSync(path, content);
  return path;
}

const any = (value: unknown) => value;

describe("readJsonl", () => {
  test("gives values with their lines, skips empty lines, takes CRLF, a byte order mark and a last line without end", async () => {
    const path = file('\ufeff{"a":1}\r\n\n  \n"\u00fc"\n3');
    const records = [];
    for await (const record of readJsonl(path, any)) records.push(record);
    expect(records).toEqual([
      { value: { a: 1 }, line: 1 },
      { value: "\u00fc", line: 4 },
      { value: 3, line: 5 },
    ]);
  });

  test("joins lines and characters that lie across read chunks", async () => {
    const long = "\u00e9".repeat(70_001);
    const path = file(`${JSON.stringify(long)}\n${JSON.stringify(`x${long}`)}\n`);
    expect(await loadJsonl(path, any)).toEqual([long, `x${long}`]);
  });

  test.each([
    ["not JSON", '1\n{"a":\n3', /data\.jsonl:2\] expected one JSON value, got \{"a":/],
    ["not UTF-8", new Uint8Array([0x31, 0x0a, 0x22, 0xff, 0x22]), /data\.jsonl:2\] expected UTF-8 text/],
    ["refused by the parser", "1\n2\n3", /data\.jsonl:3\] expected less than 3, got 3/],
  ])("%s: names the line", async (_, content, message) => {
    const parse = (value: unknown) => {
      if (value === 3) throw new Error("expected less than 3, got 3");
      return value;
    };
    const reading = loadJsonl(file(content), parse);
    await expect(reading).rejects.toMatchObject({ code: "JSONL_LINE", message: expect.stringMatching(message) });
  });

  test("a missing file, a folder and an empty file are errors by name", async () => {
    await expect(loadJsonl("/nowhere/x.jsonl", any)).rejects.toMatchObject({ code: "JSONL_MISSING" });
    await expect(loadJsonl(tmpdir(), any)).rejects.toMatchObject({ code: "JSONL_MISSING" });
    await expect(loadJsonl(file("\n \n"), any)).rejects.toMatchObject({ code: "JSONL_EMPTY" });
  });
});

describe("seeded order", () => {
  const records = Array.from({ length: 13 }, (_, i) => i);
  const start: Cursor = { seed: 5, epoch: 0, position: 0 };

  test("an epoch is a permutation, another seed or epoch another one", () => {
    const order = [...epochOrder(101, 1, 0)];
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 101 }, (_, i) => i));
    expect([...epochOrder(101, 1, 1)]).not.toEqual(order);
    expect([...epochOrder(101, 2, 0)]).not.toEqual(order);
    expect([...epochOrder(101, 1, 0)]).toEqual(order);
  });

  test("every record comes once an epoch", () => {
    const source = new OrderedSource(records, start);
    for (let epoch = 0; epoch < 3; epoch++) {
      expect(source.next(13).sort((a, b) => a - b)).toEqual(records);
    }
  });

  test("a source resumed from any cursor, through JSON, goes on as the first", () => {
    for (let cut = 0; cut <= 30; cut++) {
      const whole = new OrderedSource(records, start);
      whole.next(cut);
      const resumed = new OrderedSource(records, JSON.parse(JSON.stringify(whole.cursor)));
      expect(resumed.next(17)).toEqual(whole.next(17));
      expect(resumed.cursor).toEqual(whole.cursor);
    }
  });

  test("so does one that takes over a saved state; a state of other data is refused", () => {
    const whole = new OrderedSource(records, start);
    whole.next(20);
    const state = JSON.parse(JSON.stringify(whole.save()));
    const resumed = new OrderedSource(records, start);
    resumed.restore(state);
    expect(resumed.next(17)).toEqual(whole.next(17));
    const other = new OrderedSource(records.slice(1), start);
    expect(() => other.restore(state)).toThrow(/expected the 13 records that it was made on, got 12/);
    expect(other.cursor).toEqual(start);
  });

  test("a cursor of other data is refused", () => {
    expect(() => new OrderedSource([1, 2], { ...start, position: 3 })).toThrow(/position in 0\.\.2, got 3/);
    expect(() => new OrderedSource([], start)).toThrow(/at least one record/);
  });
});
