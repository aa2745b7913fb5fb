// What the trial says at its end: the table of arms, one problem before and after, and one sentence on what was learnt, all computed
// from the figures.

import type { TrialScore } from "../eval/countdown-trial.js";
import { pairedDifference } from "../objective/intervals.js";
import type { TrialGrade } from "../tasks/countdown-trial.js";
import type { ShownSample } from "../train/run.js";
import type { TrainCost } from "../train/steps.js";
import { describeTrial, type Judged, type Trial, type TrialSettings } from "./trial.js";

/** One way to train or decode, and how it did. */
export interface Arm {
  /** Key in summary.json. */
  readonly name: string;
  readonly title: string;
  /** Null where nothing was trained. */
  readonly cost: TrainCost | null;
  readonly judged: Judged;
  readonly parameters: number;
}

/** Work of the parts of an arm, in forward passes of one token: what the time left is estimated from before a part has run. */
export function armWork(settings: Pick<TrialSettings, "sft" | "grpo" | "evaluation">) {
  const training = 3; // forward, and backward at twice that
  const decoding = 2; // a token at a time is about half as fast as many at once
  const typical = 0.3; // of the longest completion
  const { sft, grpo, evaluation } = settings;
  const sampled = grpo.prompts * grpo.samplesPerPrompt * grpo.sampling.maxTokens * typical;
  return {
    sft: sft.steps * sft.tokensPerStep * training,
    grpo: grpo.steps * sampled * (decoding + training * grpo.epochs),
    evaluation:
      2 * evaluation.problems * (evaluation.sampling.maxTokens ?? grpo.sampling.maxTokens) * typical * decoding,
  };
}

/** An arm as plain JSON. */
export function armJson({ title, cost, judged }: Arm) {
  return { title, train: cost, sampled: judged.sampled.score, greedy: judged.greedy.score };
}

/** Two rows an arm, sampled and greedy; made to fit in 80 columns. */
export function armTable(problems: number, arms: readonly Arm[]) {
  return {
    title: `Held-out pass@1 in % with its 95% interval, ${problems} problems`,
    columns: ["policy", "decoded", "pass@1", "interval", "attempts", "thought", "gave up", "train"],
    rows: arms.flatMap(armRows),
    legend: [
      "attempts, thought: means over the problems, thoughts in tokens;",
      "gave up: share of thoughts that give up; train: time of the last training.",
    ],
  };
}

function armRows({ title, cost, judged }: Arm): string[][] {
  const seconds = cost === null ? "-" : `${cost.seconds.toFixed(cost.seconds < 10 ? 1 : 0)} s`;
  return [
    [title, "sampled", ...scoreCells(judged.sampled.score), seconds],
    ["", "greedy", ...scoreCells(judged.greedy.score), ""],
  ];
}

function scoreCells({ pass, attempts, thoughtTokens, gaveUp }: TrialScore): string[] {
  const interval = `${percent(pass.interval[0])}-${percent(pass.interval[1])}`;
  return [percent(pass.rate), interval, attempts.toFixed(1), thoughtTokens.toFixed(0), `${percent(gaveUp)}%`];
}

/** One sentence on the difference between two arms that is no more than the figures say. */
export function whatWasLearnt(before: Arm, after: Arm): string {
  const [a, b] = [before.judged.sampled, after.judged.sampled];
  const { mean, interval } = pairedDifference(a.grades.map(points), b.grades.map(points));
  const change = `pass@1 went from ${percent(a.score.pass.rate)}% to ${percent(b.score.pass.rate)}%`;
  if (a.grades.every(({ correct }, p) => correct === b.grades[p]!.correct)) {
    const { correct, n } = a.score.pass;
    return `pass@1 did not change: sampled, the same ${correct} of ${n} problems are solved before and after.`;
  }
  if (interval[1] < 0) return `The policy got worse: ${change}, ${thoughtChange(a.score, b.score)}.`;
  if (interval[0] <= 0) {
    const range = `${percent(interval[0])} to ${percent(interval[1])}`;
    return (
      `${a.score.pass.n} problems do not show whether the policy got better: ${change}, ` +
      `a difference of ${percent(mean)} points with a 95% interval of ${range}.`
    );
  }
  return `${howItThinks(a.score, b.score)}: ${change}, ${thoughtChange(a.score, b.score)}.`;
}

const noticeable = 1.2; // ratio of attempts that counts as searching longer
const arithmeticGain = 0.02; // share of equations that counts as better arithmetic

function howItThinks(before: TrialScore, after: TrialScore): string {
  const searchesOn = after.attempts > noticeable * before.attempts;
  const reckonsBetter = (after.arithmetic ?? 0) - (before.arithmetic ?? 0) > arithmeticGain;
  if (searchesOn && reckonsBetter) return "The policy learnt to keep searching, and to reckon better";
  if (searchesOn) return "The policy learnt to keep searching rather than new arithmetic";
  if (reckonsBetter) return "The policy learnt to reckon better rather than to search longer";
  return "The policy learnt to choose better attempts, neither searching longer nor reckoning better";
}

function thoughtChange(before: TrialScore, after: TrialScore): string {
  const arithmetic = (score: TrialScore) => (score.arithmetic === null ? "none" : `${percent(score.arithmetic)}%`);
  return (
    `attempts a problem from ${before.attempts.toFixed(1)} to ${after.attempts.toFixed(1)}, ` +
    `giving up from ${percent(before.gaveUp)}% to ${percent(after.gaveUp)}%, ` +
    `equations that hold from ${arithmetic(before)} to ${arithmetic(after)}`
  );
}

/** A held-out problem, decoded greedily by both arms: the first that only the second got right, else the first of all. */
export function beforeAndAfter(trial: Trial, before: Arm, after: Arm) {
  const [a, b] = [before.judged.greedy, after.judged.greedy];
  const gained = trial.heldOut.findIndex((_, p) => !a.grades[p]!.correct && b.grades[p]!.correct);
  const place = Math.max(0, gained);
  const shown = ({ completions, grades }: typeof a): ShownSample => ({
    ...describeTrial(trial.heldOut[place]!, completions[place]!, grades[place]!, true),
    reward: grades[place]!.correct ? 1 : 0,
  });
  const json = { before: shown(a), after: shown(b) };
  const which = gained < 0 ? "" : " that only the policy after GRPO solved";
  const show = () => {
    trial.run.note("info", `\nA held-out problem${which}, decoded greedily before and after:`);
    trial.run.show(0, json.before, `Before (${before.title})`);
    trial.run.show(0, json.after, `After (${after.title})`);
  };
  return { json, show };
}

function points(grade: TrialGrade): number {
  return grade.correct ? 1 : 0;
}

function percent(share: number): string {
  return (100 * share).toFixed(1);
}
