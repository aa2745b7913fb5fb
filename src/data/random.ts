// Random numbers as a pure function of a seed and a list of keys: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). Two streams never share state, so a draw depends on its keys alone, not on who drew before. Not for secrets.
import { InputError } from "../errors.js";
import type { Json, Resumable } from "./resumable.js";

type Words4 = [number, number, number, number]; // uint32 each

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;
const TWO_32 = 2 ** 32;

/** High 32 bits of the 64-bit product of two uint32. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = (middle % 0x10000) + aLow * bHigh;
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** One block of Philox4x32-10. `key` is 2 and `counter` 4 uint32 words; returns 4 uint32 words. */
export function philox(key: readonly [number, number], counter: readonly [number, number, number, number]): Words4 {
  let [key0, key1] = key;
  let [c0, c1, c2, c3] = counter;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ key0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ key1) >>> 0;
    c3 = low0;
    key0 = (key0 + WEYL_0) >>> 0;
    key1 = (key1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** A stream of random numbers. Make one with `random(seed, ...keys)`. */
export class Random implements Resumable {
  private readonly key: readonly [number, number];
  private block = 0;
  private words: Words4 = [0, 0, 0, 0];
  private used = 4;

  constructor(key: readonly [number, number]) {
    this.key = key;
  }

  /** Words drawn so far: the key is the caller's, so the place is the whole state. */
  save(): number {
    return this.block * 4 - (4 - this.used);
  }

  restore(state: Json): void {
    if (!Number.isSafeInteger(state) || (state as number) < 0) {
      throw new InputError("CURSOR_RANGE", `[random] expected a number of words drawn, got ${JSON.stringify(state)}`);
    }
    const drawn = state as number;
    this.block = Math.floor(drawn / 4);
    this.used = 4;
    for (let word = 0; word < drawn % 4; word++) this.word();
  }

  /** Uniform in [0, 1), 53 bits. */
  next(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** Uniform integer in [0, n), without bias; n in 1 .. 2^32. */
  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > TWO_32) {
      throw new InputError("RANDOM_RANGE", `[random.int] expected n to be an integer in 1..2^32, got ${n}`);
    }
    const limit = TWO_32 - (TWO_32 % n);
    let word = this.word();
    while (word >= limit) word = this.word();
    return word % n;
  }

  /** One of the items, each as likely. */
  choice<T>(items: readonly T[]): T {
    if (items.length === 0)
      throw new InputError("RANDOM_EMPTY", "[random.choice] expected at least one item, got none");
    return items[this.int(items.length)] as T;
  }

  /** An index, drawn in proportion to its weight. Weights are >= 0 with a sum > 0; they need not sum to 1. */
  weighted(weights: readonly number[]): number {
    const total = weights.reduce((sum, weight) => sum + (weight >= 0 ? weight : Number.NaN), 0);
    if (!(total > 0 && total < Number.POSITIVE_INFINITY)) {
      throw new InputError(
        "RANDOM_WEIGHTS",
        `[random.weighted] expected weights >= 0 with a finite sum > 0, got [${weights.join(", ")}]`,
      );
    }
    let left = this.next() * total;
    const last = weights.findLastIndex((weight) => weight > 0); // rounding may leave a remainder past the sum
    for (let index = 0; index < last; index++) {
      left -= weights[index]!;
      if (left < 0) return index;
    }
    return last;
  }

  /** A new array with the items in random order (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let last = result.length - 1; last > 0; last--) {
      const other = this.int(last + 1);
      [result[last], result[other]] = [result[other] as T, result[last] as T];
    }
    return result;
  }

  /** 32 random bits. */
  private word(): number {
    if (this.used === 4) {
      this.words = philox(this.key, [this.block >>> 0, Math.floor(this.block / TWO_32) >>> 0, 0, 0]);
      this.block++;
      this.used = 0;
    }
    return this.words[this.used++] as number;
  }
}

/** Counter word that keeps key derivation apart from the numbers of a stream. */
const DERIVE = 1;

/**
 * The stream of a seed and its keys, such as `random(seed, step, problem, sample)`. The same arguments give the same numbers; other
 * arguments, in value, order or number, another stream. All are integers, |value| <= 2^53 - 1.
 */
export function random(seed: number, ...keys: readonly number[]): Random {
  let key: [number, number] = [0, 0];
  for (const [place, value] of [seed, ...keys].entries()) {
    if (!Number.isSafeInteger(value)) {
      throw new InputError("RANDOM_KEY", `[random] expected seed and keys to be safe integers, got ${value}`);
    }
    const high = Math.floor(value / TWO_32) >>> 0;
    const [word0, word1] = philox(key, [value >>> 0, high, place, DERIVE]);
    key = [word0, word1];
  }
  return new Random(key);
}
