// Sets of code points as sequences of byte ranges: the UTF-8 forms of a set are what any of its sequences matches. Surrogates have none.
import { merge, type Range } from "./pattern.js";

/** Largest code point of 1, 2, 3 and 4 bytes. */
const LIMITS = [0x7f, 0x7ff, 0xffff, 0x10ffff];
const SURROGATES: Range = [0xd800, 0xdfff];

/** Each sequence has one to four ranges of bytes, both ends included. */
export function utf8Sequences(ranges: readonly Range[]): Range[][] {
  return merge(ranges).flatMap(withoutSurrogates).flatMap(ofOneLength).flatMap(split);
}

function withoutSurrogates([first, last]: Range): Range[] {
  const parts: Range[] = [
    [first, Math.min(last, SURROGATES[0] - 1)],
    [Math.max(first, SURROGATES[1] + 1), last],
  ];
  return parts.filter(([low, high]) => low <= high);
}

/** Cuts where the forms grow by a byte. */
function ofOneLength([first, last]: Range): Range[] {
  return LIMITS.map(
    (limit, i): Range => [Math.max(first, i === 0 ? 0 : LIMITS[i - 1]! + 1), Math.min(last, limit)],
  ).filter(([low, high]) => low <= high);
}

/** Cuts until every byte ranges by itself: the last n bytes are all there is, or the ones before them are fixed. */
function split([first, last]: Range): Range[][] {
  for (let bits = 6; bits <= 18; bits += 6) {
    const tail = (1 << bits) - 1;
    if (first >> bits === last >> bits) break; // the bytes before differ in nothing
    if ((first & tail) !== 0) return [...split([first, first | tail]), ...split([(first | tail) + 1, last])];
    if ((last & tail) !== tail) return [...split([first, (last & ~tail) - 1]), ...split([last & ~tail, last])];
  }
  const [low, high] = [encode(first), encode(last)];
  return [low.map((byte, i): Range => [byte, high[i]!])];
}

function encode(point: number): number[] {
  if (point <= LIMITS[0]!) return [point];
  const length = LIMITS.findIndex((limit) => point <= limit) + 1;
  const lead = (0xf00 >> length) & 0xff; // as many ones as there are bytes, then a zero
  return Array.from({ length }, (_, i) => {
    const bits = point >> (6 * (length - 1 - i));
    return i === 0 ? lead | bits : 0x80 | (bits & 0x3f);
  });
}
