// What the targets of model folders share: damage to safetensors files, and comparison of what was written twice.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../src/data/random.js";
import { damageBytes, mutateValue } from "./mutate.js";

const PREFIX = 8; // bytes of the header's length
const WORDS = [
  "dtype",
  "shape",
  "data_offsets",
  "__metadata__",
  "F32",
  "F16",
  "BF16",
  "F64",
  "I8",
  "F4",
  "format",
  "step",
];

/** A safetensors file with another header, whose stated length mostly fits, or with damaged bytes. */
export function mutateSafetensors(bytes: Buffer, stream: Random): Buffer {
  if (stream.int(3) === 0) return damageBytes(bytes, stream);
  const end = PREFIX + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", PREFIX, end));
  const names = Object.keys(header);
  const text = Buffer.from(mutateValue(header, stream, [...WORDS, ...names, `${stream.choice(names)}x`]));
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeBigUInt64LE(BigInt(stream.int(10) === 0 ? end : text.length));
  const data = bytes.subarray(end);
  return Buffer.concat([prefix, text, stream.int(5) === 0 ? damageBytes(data, stream) : data]);
}

/** Throws an Error when a file is not the same in two folders. */
export function requireSame(a: string, b: string, names: readonly string[]): void {
  for (const name of names) {
    if (!readFileSync(join(a, name)).equals(readFileSync(join(b, name)))) throw new Error(`${name} that differs`);
  }
}
