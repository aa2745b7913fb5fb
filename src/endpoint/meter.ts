// Counts what an endpoint was asked and what that costs. Prices are per million tokens. Tokens of answers that were of no use count as well:
// they are paid for.
import type { Usage } from "./types.js";

export interface Price {
  readonly input: number;
  readonly output: number;
}

/** Plain JSON. */
export interface Spent {
  /** Requests that were sent, retries included. */
  readonly requests: number;
  readonly retries: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Answers that do not say what they took: tokens and cost leave them out. */
  readonly withoutUsage: number;
  readonly cost: number;
}

const MILLION = 1e6;

/** In the currency of the prices. */
export function costOf({ promptTokens, completionTokens }: Usage, price: Price): number {
  return (promptTokens * price.input + completionTokens * price.output) / MILLION;
}

export class Meter {
  #requests = 0;
  #retries = 0;
  #promptTokens = 0;
  #completionTokens = 0;
  #withoutUsage = 0;

  constructor(readonly price: Price) {}

  /** A request is sent, the `attempt`th of its call, counted from 1. */
  sent(attempt: number): void {
    this.#requests++;
    if (attempt > 1) this.#retries++;
  }

  /** An answer came. */
  answered(usage: Usage | null): void {
    if (usage === null) this.#withoutUsage++;
    this.#promptTokens += usage?.promptTokens ?? 0;
    this.#completionTokens += usage?.completionTokens ?? 0;
  }

  get spent(): Spent {
    const tokens = { promptTokens: this.#promptTokens, completionTokens: this.#completionTokens };
    return {
      requests: this.#requests,
      retries: this.#retries,
      ...tokens,
      withoutUsage: this.#withoutUsage,
      cost: costOf(tokens, this.price),
    };
  }
}
