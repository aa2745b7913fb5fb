// Small JSON files of a model folder: read whole, with an upper size, written whole or not at all, every failure told by name.
import { open, rename, rm, stat } from "node:fs/promises";
import { InputError } from "../errors.js";

export type JsonObject = { readonly [key: string]: unknown };

const MAX_BYTES = 16 * 1024 * 1024;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export async function isFolder(path: string): Promise<boolean> {
  return (await kindOf(path)) === "folder";
}

export async function exists(path: string): Promise<boolean> {
  return (await kindOf(path)) !== "nothing";
}

/** The object in a JSON file, or undefined where there is no file. Throws CONFIG_INVALID. */
export async function readJsonObject(path: string): Promise<JsonObject | undefined> {
  const kind = await kindOf(path);
  if (kind === "nothing") return undefined;
  // Opening a pipe would wait for its writer.
  if (kind !== "file") throw invalid(path, "a file", "a folder, pipe or device");
  const value = parse(path, await readText(path));
  if (!isObject(value)) throw invalid(path, "a JSON object", Array.isArray(value) ? "a list" : String(value));
  return value;
}

/** Writes beside the target, then renames: a reader sees the old file or the new one. */
export async function writeJsonObject(path: string, value: JsonObject): Promise<void> {
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    await using file = await open(temporary, "w");
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    const reason = (error as Error).message;
    throw new InputError("FILE_IO", `[${path}] expected a file that can be written, got ${reason}`, { cause: error });
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

async function readText(path: string): Promise<string> {
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    if (size > MAX_BYTES) throw invalid(path, `at most ${MAX_BYTES} bytes`, `${size}`);
    return await file.readFile("utf8");
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError("FILE_IO", `[${path}] expected a file that can be read, got ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function parse(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(path, "JSON", (error as Error).message);
  }
}

function invalid(path: string, expected: string, got: string): InputError {
  return new InputError("CONFIG_INVALID", `[${path}] expected ${expected}, got ${got}; copy the file again or mend it`);
}
