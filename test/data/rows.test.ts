// Files as rows: Parquet against pyarrow's rows, JSON lists, gzip, and what is said about broken ones.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type Row, readRows } from "../../src/data/rows.js";
import { fixture, folderOf, shared } from "../helpers/files.js";

async function all(file: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of readRows(file)) rows.push(row);
  return rows;
}

const values = (rows: readonly Row[]) => rows.map(({ value }) => value);

function write(name: string, content: string | Uint8Array): string {
  return join(folderOf({ [name]: content }), name);
}

describe("Parquet", () => {
  const expected: unknown = JSON.parse(readFileSync(fixture("parquet/rows.json"), "utf8"));

  test.each(["none", "snappy", "gzip", "zstd", "brotli", "lz4"])(
    "%s: pyarrow's rows, lists and structs",
    async (codec) => {
      const rows = await all(fixture(`parquet/${codec}.parquet`));
      expect(values(rows)).toEqual(expected);
      expect(rows[22]).toMatchObject({ place: `${fixture(`parquet/${codec}.parquet`)} row 23`, code: "DATA_ROW" });
    },
  );

  test("files that are cut, spoilt or missing are errors that name the file", async () => {
    const whole = readFileSync(fixture("parquet/zstd.parquet"));
    const spoilt = Uint8Array.from(whole);
    spoilt.fill(0x55, 4, 400);
    const failing = (file: string) =>
      expect(all(file)).rejects.toMatchObject({
        name: "InputError",
        code: "PARQUET",
        message: expect.stringContaining(`[${file}] expected`),
      });
    await failing(write("cut.parquet", whole.subarray(0, whole.length / 2)));
    await failing(write("text.parquet", "not Parquet"));
    await failing(write("empty.parquet", ""));
    await failing(write("spoilt.parquet", spoilt));
    await failing("/nowhere/x.parquet");
    await failing(join(folderOf({ "folder.parquet/x": "" }), "folder.parquet"));
  });
});

describe("JSON", () => {
  test("a list, plain or gzip; one record a line under the same ending", async () => {
    const list = '\ufeff \n[{"a": 1},\n {"a": "\u00e9"}]\n';
    for (const file of [write("x.json", list), write("x.json.gz", gzipSync(list))]) {
      expect(await all(file)).toEqual([
        { value: { a: 1 }, place: `${file} row 1`, code: "DATA_ROW" },
        { value: { a: "\u00e9" }, place: `${file} row 2`, code: "DATA_ROW" },
      ]);
    }
    const lines = write("lines.json", '{"a": 1}\n{"a": 2}\n');
    expect((await all(lines)).map(({ place }) => place)).toEqual([`${lines}:1`, `${lines}:2`]);
  });

  test.each([
    ["cut", "[1, 2"],
    ["not UTF-8", new Uint8Array([0x5b, 0x22, 0xff, 0x22, 0x5d])],
  ])("a list that is %s", async (_, content) => {
    await expect(all(write("x.json", content))).rejects.toMatchObject({
      code: "JSON_LIST",
      message: expect.stringMatching(/x\.json\] expected a JSON list, got/),
    });
  });

  test("compressed files that are something else", async () => {
    await expect(all(write("x.json.gz", gzipSync("3")))).rejects.toMatchObject({ code: "JSON_LIST" });
    await expect(all(write("x.json.gz", "[]"))).rejects.toMatchObject({ code: "JSON_LIST" });
    await expect(all(write("x.jsonl.gz", "{}\n"))).rejects.toMatchObject({ code: "JSONL_GZIP" });
    await expect(all("/nowhere/x.json")).rejects.toMatchObject({ code: "JSONL_MISSING" });
  });

  test("gzip JSON Lines", async () => {
    const file = write("x.jsonl.gz", gzipSync('{"a": 1}\n\n[2]'));
    expect((await all(file)).map(({ value, place }) => [value, place])).toEqual([
      [{ a: 1 }, `${file}:1`],
      [[2], `${file}:3`],
    ]);
  });
});

describe.skipIf(!existsSync(shared("data")))("shared files", () => {
  test.each([
    ["gsm8k/train.jsonl", 7_473, "answer"],
    ["math500/test.json", 500, "solution"],
    ["preferences/dpo_en_demo.json", 300, "chosen"],
    ["wildchat_if/val.parquet", 250, "prompt"],
    ["countdown/test.parquet", 1_024, "nums"],
  ])("%s has %i rows", async (file, count, column) => {
    const rows = await all(shared(`data/${file}`));
    expect(rows.length).toBe(count);
    expect(rows.every(({ value }) => (value as Record<string, unknown>)[column] !== undefined)).toBe(true);
  });

  test("numbers and chat lists of Parquet are plain values", async () => {
    const [countdown] = await all(shared("data/countdown/train.parquet"));
    expect(countdown!.value).toMatchObject({
      target: 98,
      nums: [44, 19, 35],
      reward_model: { ground_truth: { target: 98 } },
    });
    const [chat] = await all(shared("data/wildchat_if/val.parquet"));
    expect(chat!.value).toMatchObject({ prompt: [{ role: "user", content: expect.stringMatching(/^Given the/) }] });
  });
});
