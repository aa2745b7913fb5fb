// The steps of a training part: where they begin, when they end, and what goes on between two of them. A loop over them is the algorithm
// and nothing else: `for await (const step of trainingSteps(run, plan))`.
import { type Json, type Resumable, resumables } from "../data/resumable.js";
import type { Saved } from "./checkpoint.js";
import { type Best, BestSoFar, bestText, type HeldOut } from "./held-out.js";
import type { Run } from "./run.js";

/** What a training part cost. */
export interface TrainCost {
  readonly steps: number;
  readonly seconds: number;
  /** Tokens of the sequences trained on, prompts included. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** The best held-out figure while training; null where none was measured. */
  readonly best: Best | null;
}

/** Counts what a part trains on. */
export class Tally implements Resumable {
  steps = 0;
  tokens = 0;
  /** Known when the part has ended. */
  best: Best | null = null;

  /** A step was taken on so many tokens. */
  add(tokens: number): void {
    this.steps++;
    this.tokens += tokens;
  }

  cost(seconds: number): TrainCost {
    const { steps, tokens, best } = this;
    return { steps, seconds, tokens, tokensPerSecond: tokens / seconds, best };
  }

  save(): Json {
    return { steps: this.steps, tokens: this.tokens };
  }

  restore(state: Json): void {
    Object.assign(this, state);
  }
}

export interface StepsPlan {
  /** What checkpoints are written of, and what takes the best one's weights. */
  readonly engine: Saved;
  /** Steps of the part, asked for after each; its seconds or its patience may end it before. */
  readonly steps: number;
  /** All that moves from step to step, weights and moments aside. */
  readonly state: Resumable;
  readonly heldOut?: HeldOut | undefined;
  /** Takes note of the best held-out figure when the part ends. */
  readonly tally?: Pick<Tally, "best">;
  /** Whether the step in hand may be one that the held-out figure is measured after; default: any. */
  isMeasured?(): boolean;
}

/**
 * The numbers of the steps, counted from 1, of the part of the run that has begun; where the run goes on within the part, those that are
 * left. Between two steps the held-out figure is measured and a checkpoint written, where they are due. When the run is to stop, the step
 * in hand is finished and saved; then this rejects with the reason. Where the held-out figure has patience, the part ends with the weights
 * of its best step, by the checkpoint of it.
 */
export async function* trainingSteps(run: Run, plan: StepsPlan): AsyncGenerator<number, void, void> {
  const { engine, heldOut } = plan;
  const best = new BestSoFar(heldOut ?? { better: "higher", patience: 0 });
  const state = resumables({ loop: plan.state, best });
  const save = () => run.save(engine, state, best.trained);
  run.restore(state);
  while (run.stepsDone < plan.steps && !run.over && !best.exhausted) {
    run.throwIfStopped();
    const step = run.nextStep();
    {
      using _ = run.uninterrupted();
      yield step;
      const measured = heldOut !== undefined && (plan.isMeasured?.() ?? true);
      const improved = measured && (await evaluate(run, heldOut, best, step));
      if (improved || run.saveIsDue) await save();
    }
    if (run.stopping) await save();
  }
  await save();
  run.throwIfStopped();
  const found = heldOut === undefined ? null : await endWithBest(run, plan.engine, heldOut, best);
  if (plan.tally !== undefined) plan.tally.best = found;
}

/** Says which step was the best; the engine takes its weights where patience asks for them. Null where nothing was measured. */
async function endWithBest(
  run: Run,
  engine: Saved,
  { figure, patience }: HeldOut,
  { trained, value, exhausted }: BestSoFar,
): Promise<Best | null> {
  if (trained === null || value === null) return null;
  const step = run.stepsDone - (run.trained - trained);
  const isLast = step === run.stepsDone;
  const folder = patience > 0 && !isLast ? run.modelAt(trained) : null;
  if (folder !== null) await engine.loadWeights(folder);
  const best = { figure, step, value, kept: isLast || folder !== null };
  run.note("info", bestText(best, run.stepsDone, exhausted ? patience : null));
  return best;
}

/** Measures the held-out figure after a step that asks for it; says whether it is the best so far. */
async function evaluate(run: Run, heldOut: HeldOut, best: BestSoFar, step: number): Promise<boolean> {
  if (heldOut.every === 0 || step % heldOut.every !== 0) return false;
  const metrics = await heldOut.measure();
  const improved = best.note(metrics[heldOut.figure] ?? Number.NaN, run.trained);
  run.measured(step, metrics, heldOut.figure, best.value);
  return improved;
}
