// Vocabularies for tests: what each token of a small model writes.
import { random } from "../../src/data/random.js";
import type { TokenBytes } from "../../src/engine/types.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function tokenBytes(tokens: readonly (string | Uint8Array)[]): TokenBytes {
  const written = tokens.map((token) => (typeof token === "string" ? encoder.encode(token) : token));
  const offsets = new Int32Array(tokens.length + 1);
  written.forEach((bytes, t) => {
    offsets[t + 1] = offsets[t]! + bytes.length;
  });
  return { bytes: Uint8Array.from(written.flatMap((bytes) => [...bytes])), offsets };
}

/** Letters, digits, the bytes of é and 😀 apart, then pieces of 2 to 4 of them; the last two tokens write nothing. At least 59 tokens. */
export function toyVocabulary(vocabSize: number): TokenBytes {
  const singles = [..."abcdefghijklmnopqrstuvwxyz0123456789 .,"].map((text) => encoder.encode(text));
  const bytes = [...encoder.encode("é😀")].map((byte) => Uint8Array.of(byte));
  const draw = random(5, vocabSize);
  const some = [..."abc01 é😀"];
  const pieces = Array.from({ length: vocabSize - singles.length - bytes.length - 2 }, () =>
    encoder.encode(Array.from({ length: 2 + draw.int(3) }, () => some[draw.int(some.length)]).join("")),
  );
  return tokenBytes([...singles, ...bytes, ...pieces, "", ""]);
}

/** Bytes that tokens write one after the other. */
export function written({ bytes, offsets }: TokenBytes, tokens: ArrayLike<number>): Uint8Array {
  return Uint8Array.from(Array.from(tokens).flatMap((t) => [...bytes.subarray(offsets[t], offsets[t + 1])]));
}

export function textOf(vocabulary: TokenBytes, tokens: ArrayLike<number>): string {
  return decoder.decode(written(vocabulary, tokens));
}
