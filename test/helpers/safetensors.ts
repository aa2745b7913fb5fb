// Safetensors files for tests: reads numeric tensors into typed arrays, writes good files, and bad ones byte by byte.
// It checks nothing; the engine's own reader does. BF16 and F16 are read as F32, which holds every one of their
// numbers.
import { readFileSync, writeFileSync } from "node:fs";

export type TensorData = Float32Array | Float64Array | Int32Array | BigInt64Array;

export interface Tensor {
  readonly shape: readonly number[];
  readonly data: TensorData; // row-major
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

const ARRAYS = { F32: Float32Array, F64: Float64Array, I32: Int32Array, I64: BigInt64Array } as const;
/** A number from its 16 bits. */
const HALVES = {
  BF16: (bits: number) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!,
  F16: (bits: number) => {
    const exponent = (bits >> 10) & 31;
    const magnitude = exponent === 0 ? (bits & 1023) * 2 ** -24 : (1 + (bits & 1023) / 1024) * 2 ** (exponent - 15);
    return bits >> 15 ? -magnitude : magnitude; // finite ones
  },
} as const;
const PREFIX = 8; // bytes of the header's length

/** The header of a file, and where its data begins. */
function headerOf(bytes: Buffer): { header: Record<string, Entry>; start: number } {
  const start = PREFIX + Number(bytes.readBigUInt64LE(0));
  return { header: JSON.parse(bytes.toString("utf8", PREFIX, start)) as Record<string, Entry>, start };
}

/** The type of every tensor of a file as the file has it, such as BF16, by name. */
export function storedTypes(path: string): Record<string, string> {
  const { __metadata__: _, ...entries } = headerOf(readFileSync(path)).header;
  return Object.fromEntries(Object.entries(entries).map(([name, { dtype }]) => [name, dtype]));
}

/** All tensors of a file, by name. */
export function readSafetensors(path: string): Map<string, Tensor> {
  const bytes = readFileSync(path);
  const { header, start } = headerOf(bytes);
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape } = entry;
    const [begin, end] = entry.data_offsets;
    // Copied, so that it starts at a multiple of its element.
    const copy = new Uint8Array(bytes.subarray(start + begin, start + end));
    const Data = ARRAYS[dtype as keyof typeof ARRAYS];
    const widen = HALVES[dtype as keyof typeof HALVES];
    if (!Data && !widen) throw new Error(`${path}: ${name} is ${dtype}, which this reader leaves out`);
    tensors.set(name, {
      shape,
      data: Data ? new Data(copy.buffer) : Float32Array.from(new Uint16Array(copy.buffer), widen!),
    });
  }
  return tensors;
}

/** One tensor of readSafetensors as F32; throws when it is not there. */
export function floats(tensors: ReadonlyMap<string, Tensor>, name: string): Float32Array {
  return Float32Array.from(dataOf(tensors, name), Number);
}

/** One tensor of readSafetensors as I32; throws when it is not there. */
export function ints(tensors: ReadonlyMap<string, Tensor>, name: string): Int32Array {
  return Int32Array.from(dataOf(tensors, name), Number);
}

function dataOf(tensors: ReadonlyMap<string, Tensor>, name: string): Iterable<number | bigint> {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`no tensor ${name} among ${[...tensors.keys()].join(", ")}`);
  return tensor.data;
}

/** Writes a good file. */
export function writeSafetensors(path: string, tensors: Iterable<readonly [string, Tensor]>): void {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  const parts: Buffer[] = [];
  let begin = 0;
  for (const [name, { shape, data }] of tensors) {
    const end = begin + data.byteLength;
    header[name] = { dtype: dtypeOf(data), shape, data_offsets: [begin, end] };
    parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    begin = end;
  }
  writeRaw(path, JSON.stringify(header), Buffer.concat(parts));
}

/** Writes any header and data; `length` is what the file claims of its header. */
export function writeRaw(path: string, header: string, data: Uint8Array, length?: bigint): void {
  const bytes = Buffer.from(header, "utf8");
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeBigUInt64LE(length ?? BigInt(bytes.length));
  writeFileSync(path, Buffer.concat([prefix, bytes, data]));
}

function dtypeOf(data: TensorData): string {
  const found = Object.entries(ARRAYS).find(([, Data]) => data instanceof Data);
  if (!found) throw new Error("no dtype for this array");
  return found[0];
}
