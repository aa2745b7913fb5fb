// Records that do not fit on the JavaScript heap, by index: bytes in memory up to a bound, behind it in a file that has no name, so that it
// is gone with the process however that ends. Append first, then read; leaves out changing and removing.
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ZazenError } from "../errors.js";

/** How records become bytes. */
export interface Codec<T> {
  encode(record: T): Uint8Array;
  /** `bytes` are the caller's own. */
  decode(bytes: Uint8Array): T;
}

export interface StoreOptions {
  /** Bytes kept in memory. Default 256 MiB. */
  readonly memoryBytes?: number;
  /** For the bytes behind them. Default: the system's folder for temporary files. */
  readonly folder?: string;
}

const CHUNK_BYTES = 1 << 20;
const MEMORY_BYTES = 256 * CHUNK_BYTES;

export class RecordStore<T> {
  readonly #codec: Codec<T>;
  readonly #bytes: ByteStore;
  #ends = new Float64Array(1024); // [records], room doubles
  #length = 0;

  constructor(codec: Codec<T>, { memoryBytes = MEMORY_BYTES, folder = tmpdir() }: StoreOptions = {}) {
    this.#codec = codec;
    this.#bytes = new ByteStore(memoryBytes, folder);
  }

  get length(): number {
    return this.#length;
  }

  push(record: T): void {
    if (this.#length === this.#ends.length) {
      const grown = new Float64Array(this.#ends.length * 2);
      grown.set(this.#ends);
      this.#ends = grown;
    }
    this.#bytes.append(this.#codec.encode(record));
    this.#ends[this.#length++] = this.#bytes.size;
  }

  /** A record, or undefined outside of 0..length - 1. */
  at(index: number): T | undefined {
    if (!Number.isInteger(index) || index < 0 || index >= this.#length) return undefined;
    const from = index === 0 ? 0 : this.#ends[index - 1]!;
    return this.#codec.decode(this.#bytes.read(from, this.#ends[index]!));
  }

  /** Closes the file; idempotent. */
  [Symbol.dispose](): void {
    this.#bytes.close();
  }
}

/** A sequence of bytes that grows. The first ones lie in chunks of memory, the others in the file. */
class ByteStore {
  size = 0;
  readonly #chunks: Uint8Array[] = [];
  #file: number | null = null;

  constructor(
    readonly memoryBytes: number,
    readonly folder: string,
  ) {}

  append(bytes: Uint8Array): void {
    const inMemory = Math.min(Math.max(this.memoryBytes - this.size, 0), bytes.length);
    this.#toMemory(bytes.subarray(0, inMemory));
    if (inMemory < bytes.length) this.#toFile(bytes.subarray(inMemory), this.size + inMemory - this.memoryBytes);
    this.size += bytes.length;
  }

  read(from: number, to: number): Uint8Array {
    const result = new Uint8Array(to - from);
    const edge = Math.min(Math.max(this.memoryBytes, from), to);
    for (let at = from; at < edge; ) {
      const offset = at % CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - offset, edge - at);
      result.set(this.#chunks[Math.floor(at / CHUNK_BYTES)]!.subarray(offset, offset + length), at - from);
      at += length;
    }
    for (let at = edge; at < to; ) {
      const got = readSync(this.#file!, result, at - from, to - at, at - this.memoryBytes);
      if (got === 0)
        throw new ZazenError("DISK", "[data] expected the spilled records, got the end of their file; check the disk");
      at += got;
    }
    return result;
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  #toMemory(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = this.size + done;
      const offset = at % CHUNK_BYTES;
      if (offset === 0) this.#chunks.push(new Uint8Array(CHUNK_BYTES));
      const part = bytes.subarray(done, done + CHUNK_BYTES - offset);
      this.#chunks.at(-1)!.set(part, offset);
      done += part.length;
    }
  }

  #toFile(bytes: Uint8Array, at: number): void {
    this.#file ??= openUnnamed(this.folder);
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#file, bytes, done, bytes.length - done, at + done);
    }
  }
}

function openUnnamed(folder: string): number {
  const path = mkdtempSync(join(folder, "zazen-records-"));
  try {
    return openSync(join(path, "records"), "wx+");
  } finally {
    rmSync(path, { recursive: true });
  }
}
