// Rollouts for people: some groups of every step go to rollouts.jsonl, now and then one sample to the screen.
import type { Group, Sample } from "../rollout/types.js";
import type { Run, ShownSample } from "./run.js";

/** A problem knows its number, which names it in logs. */
export interface Numbered {
  readonly id: number;
}

export interface RolloutLog<P> {
  /** Groups of a step that are written. */
  readonly groups: number;
  /** Steps between samples on the screen. */
  readonly showEvery: number;
  /** Prompt, thought and answer as text. */
  readonly describe: (problem: P, sample: Sample) => Omit<ShownSample, "reward">;
}

/** Writes and shows the rollouts of a step. */
export function logRollouts<P extends Numbered>(
  run: Run,
  phase: string,
  step: number,
  groups: readonly Group<P>[],
  log: RolloutLog<P>,
): void {
  for (const group of groups.slice(0, log.groups)) {
    for (const [index, sample] of group.samples.entries()) {
      const { prompt, thinking, answer } = log.describe(group.problem, sample);
      const { finish, completion } = sample;
      const reward = group.rewards[index]!;
      const place = { phase, step, problem: group.problem.id, sample: index };
      run.folder.rollout({ ...place, prompt, thinking, answer, reward, finish, tokens: completion.length });
    }
  }
  const shown = groups[0];
  if (shown?.samples[0] === undefined || (step - 1) % log.showEvery !== 0) return;
  run.show(step, { ...log.describe(shown.problem, shown.samples[0]), reward: shown.rewards[0]! });
}
