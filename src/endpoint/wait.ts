// Waiting that can be called off: pauses, deadlines, a place among the requests under way. No listener and no timer outlives its call.
import { EndpointError } from "./faults.js";

/** Resolves after `ms`; rejects with the reason of the first signal that is aborted. */
export function pause(ms: number, signals: readonly AbortSignal[]): Promise<void> {
  return listening(signals, (resolve) => {
    const timer = setTimeout(resolve, ms);
    return () => clearTimeout(timer);
  });
}

/** A promise that a signal rejects with its reason; `begin` is given its resolve, and returns what ends the waiting. */
function listening(signals: readonly AbortSignal[], begin: (resolve: () => void) => () => void): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted !== undefined) return reject(aborted.reason);
    const end = () => {
      cancel();
      for (const signal of signals) signal.removeEventListener("abort", onAbort);
    };
    const onAbort = () => {
      end();
      reject(signals.find((signal) => signal.aborted)!.reason);
    };
    for (const signal of signals) signal.addEventListener("abort", onAbort);
    const cancel = begin(() => {
      end();
      resolve();
    });
  });
}

export interface Deadline extends Disposable {
  /** Aborted by the deadline, or by the caller's signal. */
  readonly signal: AbortSignal;
  /** The time was over before the caller's signal was. */
  readonly isOver: boolean;
}

export function deadline(ms: number, outer?: AbortSignal): Deadline {
  const controller = new AbortController();
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = !controller.signal.aborted;
    controller.abort(new Error(`no answer within ${ms} ms`));
  }, ms);
  const onAbort = () => controller.abort(outer?.reason);
  outer?.addEventListener("abort", onAbort);
  if (outer?.aborted) onAbort();
  return {
    signal: controller.signal,
    get isOver() {
      return isOver;
    },
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      outer?.removeEventListener("abort", onAbort);
    },
  };
}

/** At most `places` at work; at most `most` in line behind them, who come in turn. */
export class Places {
  #free: number;
  readonly #line: (() => void)[] = [];

  constructor(
    places: number,
    private readonly most: number,
  ) {
    this.#free = places;
  }

  /** Rejects with EndpointError ENDPOINT_QUEUE where the line is full, and with the reason of a signal. */
  async use<T>(signals: readonly AbortSignal[], work: () => Promise<T>): Promise<T> {
    await this.#take(signals);
    try {
      return await work();
    } finally {
      this.#give();
    }
  }

  async #take(signals: readonly AbortSignal[]): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    if (this.#line.length >= this.most) throw queueFull(this.most);
    await listening(signals, (resolve) => {
      this.#line.push(resolve);
      return () => {
        const at = this.#line.indexOf(resolve);
        if (at >= 0) this.#line.splice(at, 1);
      };
    });
  }

  #give(): void {
    const next = this.#line.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

function queueFull(most: number): EndpointError {
  const message = `[endpoint] expected at most ${most} calls to wait for a place, got one more; await earlier ones, or use inOrder`;
  return new EndpointError("ENDPOINT_QUEUE", message);
}
