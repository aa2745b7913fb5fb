// Watches a batch through its cells and says when an item is over its time. Only while several items are in hand does the heartbeat matter: if
// it goes on, the worker waits and the overdue items are to blame; if it stands still, something blocks the worker, and which item cannot
// be said. Times count from when the parent first sees an item in hand, so no clocks of two threads are compared.
import type { Cells } from "./cells.js";
import type { Fault } from "./faults.js";
import { BEAT_MS } from "./worker/grade-batch.js";

export interface Limits {
  readonly timeoutMs: number;
  readonly loadMs: number;
  /** Names the reward in faults. */
  readonly where: string;
}

/** A worker is over its time. */
export interface Late {
  /** The items to blame; none where it cannot be said which one. */
  readonly guilty: readonly number[];
  readonly fault: Fault;
}

const LOOKS = 8; // a deadline is noticed within an eighth of its time
const SHORTEST_LOOK_MS = 5;
const LONGEST_LOOK_MS = 250;
const BLOCKED_BEATS = 5; // beats that a busy machine may miss

/** Calls `onLate` once, when an item is overdue or the worker does nothing. Stop it when the batch has ended. */
export function watch(cells: Cells, limits: Limits, onLate: (late: Late) => void): { stop(): void } {
  const period = Math.min(LONGEST_LOOK_MS, Math.max(SHORTEST_LOOK_MS, limits.timeoutMs / LOOKS));
  const seen = new Map<number, number>(); // item in hand -> when it was first seen there
  let heard = { beats: cells.beats, at: performance.now() };
  let idleSince = performance.now();
  const look = () => {
    const now = performance.now();
    const inHand = cells.inHand();
    for (const item of seen.keys()) if (!inHand.includes(item)) seen.delete(item);
    for (const item of inHand) if (!seen.has(item)) seen.set(item, now);
    if (cells.beats !== heard.beats) heard = { beats: cells.beats, at: now };
    if (inHand.length > 0) idleSince = now;
    const overdue = inHand.filter((item) => now - seen.get(item)! > limits.timeoutMs);
    const isBlocked = inHand.length > 1 && now - heard.at > period + BLOCKED_BEATS * BEAT_MS;
    if (overdue.length > 0) tell({ guilty: isBlocked ? [] : overdue, fault: timeoutFault(limits) });
    else if (now - idleSince > limits.loadMs) tell({ guilty: [], fault: idleFault(cells, limits) });
  };
  const timer = setInterval(look, period);
  const tell = (late: Late) => {
    clearInterval(timer);
    onLate(late);
  };
  return { stop: () => clearInterval(timer) };
}

const timeoutFault = ({ timeoutMs, where }: Limits): Fault => ({
  code: "REWARD_TIMEOUT",
  message: `[${where}] expected a reward within ${timeoutMs} ms, got none; raise timeoutMs, or correct the function`,
});

function idleFault(cells: Cells, { where, loadMs }: Limits): Fault {
  if (cells.hasBegun()) {
    return {
      code: "REWARD_LOST",
      message: `[${where}] expected the next reward, got a worker that does nothing for ${loadMs} ms`,
    };
  }
  const message = `[${where}] expected a module that is imported within ${loadMs} ms, got none; correct the module`;
  return { code: "REWARD_MODULE_LOAD", message };
}
