// Sources of the setting `data`: columns, filters, limits, and the counts of what was left out.
import { createHash } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { dataSetting, mixturePart, type SourceSettings, sourcesOf } from "../../src/config/data.js";
import { resolveSettings } from "../../src/config/resolve.js";
import { openSource } from "../../src/data/source.js";
import { folderOf } from "../helpers/files.js";

const schema = z.strictObject({ data: dataSetting("", "Rows."), mixture: mixturePart() });
const resolve = (data: unknown) => resolveSettings("r", schema, { data });

function file(...rows: unknown[]): string {
  return join(folderOf({ "x.jsonl": rows.map((row) => JSON.stringify(row)).join("\n") }), "x.jsonl");
}

function source(settings: Partial<SourceSettings>): SourceSettings {
  return sourcesOf(resolve([settings]).data)[0]!;
}

async function read(settings: Partial<SourceSettings>) {
  const open = await openSource(source(settings));
  const values: unknown[] = [];
  for await (const row of open.rows()) values.push(row.value);
  return { values, report: open.report };
}

const rows = [
  { question: "1+1", answer: "2", level: 1, info: { kind: "sum" } },
  { question: "2*3", answer: "6", level: 2, info: { kind: "product" } },
  { question: "4+4", answer: "8", level: 3, info: { kind: "sum" } },
];

describe("columns, where and limit", () => {
  test("columns get the recipe's names, also from inside of a column; others stay", async () => {
    const { values } = await read({ source: file(rows[0]), columns: { prompt: "question", kind: "info.kind" } });
    expect(values).toEqual([{ ...rows[0], prompt: "1+1", kind: "sum" }]);
  });

  test("a column whose own name has a dot goes first, and two may change places", async () => {
    const path = file({ "a.b": 1, a: { b: 2 }, c: 3 });
    const { values } = await read({ source: path, columns: { a: "a.b", c: "a" } });
    expect(values).toEqual([{ "a.b": 1, a: 1, c: { b: 2 } }]);
  });

  test("where keeps equal values or one of several, and counts the others", async () => {
    const one = await read({ source: file(...rows), where: { "info.kind": "sum" } });
    expect(one.values).toEqual([rows[0], rows[2]]);
    expect(one.report).toMatchObject({ rows: 3, dropped: { where: 1 } });
    const both = await read({ source: file(...rows), where: { "info.kind": "sum", level: [2, 3] } });
    expect(both.values).toEqual([rows[2]]);
    expect(both.report.dropped).toEqual({ where: 2 });
  });

  test("limit counts the rows that are kept; behind it nothing is read", async () => {
    const path = file(...rows, "not an object");
    const { values, report } = await read({ source: path, where: { level: [2, 3] }, limit: 1 });
    expect(values).toEqual([rows[1]]);
    const sha256 = createHash("sha256")
      .update(`${JSON.stringify(rows[1])}\n`)
      .digest("hex");
    expect(report).toEqual({ source: path, rows: 2, dropped: { where: 1 }, truncated: 0, sha256 });
  });
});

describe("bad input names file and row", () => {
  test.each([
    [
      "a column that is not there",
      { columns: { prompt: "query" } },
      /:1\] expected a column "query", got the columns question, answer, level, info; correct/,
    ],
    ["a field that is not there", { columns: { prompt: "info.size" } }, /:1\] expected a column "info\.size"/],
    ["a filter on such a column", { where: { size: 1 } }, /:1\] expected a column "size"/],
  ])("%s", async (_, settings, message) => {
    const reading = read({ source: file(...rows), ...settings });
    await expect(reading).rejects.toMatchObject({ code: "JSONL_LINE", message: expect.stringMatching(message) });
  });

  test("a row that is no object", async () => {
    await expect(read({ source: file({}, [1]) })).rejects.toThrow(/x\.jsonl:2\] expected an object .* got a list/);
    await expect(read({ source: file({}, "text") })).rejects.toThrow(/x\.jsonl:2\] expected an object .* got "text"/);
  });
});

describe("settings", () => {
  test("a path, a reference and a list, each complete", () => {
    const complete = {
      hub: "",
      revision: "main",
      file: "",
      split: "train",
      weight: 1,
      columns: {},
      where: {},
      limit: 0,
    };
    expect(sourcesOf(resolve("x.jsonl").data)).toEqual([{ source: "x.jsonl", ...complete }]);
    const list = [
      { source: "x.jsonl", weight: 3 },
      { hub: "a/b", split: "test" },
    ];
    expect(sourcesOf(resolve(list).data)).toEqual([
      { ...complete, source: "x.jsonl", weight: 3 },
      { ...complete, source: "", hub: "a/b", split: "test" },
    ]);
    expect(resolve("x").mixture).toEqual({ exhausted: "repeat" });
  });

  test.each([
    [
      "an unknown key",
      [{ source: "x", weigth: 2 }],
      "RECIPE_KEY",
      /"data\.0\.weigth"; did you mean "data\[\]\.weight"/,
    ],
    [
      "a weight of 0",
      [{ source: "x" }, { source: "y", weight: 0 }],
      "RECIPE_VALUE",
      /data\.1\.weight: expected number in \(0, 1000000000\], got 0/,
    ],
    ["both kinds of source", [{ source: "x", hub: "a/b" }], "RECIPE_VALUE", /data\.0: expected either source or hub/],
    ["no source", [{ weight: 2 }], "RECIPE_VALUE", /data\.0: expected either source or hub/],
    ["an empty list", [], "RECIPE_VALUE", /data: expected/],
    ["a number", 3, "RECIPE_VALUE", /data: expected .*got 3/],
  ])("%s", (_, data, code, message) => {
    expect(() => resolve(data)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });
});
