// Parquet files as a stream of plain rows: lists, structs and all common compressions, one row group in memory at a time. A damaged or
// hostile file can make the reader spin or fill the memory, so it runs in a process of its own with a deadline and a heap limit: see
// parquet-child.mjs. Leaves out writing and reading a part of the columns.
import { type ChildProcess, fork } from "node:child_process";
import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { InputError } from "../errors.js";

export interface ParquetOptions {
  /** Longest time for one row group. Default 300,000. */
  readonly deadlineMs?: number;
  /** Default 4,096. */
  readonly heapMb?: number;
}

type ParquetRow = { [column: string]: unknown };
/** `rows` is null behind the last ones. */
type Answer = { readonly rows: readonly ParquetRow[] | null } | { readonly expected: string; readonly got: string };

const DEADLINE_MS = 300_000;
const HEAP_MB = 4_096;

/** The rows of a file in order. Throws InputError PARQUET, which names the file and, inside of it, the row group. */
export async function* readParquet(file: string, options: ParquetOptions = {}): AsyncGenerator<ParquetRow> {
  await requireFile(file);
  const { deadlineMs = DEADLINE_MS, heapMb = HEAP_MB } = options;
  const child = fork(fileURLToPath(new URL("./parquet-child.mjs", import.meta.url)), [file], {
    execArgv: [`--max-old-space-size=${heapMb}`],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: {},
    serialization: "advanced",
  });
  const next = answersOf(child, deadlineMs);
  try {
    for (;;) {
      const answer = await next().catch((error: Error) => {
        throw parquetError(file, `a Parquet file that can be read in ${heapMb} MB of memory`, error.message);
      });
      if ("expected" in answer) throw parquetError(file, answer.expected, answer.got);
      if (answer.rows === null) return;
      yield* answer.rows;
    }
  } finally {
    child.kill("SIGKILL");
  }
}

/** A function that asks for the next rows; it rejects when none come in time, or the process has ended. */
function answersOf(child: ChildProcess, deadlineMs: number): () => Promise<Answer> {
  let waiting: { resolve(answer: Answer): void; reject(error: Error): void } | null = null;
  let ended: Error | null = null;
  const end = (error: Error) => {
    ended ??= error;
    waiting?.reject(ended);
  };
  child.on("message", (answer: Answer) => waiting?.resolve(answer));
  child.on("error", end);
  // Not "exit": that may come before the last message is read.
  child.on("close", (code, signal) => end(new Error(`its process ended (${signal ?? `exit code ${code}`})`)));
  return async () => {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Answer>((resolve, reject) => {
        waiting = { resolve, reject };
        if (ended !== null) return reject(ended);
        timer = setTimeout(() => reject(new Error(`no rows within ${deadlineMs} ms`)), deadlineMs);
        child.send("next", (error) => error && reject(error));
      });
    } finally {
      clearTimeout(timer);
    }
  };
}

async function requireFile(file: string): Promise<void> {
  const found: Stats | null = await stat(file).catch(() => null);
  if (found?.isFile()) return;
  const got = found === null ? "nothing there" : "something that is not a file";
  throw new InputError("PARQUET", `[${file}] expected a Parquet file, got ${got}; check the path`);
}

function parquetError(file: string, expected: string, got: string): InputError {
  return new InputError("PARQUET", `[${file}] expected ${expected}, got ${got}; copy the file again or write it anew`);
}
