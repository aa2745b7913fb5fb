// Problems that training leaves out, drawn by seed, so that the figures on them are not those of what was trained on. A prompt that comes
// again in another row is left out there too.

import { epochOrder } from "../data/order.js";
import { random } from "../data/random.js";
import { InputError } from "../errors.js";
import type { AskedProblem, AskedSource } from "./asked.js";

/** At most this share of the problems is held out. */
export const MOST_SHARE = 0.1;
/** Keeps the draw apart from other users of the same seed. */
const holdOutStream = 0x401d;

export interface HoldOut {
  readonly train: readonly AskedSource[];
  /** In the order of the rows. */
  readonly heldOut: readonly AskedProblem[];
}

/**
 * `count` problems of all sources, fewer where that is more than a tenth of them. The order of the draw is over all rows, those that are
 * left out as too long among them, and passes over these. Throws InputError DATA_EMPTY where a source has only those.
 */
export function holdOut(sources: readonly AskedSource[], count: number, seed: number): HoldOut {
  const left = new Set(sources.flatMap((source) => source.left));
  const kept = sources.reduce((sum, { records }) => sum + records.length, 0);
  const all = sources.flatMap(({ records, left }) => [...records, ...left]).sort((a, b) => a.id - b.id);
  const most = Math.min(count, Math.floor(MOST_SHARE * kept));
  const order = epochOrder(all.length, random(seed, holdOutStream).int(2 ** 31), 0);
  const drawn = [...order].filter((at) => !left.has(all[at]!)).slice(0, most);
  const chosen = new Map(drawn.sort((a, b) => b - a).map((at) => [question(all[at]!), all[at]!]));
  const train = sources.map((source) => ({
    ...source,
    records: source.records.filter((problem) => !chosen.has(question(problem))),
  }));
  const empty = train.find(({ records }) => records.length === 0);
  if (empty === undefined) return { train, heldOut: [...chosen.values()].reverse() };
  throw new InputError(
    "DATA_EMPTY",
    `[${empty.report.source}] expected prompts beside the held-out ones, got none; set evaluation.data, or evaluation.problems to fewer`,
  );
}

/** What makes two rows the same problem, whatever the format. */
const question = ({ asked }: AskedProblem): string => JSON.stringify(asked);
