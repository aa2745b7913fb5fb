// Every file that reads what comes from outside belongs to a fuzz target, and every literal that is no error code is still there.
import { describe, expect, test } from "vitest";
import { codesIn, codesOf, filesWithCodes, staleLiterals } from "./codes.js";
import { FOLDERS, NO_READERS, OTHERS, READERS } from "./readers.js";

describe("the readers", () => {
  const claimed = [...Object.values(READERS).flat(), ...Object.keys(OTHERS), ...NO_READERS];

  test("every file with an error code belongs to one target", () => {
    const files = FOLDERS.flatMap(filesWithCodes);
    expect(files.length).toBeGreaterThan(15);
    expect(files.filter((file) => !claimed.includes(file))).toEqual([]);
    expect(claimed.filter((file, i) => claimed.indexOf(file) !== i)).toEqual([]);
  });

  test.each(Object.entries(OTHERS))("%s has its codes tested elsewhere, in %s", (file, place) => {
    const tested = codesOf([place]);
    expect([...codesOf([file])].filter((code) => !tested.has(code))).toEqual([]);
  });
});

describe("the scan", () => {
  test.each([
    ['throw new InputError("JSONL_LINE", message);', ["JSONL_LINE"]],
    ['const code = wrong ? "FILE_IO" : "FILE_MISSING";', ["FILE_IO", "FILE_MISSING"]],
    ['ZAZEN_CHECK(a && (b || c), "PARQUET", "[", path, "] expected ");', ["PARQUET"]],
    ['readonly code: "DATA_ROW" | "JSONL_LINE";', ["DATA_ROW", "JSONL_LINE"]],
    ['  // throws "NO_CODE"\n  /** "NONE_HERE" */\n   * "NOR_HERE"', []],
    ['if (config.peft_type !== "LORA" || error.code === "ENOENT") return "F32";', []],
  ])("%s", (source, codes) => expect([...codesIn(source)].sort()).toEqual([...codes].sort()));

  test("no named literal is gone", () => expect(staleLiterals(["src", "native"])).toEqual([]));
});
