// Rows of a data file by its ending: JSON Lines (.jsonl and all others), a JSON list (.json), Parquet (.parquet); .gz of the first two.
// Every row knows its place. Leaves out CSV, globs and folders.
import { createReadStream } from "node:fs";
import { InputError } from "../errors.js";
import { readJsonList } from "./json-list.js";
import { readJsonl } from "./jsonl.js";
import { readParquet } from "./parquet.js";

/** One row of a file. */
export interface Row {
  readonly value: unknown;
  /** "file:12" of a line and "file row 12" of a row, counted from 1. */
  readonly place: string;
  /** Of the error for a row that is not as expected. */
  readonly code: "JSONL_LINE" | "DATA_ROW";
}

const asItIs = (value: unknown): unknown => value;

/** Streams the rows of a file in file order. Throws InputError JSONL_*, JSON_LIST or PARQUET, which name the file. */
export async function* readRows(file: string): AsyncGenerator<Row> {
  if (file.endsWith(".parquet")) return yield* numbered(file, readParquet(file));
  if (/\.json(\.gz)?$/.test(file) && (await beginsWithList(file))) return yield* numbered(file, readJsonList(file));
  for await (const { value, line } of readJsonl(file, asItIs)) {
    yield { value, place: `${file}:${line}`, code: "JSONL_LINE" };
  }
}

/** The error of a row: `[place] message`. */
export function rowError(row: Row, message: string, cause?: unknown): InputError {
  return new InputError(row.code, `[${row.place}] ${message}`, { cause });
}

async function* numbered(file: string, values: AsyncIterable<unknown>): AsyncGenerator<Row> {
  let row = 0;
  for await (const value of values) yield { value, place: `${file} row ${++row}`, code: "DATA_ROW" };
}

/** Files called .json hold a list or, on the hub, often JSON Lines. A compressed one is taken for a list. */
async function beginsWithList(file: string): Promise<boolean> {
  if (file.endsWith(".gz")) return true;
  try {
    for await (const chunk of createReadStream(file, { encoding: "utf8" })) {
      const text = String(chunk).replace("\ufeff", "").trimStart();
      if (text !== "") return text.startsWith("[");
    }
  } catch {
    // A file that cannot be read is told by the reader of JSON Lines.
  }
  return false;
}
