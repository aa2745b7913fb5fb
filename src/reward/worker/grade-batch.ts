// Grades a batch in the worker, item by item in order, and says at once what became of each: whoever listens knows what was in hand when the
// worker is lost. Sync functions run one after the other; async ones up to `concurrency` at once.
import { describeValue, type Fault, faultOf, RewardError } from "../faults.js";
import type { RewardInput } from "../input.js";
import type { Grader } from "./graders.js";

/** Where results go. Each call has taken effect for the parent when it returns. */
export interface BatchPort {
  started(item: number): void;
  finished(item: number, rewards: readonly number[]): void;
  failed(item: number, fault: Fault): void;
  /** The event loop turns; called only while several items may be in hand. */
  beat(): void;
}

export interface BatchRules {
  /** Names the reward in faults. */
  readonly where: string;
  readonly perGroup: boolean;
  readonly concurrency: number;
}

export type Items = readonly (readonly RewardInput[])[];

/** Several times within the shortest deadline that can tell a waiting loop from a blocked one. */
export const BEAT_MS = 20;

export async function gradeBatch(grade: Grader, items: Items, port: BatchPort, rules: BatchRules): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const item = next++;
      port.started(item);
      try {
        const result = grade(items[item]!);
        port.finished(item, checked(isThenable(result) ? await result : result, items[item]!.length, rules));
      } catch (error) {
        port.failed(item, faultOf(error, "REWARD_THREW", rules.where));
      }
    }
  };
  const heart = rules.concurrency > 1 ? setInterval(() => port.beat(), BEAT_MS) : undefined;
  try {
    await Promise.all(Array.from({ length: Math.min(rules.concurrency, items.length) }, lane));
  } finally {
    clearInterval(heart);
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";

/** The rewards of an item, finite numbers and as many as it has samples. */
function checked(result: unknown, samples: number, { where, perGroup }: BatchRules): readonly number[] {
  if (!perGroup) return [finite(result, where, "a finite number")];
  const list = Array.isArray(result) || ArrayBuffer.isView(result) ? Array.from(result as ArrayLike<unknown>) : null;
  const expected = `${samples} finite numbers, one for each sample`;
  if (list?.length === samples) return list.map((reward) => finite(reward, where, expected));
  const got = list === null ? describeValue(result) : `a list of ${list.length}`;
  throw new RewardError("REWARD_VALUE", `[${where}] expected ${expected}, got ${got}; correct the function`);
}

function finite(reward: unknown, where: string, expected: string): number {
  if (typeof reward === "number" && Number.isFinite(reward)) return reward;
  throw new RewardError(
    "REWARD_VALUE",
    `[${where}] expected ${expected}, got ${describeValue(reward)}; correct the function`,
  );
}
