// The steps of a training part: where they begin, when they end, and what goes on between two of them. A loop over them is the algorithm
// and nothing else: `for await (const step of trainingSteps(run, plan))`.
import type { Json, Resumable } from "../data/resumable.js";
import type { Run } from "./run.js";

/** What a training part cost. */
export interface TrainCost {
  readonly steps: number;
  readonly seconds: number;
  /** Tokens of the sequences trained on, prompts included. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
}

/** Counts what a part trains on. */
export class Tally implements Resumable {
  steps = 0;
  tokens = 0;

  /** A step was taken on so many tokens. */
  add(tokens: number): void {
    this.steps++;
    this.tokens += tokens;
  }

  cost(seconds: number): TrainCost {
    const { steps, tokens } = this;
    return { steps, seconds, tokens, tokensPerSecond: tokens / seconds };
  }

  save(): Json {
    return { steps: this.steps, tokens: this.tokens };
  }

  restore(state: Json): void {
    Object.assign(this, state);
  }
}

export interface StepsPlan {
  /** Steps of the part; its seconds may end it before. */
  readonly steps: number;
  /** All that moves from step to step, weights and moments aside. */
  readonly state: Resumable;
}

/**
 * The numbers of the steps, counted from 1, of the part of the run that has begun. A step is over when the next one is asked for; when
 * the run is to stop, it rejects there and not within a step.
 */
export async function* trainingSteps(run: Run, plan: StepsPlan): AsyncGenerator<number, void, void> {
  for (let step = 1; step <= plan.steps && !run.over; step++) {
    run.throwIfStopped();
    using _ = run.uninterrupted();
    yield step;
  }
}
