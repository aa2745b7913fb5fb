// Where a completion's answer begins, counted in its own tokens: the mark that it follows is looked for in what the tokens write, so that
// no sampled text is tokenised again. Pure.
import type { TokenBytes } from "./token-bytes.js";

/**
 * Tokens up to and with the one that ends the mark; null where the mark is not there. A token that writes the mark's end and more counts
 * as before the answer. Ids beyond the vocabulary write nothing.
 * @param ids [C]
 */
export function tokensThrough(
  ids: ArrayLike<number>,
  mark: string,
  which: "first" | "last",
  { bytes, offsets }: TokenBytes,
): number | null {
  const place = (id: number) => Math.min(Math.max(0, id), offsets.length - 1);
  const parts = Array.from(ids, (id) => bytes.subarray(offsets[place(id)]!, offsets[place(id + 1)]!));
  const written = Buffer.concat(parts);
  const at = which === "first" ? written.indexOf(mark) : written.lastIndexOf(mark);
  if (at < 0) return null;
  const end = at + Buffer.byteLength(mark);
  let [tokens, reached] = [0, 0];
  while (reached < end) reached += parts[tokens++]!.length;
  return tokens;
}
