// Items to batches to results, in the items' order whatever the order of arrival. Batches whose worker was lost go back into the line without
// the item that was to blame; where that cannot be said, those in hand are graded again one by one, alone. Leaves out what a worker is.
import { type Fault, RewardError } from "./faults.js";
import type { Host, Outcome } from "./host.js";
import { follow } from "./signals.js";
import type { Items } from "./worker/grade-batch.js";

/** The rewards of an item's samples, or why there are none. */
export type Graded = Float64Array | Fault;

export interface GradeRules {
  /** Place of the reward in the host's setup. */
  readonly reward: number;
  readonly timeoutMs: number;
  /** Items that a worker has in hand at once; a batch has at least as many. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  /** Called with each item that failed, in the order of arrival; may throw to stop. */
  onFault(item: number, fault: Fault): void;
}

export const isFault = (graded: Graded): graded is Fault => !(graded instanceof Float64Array);

const MOST_ITEMS = 64; // in a batch: what is sent at once, and graded again at most when a worker is lost
const BATCHES_PER_WORKER = 4; // so that workers end at about the same time
const MOST_LOSSES = 3; // workers in a row that end with nothing in hand

/** Grades all items. Rejects with what `onFault` throws, the signal's reason, and the host's errors, after all batches have ended. */
export async function gradeItems(host: Host, items: Items, rules: GradeRules): Promise<readonly Graded[]> {
  const line = new Line(items.length, batchSize(items.length, host.workers, rules.concurrency));
  const stop = new AbortController();
  const unlink = follow(rules.signal, stop);
  const lane = async () => {
    try {
      for (let batch = line.next(); batch !== null; batch = line.next()) {
        const own = batch.map((item) => items[item]!);
        const { reward, timeoutMs } = rules;
        line.take(batch, await host.run({ reward, timeoutMs, items: own }, stop.signal), rules.onFault);
      }
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  };
  try {
    const lanes = await Promise.allSettled(Array.from({ length: host.workers }, lane));
    for (const each of lanes) if (each.status === "rejected") throw stop.signal.reason;
    return line.results as readonly Graded[];
  } finally {
    unlink();
  }
}

const batchSize = (items: number, workers: number, concurrency: number): number =>
  Math.max(concurrency, Math.min(MOST_ITEMS, Math.ceil(items / (workers * BATCHES_PER_WORKER))), 1);

/** The batches that wait, and the results so far. */
class Line {
  readonly results: (Graded | undefined)[];
  readonly #waiting: (readonly number[])[] = [];
  #losses = 0;

  constructor(items: number, size: number) {
    this.results = new Array<Graded | undefined>(items).fill(undefined);
    for (let from = 0; from < items; from += size) {
      this.#waiting.push(Array.from({ length: Math.min(size, items - from) }, (_, at) => from + at));
    }
  }

  next(): readonly number[] | null {
    return this.#waiting.shift() ?? null;
  }

  take(batch: readonly number[], outcome: Outcome, onFault: GradeRules["onFault"]): void {
    for (const [at, rewards] of outcome.rewards) this.results[batch[at]!] = rewards;
    for (const [at, fault] of outcome.faults) {
      this.results[batch[at]!] = fault;
      onFault(batch[at]!, fault);
    }
    const suspects = outcome.suspects.map((at) => batch[at]!);
    const left = batch.filter((item) => this.results[item] === undefined && !suspects.includes(item));
    this.#count(outcome, left.length === batch.length);
    this.#waiting.unshift(...suspects.map((item) => [item]), ...(left.length > 0 ? [left] : []));
  }

  #count({ lost }: Outcome, isIdle: boolean): void {
    this.#losses = lost !== null && isIdle ? this.#losses + 1 : 0;
    if (lost === null || this.#losses < MOST_LOSSES) return;
    throw new RewardError(
      "REWARD_WORKER",
      `${lost.message}; ${MOST_LOSSES} workers in a row ended before they began a sample`,
    );
  }
}
