// One file of the hub into the cache: continued where an earlier attempt stopped, repeated when the connection breaks, and checked by size
// and hash before it counts. Leaves out locks: two processes that fetch the same file at once may spoil it, which the hash tells.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { InputError } from "../errors.js";
import type { HubOptions } from "./hub.js";
import { type Hub, HubTimeout, hubFailure } from "./hub-fetch.js";

export interface HubFile {
  /** Path in the data set. */
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file, or git's hash of a small one. */
  readonly hash: string;
}

const ATTEMPTS = 5; // in a row without a new byte
const RETRY_DELAY_MS = 1_000;

class HttpStatus extends Error {
  constructor(readonly statusCode: number) {
    super(`HTTP ${statusCode}`);
  }
}

/** The answer ended without an error before the file did. */
class ShortBody extends Error {}

/** Downloads to `blob`. Throws InputError HUB_SIZE, HUB_HASH, FILE_IO and those of `hubFailure`. */
export async function download(
  hub: Hub,
  commit: string,
  file: HubFile,
  blob: string,
  options: HubOptions,
): Promise<void> {
  const { signal, retryDelayMs = RETRY_DELAY_MS } = options;
  const incomplete = `${blob}.incomplete`;
  for (let failures = 0, before = await sizeOf(incomplete); ; ) {
    try {
      await fetchRest(hub, commit, file, incomplete, options);
      break;
    } catch (error) {
      signal?.throwIfAborted();
      const now = await sizeOf(incomplete);
      failures = now > before ? 0 : failures + 1;
      before = now;
      if (!isPassing(error) || failures === ATTEMPTS) throw failure(hub, file, error);
      await sleep(retryDelayMs * 2 ** failures, undefined, signal ? { signal } : {});
    }
  }
  await checkHash(hub, file, incomplete);
  await rename(incomplete, blob);
}

/** One request for the bytes that are missing, written as they come. */
async function fetchRest(
  hub: Hub,
  commit: string,
  file: HubFile,
  path: string,
  { onProgress, signal }: HubOptions,
): Promise<void> {
  const from = await sizeOf(path);
  if (from === file.size && from > 0) return;
  const stall = new AbortController();
  const timer = setTimeout(() => stall.abort(), hub.stallMs);
  try {
    const stop = signal ? AbortSignal.any([stall.signal, signal]) : stall.signal;
    const response = await request(hub, commit, file, from < file.size ? from : 0, stop);
    const resumed = response.status === 206;
    await using output = await open(path, resumed ? "a" : "w");
    let done = resumed ? from : 0;
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      timer.refresh();
      done += chunk.length;
      if (done > file.size) throw sizeError(hub, file, "more");
      await write(output, chunk);
      onProgress?.({ file: file.path, done, total: file.size });
    }
    if (done < file.size) throw new ShortBody(`${done}`);
  } catch (error) {
    if (stall.signal.aborted) throw new HubTimeout(`no byte within ${hub.stallMs} ms`, { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function request(hub: Hub, commit: string, file: HubFile, from: number, signal: AbortSignal): Promise<Response> {
  const path = file.path.split("/").map(encodeURIComponent).join("/");
  const headers: Record<string, string> = from > 0 ? { Range: `bytes=${from}-` } : {};
  if (hub.access.accessToken !== undefined) headers.Authorization = `Bearer ${hub.access.accessToken}`;
  const response = await fetch(`${hub.endpoint}/datasets/${hub.name}/resolve/${commit}/${path}`, { headers, signal });
  if (response.ok && response.body !== null) return response;
  await response.body?.cancel();
  throw new HttpStatus(response.status);
}

async function write(output: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await output.write(chunk, done)).bytesWritten;
}

/** Whether another attempt may do better. */
function isPassing(error: unknown): boolean {
  if (error instanceof InputError) return false;
  if (!(error instanceof HttpStatus)) return !isDiskError(error);
  return error.statusCode === 408 || error.statusCode === 429 || error.statusCode >= 500;
}

const isDiskError = (error: unknown): boolean =>
  ["ENOSPC", "EACCES", "EROFS", "EDQUOT", "EIO"].includes((error as NodeJS.ErrnoException)?.code ?? "");

function failure(hub: Hub, file: HubFile, error: unknown): unknown {
  if (error instanceof ShortBody) return sizeError(hub, file, error.message);
  if (!isDiskError(error)) return hubFailure(hub, file.path, error);
  const message = `[hub:${hub.name}] expected to write ${file.path}, got ${(error as Error).message}; free some space`;
  return new InputError("FILE_IO", message, { cause: error });
}

async function checkHash(hub: Hub, file: HubFile, path: string): Promise<void> {
  const large = file.hash.length === 64;
  const hash = createHash(large ? "sha256" : "sha1");
  if (!large) hash.update(`blob ${file.size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  const got = hash.digest("hex");
  if (got === file.hash) return;
  await rm(path);
  throw new InputError(
    "HUB_HASH",
    `[hub:${hub.name}] expected ${file.path} with the hash ${file.hash}, got ${got}; its bytes were removed, try again`,
  );
}

function sizeError(hub: Hub, file: HubFile, got: string): InputError {
  return new InputError(
    "HUB_SIZE",
    `[hub:${hub.name}] expected ${file.path} with ${file.size} bytes, got ${got}; try again, or another HF_ENDPOINT`,
  );
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => null);
  return found?.size ?? 0;
}
