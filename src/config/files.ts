// Small files of a model folder, text or JSON: read whole, with an upper size, written whole or not at all, every failure told by name.
import { randomUUID } from "node:crypto";
import { open, rename, rm, stat } from "node:fs/promises";
import { InputError } from "../errors.js";
import { isTooDeep, SHALLOW } from "./depth.js";
import { isObject, type JsonObject } from "./json.js";

export { isObject, type JsonObject };

/** What a file is read as. */
export interface Reading {
  /** Of the error for a file that is not as expected. */
  readonly code: string;
  /** Default 16 MiB. */
  readonly maxBytes?: number;
}

const MAX_BYTES = 16 * 1024 * 1024;

export async function exists(path: string): Promise<boolean> {
  return (await kindOf(path)) !== "nothing";
}

/** Throws InputError MODEL_MISSING for a path that is not a folder. */
export async function requireModelFolder(folder: string): Promise<void> {
  const kind = await kindOf(folder);
  if (kind === "folder") return;
  const got = kind === "nothing" ? "nothing there" : "a file";
  throw new InputError("MODEL_MISSING", `[${folder}] expected a model folder, got ${got}; check the path`);
}

/** The object in a JSON file, or undefined where there is no file. Throws InputError `reading.code` and FILE_IO. */
export async function readJsonObject(path: string, reading: Reading): Promise<JsonObject | undefined> {
  const text = await readSmallText(path, reading);
  if (text === undefined) return undefined;
  const value = parse(path, text, reading);
  if (isObject(value)) return value;
  throw invalid(path, "a JSON object", Array.isArray(value) ? "a list" : String(value), reading);
}

/** The text of a file, or undefined where there is none. Throws InputError `reading.code` and FILE_IO. */
export async function readSmallText(path: string, reading: Reading): Promise<string | undefined> {
  const kind = await kindOf(path);
  if (kind === "nothing") return undefined;
  // Opening a pipe would wait for its writer.
  if (kind !== "file") throw invalid(path, "a file", "a folder, pipe or device", reading);
  return readText(path, reading);
}

/** Writes beside the target, then renames: a reader sees the old file or the new one. */
export async function writeJsonObject(path: string, value: JsonObject): Promise<void> {
  const temporary = `${path}.tmp-${randomUUID()}`;
  try {
    await using file = await open(temporary, "w");
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // what is wrong with the name was said already
    const reason = (error as Error).message;
    throw new InputError(
      "FILE_IO",
      `[${path}] expected a file that can be written, got ${reason}; check the path and the disk`,
      { cause: error },
    );
  }
}

async function kindOf(path: string): Promise<"nothing" | "file" | "folder" | "other"> {
  try {
    const info = await stat(path);
    return info.isFile() ? "file" : info.isDirectory() ? "folder" : "other";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return "nothing";
    throw new InputError("FILE_IO", `[${path}] expected a path that can be read, got ${code}; check its permissions`, {
      cause: error,
    });
  }
}

async function readText(path: string, reading: Reading): Promise<string> {
  const { maxBytes = MAX_BYTES } = reading;
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    if (size > maxBytes) throw invalid(path, `at most ${maxBytes} bytes`, `${size}`, reading);
    const text = decodeText(await file.readFile());
    if (text === null) throw invalid(path, "UTF-8 text", "bytes that are not UTF-8", reading);
    return text;
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      "FILE_IO",
      `[${path}] expected a file that can be read, got ${(error as Error).message}; check its permissions`,
      {
        cause: error,
      },
    );
  }
}

/** UTF-8 as text, a byte order mark kept; null for other bytes. */
export function decodeText(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function parse(path: string, text: string, reading: Reading): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(path, "JSON", (error as Error).message, reading);
  }
  if (isTooDeep(value)) throw invalid(path, SHALLOW, "deeper ones", reading);
  return value;
}

function invalid(path: string, expected: string, got: string, { code }: Reading): InputError {
  return new InputError(code, `[${path}] expected ${expected}, got ${got}; copy the file again or mend it`);
}
