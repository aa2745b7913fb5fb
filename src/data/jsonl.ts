// JSON Lines files, .gz ones too, as a stream of records that know their line. Leaves out remote files and writing.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { isTooDeep, SHALLOW } from "../config/depth.js";
import { InputError } from "../errors.js";

/** One value of a file and the line it stands on, counted from 1. */
export interface JsonlRecord<T = unknown> {
  readonly value: T;
  readonly line: number;
}

/** Turns one JSON value into a record, or throws an Error whose message says what was expected and what came. */
export type ParseRecord<T> = (value: unknown) => T;

const maxLineBytes = 16 * 1024 * 1024;
const newline = 0x0a;

export interface JsonlOptions {
  /** Told of a last line that cannot be read, such as one that a killed process was writing; without it such a line is an error. */
  readonly onDamagedEnd?: (error: InputError) => void;
}

/**
 * Reads a JSONL file record by record; empty lines are skipped.
 * Throws InputError `JSONL_MISSING` (no such file) or `JSONL_LINE` (names file:line).
 */
export async function* readJsonl<T>(
  file: string,
  parse: ParseRecord<T>,
  { onDamagedEnd }: JsonlOptions = {},
): AsyncGenerator<JsonlRecord<T>> {
  await requireFile(file);
  let line = 0;
  let damaged: InputError | null = null; // until it is known whether a line follows
  for await (const bytes of splitLines(file)) {
    if (damaged !== null) throw damaged;
    line++;
    try {
      const text = decode(bytes, file, line).trim();
      if (text !== "") yield { value: parseLine(text, parse, file, line), line };
    } catch (error) {
      if (onDamagedEnd === undefined || !(error instanceof InputError)) throw error;
      damaged = error;
    }
  }
  if (damaged !== null) onDamagedEnd?.(damaged);
}

/** All records of a file, in file order. Throws as `readJsonl`, and `JSONL_EMPTY` where there is none. */
export async function loadJsonl<T>(file: string, parse: ParseRecord<T>): Promise<T[]> {
  const records: T[] = [];
  for await (const { value } of readJsonl(file, parse)) records.push(value);
  if (records.length === 0) {
    throw new InputError(
      "JSONL_EMPTY",
      `[${file}] expected at least one record, got none; put one JSON object on a line`,
    );
  }
  return records;
}

async function requireFile(file: string): Promise<void> {
  const found = await stat(file).catch(() => null);
  if (found?.isFile()) return;
  const got = found === null ? "nothing there" : "something that is not a file";
  throw new InputError("JSONL_MISSING", `[${file}] expected a JSONL file, got ${got}; check the path`);
}

async function* splitLines(file: string): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  let held = 0;
  let line = 1;
  for await (const chunk of readBytes(file)) {
    let from = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      yield Buffer.concat([...rest, chunk.subarray(from, end)]);
      rest = [];
      held = 0;
      from = end + 1;
      line++;
    }
    rest.push(chunk.subarray(from));
    held += chunk.length - from;
    if (held > maxLineBytes) throw lineError(file, line, `a line of at most ${maxLineBytes} bytes`, "a longer one");
  }
  if (held > 0) yield Buffer.concat(rest);
}

async function* readBytes(file: string): AsyncGenerator<Buffer> {
  const plain = createReadStream(file);
  if (!file.endsWith(".gz")) return yield* plain as AsyncIterable<Buffer>;
  try {
    yield* pipeline(plain, createGunzip(), () => {}) as AsyncIterable<Buffer>; // errors come through the iteration
  } catch (error) {
    const message = `[${file}] expected gzip, got ${messageOf(error)}; compress the file again`;
    throw new InputError("JSONL_GZIP", message, { cause: error });
  }
}

function decode(bytes: Buffer, file: string, line: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes); // also drops a byte order mark
  } catch {
    throw lineError(file, line, "UTF-8 text", "bytes that are not UTF-8");
  }
}

function parseLine<T>(text: string, parse: ParseRecord<T>, file: string, line: number): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw lineError(file, line, "one JSON value", `${preview(text)} (${messageOf(error)})`);
  }
  if (isTooDeep(value)) throw lineError(file, line, SHALLOW, "deeper ones");
  try {
    return parse(value);
  } catch (error) {
    throw new InputError("JSONL_LINE", `[${file}:${line}] ${messageOf(error)}`, { cause: error });
  }
}

function lineError(file: string, line: number, expected: string, got: string): InputError {
  const message = `[${file}:${line}] expected ${expected}, got ${got}; correct or remove the line`;
  return new InputError("JSONL_LINE", message);
}

const previewLength = 60;

function preview(text: string): string {
  return text.length > previewLength ? `${text.slice(0, previewLength)}...` : text;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
