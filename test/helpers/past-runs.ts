// Run folders as runs write them, with figures that tests choose.

import { RunFolder } from "../../src/train/run-folder.js";
import { temporaryFolder } from "./temporary.js";

export interface PastRunOptions {
  readonly recipe?: string;
  readonly config?: Readonly<Record<string, unknown>>;
  /** The part that trains; default "grpo". */
  readonly phase?: string;
  readonly steps?: number;
  /** Mean reward of a step, counted from 1. */
  readonly reward?: (step: number) => number;
  /** Other fields of a step. */
  readonly figures?: (step: number) => Readonly<Record<string, number>>;
  /** Rewards of held-out problems after training, by problem. */
  readonly heldOut?: Readonly<Record<number, number | null>>;
  /** What problem n asks. */
  readonly question?: (problem: number) => string;
  readonly answer?: (problem: number) => string;
  /** Fields of the answer to problem n. */
  readonly written?: (problem: number) => Readonly<Record<string, number | boolean | null>>;
  readonly figure?: string;
  readonly finished?: boolean;
}

/** A finished run of 20 steps with ten held-out problems, changed by the options; returns its folder. */
export function pastRun(options: PastRunOptions = {}): string {
  const { recipe = "rlvr", config = {}, steps = 20, reward = (step) => step / 20, figures = () => ({}) } = options;
  const { phase = "grpo" } = options;
  const {
    question = (problem) => `Problem ${problem}?`,
    answer = String,
    written = () => ({}),
    figure = "pass@1",
    finished = true,
  } = options;
  const { heldOut = Object.fromEntries(Array.from({ length: 10 }, (_, problem) => [problem, problem % 2])) } = options;
  const path = temporaryFolder("past");
  const folder = new RunFolder(path, recipe, config);
  for (let step = 1; step <= steps; step++) {
    const timed = { seconds: 2 * step, "tokens_per_second/rollout": 100, "seconds/rollout": 1.5 };
    folder.metrics({ phase, step, ...timed, "reward/mean": reward(step), ...figures(step) });
  }
  const answers = Object.entries(heldOut);
  if (answers.length > 0) folder.metrics({ phase: "evaluate-after", step: 1, seconds: 1, [figure]: 0.5 });
  for (const [problem, graded] of answers) {
    folder.heldOut({
      ...{ phase: "evaluate-after", step: 1, decoded: "sampled", figure, problem: Number(problem) },
      messages: [{ role: "user", content: question(Number(problem)) }],
      ...{ thinking: null, answer: answer(Number(problem)), malformed: false, thoughtTokens: 0, answerTokens: 3 },
      ...{ reward: graded, finish: "stop", tokens: 3, ...written(Number(problem)) },
    });
  }
  if (finished) folder.summary({ recipe });
  folder.close();
  return path;
}
