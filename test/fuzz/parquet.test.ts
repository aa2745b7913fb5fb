// Fuzz of Parquet files of every compression: footers and pages with damaged bytes. Accepted rows, written as JSON Lines, read back the same;
// a file that makes the reader spin or fills its memory ends its process and nothing else.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readParquet } from "../../src/data/parquet.js";
import type { Random } from "../../src/data/random.js";
import { readRows } from "../../src/data/rows.js";
import { fixture } from "../helpers/files.js";
import { fuzzTests } from "./define.js";
import type { Files, Target } from "./fuzz.js";
import { damageBytes } from "./mutate.js";
import { READERS } from "./readers.js";

const FILE = "rows.parquet";
const SEEDS = ["none", "snappy", "gzip", "zstd", "brotli", "lz4"].map((name) =>
  readFileSync(fixture(`parquet/${name}.parquet`)),
);
/** The last bytes state what is in the file. */
const FOOTER_BYTES = 6_000;
const options = { deadlineMs: 2_000, heapMb: 256 };

function make(stream: Random): Files {
  let bytes = stream.choice(SEEDS);
  for (let damages = 1 + stream.int(3); damages > 0; damages--) {
    const cut = stream.int(3) === 0 ? 0 : Math.max(0, bytes.length - FOOTER_BYTES);
    bytes = Buffer.concat([bytes.subarray(0, cut), damageBytes(bytes.subarray(cut), stream)]);
  }
  return { [FILE]: bytes };
}

async function read(folder: string): Promise<void> {
  const rows: string[] = [];
  for await (const row of readParquet(join(folder, FILE), options)) rows.push(JSON.stringify(row));
  const path = join(folder, "written.jsonl");
  writeFileSync(path, rows.join("\n"));
  const again: string[] = [];
  for await (const { value } of readRows(path)) again.push(JSON.stringify(value));
  if (again.join("\n") !== rows.join("\n")) throw new Error(`rows that read back as ${again.join("\n")}`);
}

/** The uncompressed file with other bytes at a place in its first page. */
const spoilt = (at: number, ...bytes: number[]): Files => {
  const file = Buffer.from(SEEDS[0]!);
  file.set(bytes, at);
  return { [FILE]: file };
};

/** Length of the footer, and a mark. */
const TAIL_BYTES = 8;
/** Where the footer states the number of rows of the first row group. */
const ROWS_AT = 1566;
/** 2^30 - 1 as the footer spells it. */
const VARINT = Buffer.from([0xfe, 0xff, 0xff, 0xff, 0x07]);

/** The uncompressed file, whose first row group is said to have 2^30 rows. */
function countless(): Files {
  const [whole] = SEEDS as [Buffer];
  const tail = whole.length - TAIL_BYTES;
  const at = tail - whole.readUInt32LE(tail) + ROWS_AT;
  const footer = Buffer.concat([whole.subarray(0, at), VARINT, whole.subarray(at + 1)]);
  footer.writeUInt32LE(whole.readUInt32LE(tail) + VARINT.length - 1, footer.length - TAIL_BYTES);
  return { [FILE]: footer };
}

const target: Target = {
  name: "parquet",
  inputs: { quick: 15, full: 1_000 },
  readers: READERS.parquet,
  make,
  read,
  directed: [
    ["PARQUET", { [FILE]: "PAR1PAR1" }],
    ["PARQUET", countless()],
    ["PARQUET", spoilt(4, 0xff, 0xff, 0xff)],
    ["PARQUET", (folder) => readParquet(join(folder, "none.parquet")).next()],
  ],
};

fuzzTests("parquet", () => target);
