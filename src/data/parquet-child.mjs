// @ts-check
// The other end of parquet.ts, a process of its own: reads a file row group by row group and answers each message with the next of its rows.
// Plain JavaScript: it is started as it lies.
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";

/** Rows of an answer: few enough that long texts fit, many enough that the cost of a message does not count. */
const PART_ROWS = 256;

/** What was expected of the file; the cause says what came. */
class Unexpected extends Error {}

/** @template T @param {string} expected @param {() => Promise<T> | T} read @returns {Promise<T>} */
async function attempt(expected, read) {
  try {
    return await read();
  } catch (cause) {
    throw new Unexpected(expected, { cause });
  }
}

/** @param {string} file */
async function* parts(file) {
  const buffer = await asyncBufferFromFile(file);
  const metadata = await attempt("a Parquet file", () => parquetMetadataAsync(buffer));
  let rowStart = 0;
  for (const [group, { num_rows }] of metadata.row_groups.entries()) {
    const rowEnd = rowStart + Number(num_rows);
    const options = { file: buffer, metadata, compressors, rowStart, rowEnd };
    const read = async () => {
      const rows = /** @type {unknown[]} */ (await parquetReadObjects(options));
      if (rows.length !== rowEnd - rowStart) throw new Error(`${rows.length} rows`);
      return rows.map(plain);
    };
    const rows = await attempt(`rows ${rowStart + 1} to ${rowEnd} in row group ${group}`, read);
    for (let at = 0; at < rows.length; at += PART_ROWS) yield rows.slice(at, at + PART_ROWS);
    rowStart = rowEnd;
  }
}

/** As JSON would hold it: 64-bit integers become numbers, or texts where a number is not exact; dates become ISO texts. @param {unknown} value @returns {unknown} */
function plain(value) {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value === undefined) return null;
  if (ArrayBuffer.isView(value)) return Array.from(/** @type {Uint8Array | BigInt64Array} */ (value), plain);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/** @param {any} error */
const textOf = (error) => String(error?.message || error);

process.on("SIGINT", () => {}); // of a terminal, meant for the caller

const rows = parts(process.argv[2] ?? "");
process.on("message", () => {
  rows.next().then(
    ({ value }) => process.send?.({ rows: value ?? null }),
    (error) => {
      const isKnown = error instanceof Unexpected;
      process.send?.({
        expected: isKnown ? error.message : "a Parquet file",
        got: textOf(isKnown ? error.cause : error),
      });
    },
  );
});
