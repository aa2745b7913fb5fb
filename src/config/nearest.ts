// The known name closest to a mistyped one. Case, dashes and underscores do not count, and a key may lack its group.
import { distance } from "fastest-levenshtein";

const LEAST_EDITS = 2; // always allowed: a short name may be mistyped too
const LONGEST_NAME = 200; // the work grows with the length, and no longer name is a mistyped one

const fold = (name: string): string => name.toLowerCase().replaceAll(/[-_]/g, "");
const lastPart = (key: string): string => key.slice(key.lastIndexOf(".") + 1);

/** Edits between two dotted keys, or between their last parts and one more. */
function keyDistance(a: string, b: string): number {
  return Math.min(distance(fold(a), fold(b)), distance(fold(lastPart(a)), fold(lastPart(b))) + 1);
}

/** The candidate with the fewest edits, the first of equals; null when it would take more edits than half the name. */
export function nearest(name: string, candidates: readonly string[]): string | null {
  if (name.length > LONGEST_NAME) return null;
  let best: string | null = null;
  let least = Math.max(LEAST_EDITS, fold(name).length / 2) + 1;
  for (const candidate of candidates) {
    const edits = keyDistance(name, candidate);
    if (edits < least) [best, least] = [candidate, edits];
  }
  return best;
}

/** `; did you mean "x"?`, or nothing when no candidate is near. */
export function didYouMean(name: string, candidates: readonly string[]): string {
  const best = nearest(name, candidates);
  return best === null ? "" : `; did you mean "${best}"?`;
}
