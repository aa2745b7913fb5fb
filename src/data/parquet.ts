// Parquet files as a stream of plain rows: lists, structs and all common compressions, one row group in memory at a time. The reader is
// loaded when the first file is opened. Leaves out writing and reading a part of the columns.
import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import type { FileMetaData, ParquetReadOptions } from "hyparquet";
import { InputError } from "../errors.js";

/** The rows of a file in order. Throws InputError PARQUET, which names the file and, inside of it, the row group. */
export async function* readParquet(file: string): AsyncGenerator<Record<string, unknown>> {
  await requireFile(file);
  const { parquetMetadataAsync, parquetReadObjects, asyncBufferFromFile } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  const buffer = await asyncBufferFromFile(file);
  const metadata = await parquetMetadataAsync(buffer).catch((error: unknown) => {
    throw parquetError(file, "a Parquet file", error);
  });
  const options = { file: buffer, metadata, compressors };
  for (const [group, { rowStart, rowEnd }] of rowGroups(metadata).entries()) {
    const rows = await parquetReadObjects({ ...options, rowStart, rowEnd } as ParquetReadOptions).catch((error) => {
      throw parquetError(file, `rows ${rowStart + 1} to ${rowEnd} in row group ${group}`, error);
    });
    if (rows.length !== rowEnd - rowStart) {
      throw parquetError(file, `${rowEnd - rowStart} rows in row group ${group}`, new Error(`${rows.length}`));
    }
    for (const row of rows) yield plain(row) as Record<string, unknown>;
  }
}

function rowGroups(metadata: FileMetaData): { rowStart: number; rowEnd: number }[] {
  let end = 0;
  return metadata.row_groups.map(({ num_rows }) => {
    const rowStart = end;
    end += Number(num_rows);
    return { rowStart, rowEnd: end };
  });
}

/** As JSON would hold it: 64-bit integers become numbers, or texts where a number is not exact; dates become ISO texts. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value === undefined) return null;
  if (ArrayBuffer.isView(value)) return Array.from(value as Uint8Array | BigInt64Array, plain);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

async function requireFile(file: string): Promise<void> {
  const found: Stats | null = await stat(file).catch(() => null);
  if (found?.isFile()) return;
  const got = found === null ? "nothing there" : "something that is not a file";
  throw new InputError("PARQUET", `[${file}] expected a Parquet file, got ${got}; check the path`);
}

function parquetError(file: string, expected: string, cause: unknown): InputError {
  const got = cause instanceof Error ? cause.message : String(cause);
  return new InputError("PARQUET", `[${file}] expected ${expected}, got ${got}; copy the file again or write it anew`, {
    cause,
  });
}
