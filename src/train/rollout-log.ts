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

/** Whose sample it is. */
export interface RolloutPlace {
  readonly phase: string;
  readonly step: number;
  /** Number of the problem. */
  readonly problem: number;
  /** Place in its group. */
  readonly sample: number;
}

/** A line of rollouts.jsonl; a reward that is not a number is null there. */
export function rolloutRecord(
  place: RolloutPlace,
  { finish, completion }: Sample,
  { prompt, thinking, answer, graded, reward }: ShownSample,
): Readonly<Record<string, unknown>> {
  const instead = graded === undefined ? {} : { graded };
  return { ...place, prompt, thinking, answer, ...instead, reward, finish, tokens: completion.length };
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
      const place = { phase, step, problem: group.problem.id, sample: index };
      const shown = { ...log.describe(group.problem, sample), reward: group.rewards[index]! };
      run.folder.rollout(rolloutRecord(place, sample, shown));
    }
  }
  const shown = groups[0];
  if (shown?.samples[0] === undefined || (step - 1) % log.showEvery !== 0) return;
  run.show(step, { ...log.describe(shown.problem, shown.samples[0]), reward: shown.rewards[0]! });
}
