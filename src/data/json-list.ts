// JSON files that hold one list of records. JSON.parse needs the whole text, so the file has an upper size.
import { readFile, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { isTooDeep, SHALLOW } from "../config/depth.js";
import { InputError } from "../errors.js";

/** Strings end at 2^29 characters; larger data belongs in JSON Lines or Parquet. */
const MAX_BYTES = 256 * 1024 * 1024;

/** The values of a list. Throws InputError JSON_LIST. */
export async function* readJsonList(file: string): AsyncGenerator<unknown> {
  const { size } = await stat(file);
  if (size > MAX_BYTES) throw listError(file, `at most ${MAX_BYTES} bytes of JSON`, `${size}`);
  let value: unknown;
  try {
    value = JSON.parse(await readText(file));
  } catch (error) {
    throw listError(file, "a JSON list", (error as Error).message, error);
  }
  if (!Array.isArray(value)) throw listError(file, "a JSON list", typeof value);
  if (value.some((row) => isTooDeep(row))) throw listError(file, SHALLOW, "deeper ones");
  yield* value;
}

async function readText(file: string): Promise<string> {
  const bytes = await readFile(file);
  const plain = file.endsWith(".gz") ? await promisify(gunzip)(bytes, { maxOutputLength: MAX_BYTES }) : bytes;
  return new TextDecoder("utf-8", { fatal: true }).decode(plain);
}

function listError(file: string, expected: string, got: string, cause?: unknown): InputError {
  return new InputError(
    "JSON_LIST",
    `[${file}] expected ${expected}, got ${got}; correct the file, or write one record a line as .jsonl`,
    { cause },
  );
}
