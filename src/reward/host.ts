// What runs batches: threads or processes behind one interface, the deadline around a batch, and how one that ended is read. A worker that is
// lost costs the item that was in its hand; where several were, nobody is charged and the scheduler finds out one by one.
import { Cells } from "./cells.js";
import { describeThrown, type Fault, faultError } from "./faults.js";
import { follow } from "./signals.js";
import { type Late, watch } from "./watch.js";
import type { Items } from "./worker/grade-batch.js";

export interface Batch {
  /** Place of the reward in the host's setup. */
  readonly reward: number;
  readonly items: Items;
  readonly timeoutMs: number;
}

/** What became of a batch. Items that are in none of the lists were not begun, or their fault died with the worker. */
export interface Outcome {
  readonly rewards: ReadonlyMap<number, Float64Array>;
  readonly faults: ReadonlyMap<number, Fault>;
  /** In hand when the worker was lost, where it cannot be said which of them it was. */
  readonly suspects: readonly number[];
  /** Why the worker was lost, or null. */
  readonly lost: Fault | null;
}

export interface Host {
  /** Batches that run at once. */
  readonly workers: number;
  /** Workers that are alive. */
  readonly alive: number;
  /**
   * Runs a batch; waits for a free worker. Rejects with the signal's reason, its worker ended, and with InputError REWARD_MODULE_* for a
   * module that cannot be used.
   */
  run(batch: Batch, signal: AbortSignal): Promise<Outcome>;
  /** Ends all workers. A batch that runs is lost. */
  dispose(): Promise<void>;
}

/** What a worker says at the end of a batch. */
export interface Reply {
  /** Why the reward cannot be used, or null. */
  readonly unusable: Fault | null;
  readonly faults: ReadonlyMap<number, Fault>;
}

export interface RunRules {
  /** Names the reward in faults. */
  readonly where: string;
  /** A module that has not begun its first item by then does not load. */
  readonly loadMs: number;
}

/**
 * Runs `work` on a batch under its deadlines. `work` fills the cells, ends its worker when the signal it gets is aborted, and rejects when
 * the worker is lost.
 */
export async function runWatched(
  batch: Batch,
  { where, loadMs }: RunRules,
  signal: AbortSignal,
  work: (cells: Cells, end: AbortSignal) => Promise<Reply>,
): Promise<Outcome> {
  signal.throwIfAborted();
  const cells = new Cells(batch.items.map((item) => item.length));
  const ending = new AbortController();
  const unlink = follow(signal, ending);
  let late: Late | null = null as Late | null;
  const watcher = watch(cells, { where, timeoutMs: batch.timeoutMs, loadMs }, (found) => {
    late = found;
    ending.abort();
  });
  try {
    const { unusable, faults } = await work(cells, ending.signal);
    if (unusable === null) return outcomeOf(cells, faults, null);
    throw faultError(unusable);
  } catch (error) {
    signal.throwIfAborted();
    if (late === null && isUnusable(error)) throw error;
    const lost = late ?? { guilty: [], fault: endFault(where, error, cells) };
    if (isUnusable(lost.fault)) throw faultError(lost.fault);
    return outcomeOf(cells, new Map(), lost);
  } finally {
    watcher.stop();
    unlink();
  }
}

const isUnusable = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "code" in error && String(error.code).startsWith("REWARD_MODULE_");

/** A worker that ended by itself; before a module's first item that is the module's import. */
function endFault(where: string, error: unknown, cells: Cells): Fault {
  const how = error instanceof Error ? error.message : describeThrown(error);
  if (cells.sizes.length === 0) {
    const message = `[${where}] expected a module that can be imported, got the end of its worker (${how}); correct the module`;
    return { code: "REWARD_MODULE_LOAD", message };
  }
  return {
    code: "REWARD_LOST",
    message: `[${where}] expected a reward, got the end of its worker (${how}); correct the function`,
  };
}

function outcomeOf(cells: Cells, known: ReadonlyMap<number, Fault>, lost: Late | null): Outcome {
  const rewards = new Map<number, Float64Array>();
  for (const item of cells.sizes.keys()) if (cells.isDone(item)) rewards.set(item, cells.rewards(item));
  if (lost === null) return { rewards, faults: known, suspects: [], lost };
  const inHand = cells.inHand();
  const guilty = inHand.length === 1 ? inHand : lost.guilty.filter((item) => !rewards.has(item));
  const faults = new Map(guilty.map((item) => [item, lost.fault] as const));
  return { rewards, faults, suspects: guilty.length > 0 ? [] : inHand, lost: lost.fault };
}
