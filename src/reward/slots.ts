// Places for batches: as many as there are workers; who finds none waits in line. The line is bounded: a caller who fills it is told so.
import { RewardError } from "./faults.js";

const MOST_WAITING = 4096;

export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  /** Runs `task` when there is a place for it. Rejects with RewardError REWARD_QUEUE when too many wait, and with the signal's reason. */
  async use<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    await this.#take();
    try {
      signal.throwIfAborted();
      return await task();
    } finally {
      this.#give();
    }
  }

  #take(): Promise<void> | void {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    if (this.#waiting.length >= MOST_WAITING) {
      throw new RewardError(
        "REWARD_QUEUE",
        `[rewards] expected at most ${MOST_WAITING} batches to wait for a worker, got one more; await the calls before`,
      );
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
