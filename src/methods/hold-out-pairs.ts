// Which pairs of answers are held out where the user names none: those of some prompts, so that no prompt is on both sides. Pure.
import { epochOrder, type Records } from "../data/order.js";
import { random } from "../data/random.js";
import { MOST_SHARE } from "./hold-out.js";

/** Keeps the draw apart from other users of the same seed. */
const holdOutStream = 0x401e;

/** Places of pairs by source, in their order. */
export interface PairSplit {
  readonly training: readonly (readonly number[])[];
  readonly heldOut: readonly (readonly number[])[];
}

/**
 * Of pairs with their prompts, source by source, the pairs of prompts drawn by seed until there are `count` of them or a tenth of all. A
 * prompt whose pairs are more than is left, or all that a source has, is passed over.
 */
export function holdOutPairs(prompts: readonly (readonly string[])[], count: number, seed: number): PairSplit {
  const sizes = sizesOf(prompts);
  const distinct = [...sizes.keys()];
  const left = prompts.map((own) => own.length);
  const total = left.reduce((sum, n) => sum + n, 0);
  let wanted = Math.min(count, Math.floor(MOST_SHARE * total));
  const held = new Set<string>();
  for (const at of epochOrder(distinct.length, random(seed, holdOutStream).int(2 ** 31), 0)) {
    if (wanted === 0) break;
    const prompt = distinct[at]!;
    const own = sizes.get(prompt)!;
    const size = own.reduce((sum, n) => sum + n, 0);
    if (size > wanted || own.some((n, s) => n > 0 && n === left[s])) continue;
    for (const [s, n] of own.entries()) left[s]! -= n;
    held.add(prompt);
    wanted -= size;
  }
  const pick = (isHeld: boolean) =>
    prompts.map((own) => [...own.keys()].filter((place) => held.has(own[place]!) === isHeld));
  return { training: pick(false), heldOut: pick(true) };
}

/** Pairs of each prompt by source. */
function sizesOf(prompts: readonly (readonly string[])[]): ReadonlyMap<string, readonly number[]> {
  const sizes = new Map<string, number[]>();
  for (const [s, own] of prompts.entries()) {
    for (const prompt of own) {
      const counts = sizes.get(prompt) ?? Array<number>(prompts.length).fill(0);
      counts[s]!++;
      sizes.set(prompt, counts);
    }
  }
  return sizes;
}

/** Some of the records, by their places. */
export const recordsAt = <T>(records: Records<T>, places: readonly number[]): Records<T> => ({
  length: places.length,
  at: (index) => records.at(places[index]!),
});
