// The figures of the trial of RLMT, from the run folders of its arms: each held-out evaluation by the reward model and by the verifier, which
// is in no reward, and both arms side by side. Plain data with 95% intervals; leaves out words.
import {
  type Estimate,
  estimate,
  pairedDifference,
  type Share,
  type WinShare,
  wilson,
  winShare,
} from "../objective/intervals.js";
import { gradeCountdown } from "../tasks/countdown.js";
import type { TrialProblem } from "../tasks/countdown-trial.js";
import { type HeldOutLine, readHeldOut } from "../train/past-run.js";
import type { TrainCost } from "../train/steps.js";
import { questionOf } from "./try-rlmt-data.js";

/** An answer with the verifier's opinion. */
export interface JudgedAnswer extends HeldOutLine {
  readonly right: boolean;
}

/** An evaluation: one answer of each held-out prompt, in their order. */
export interface Judgement {
  /** Of GRPO; 0 before it. */
  readonly step: number;
  readonly answers: readonly JudgedAnswer[];
  readonly figures: Figures;
}

/** Plain JSON. */
export interface Figures {
  /** The reward model's score. */
  readonly reward: Estimate;
  readonly right: Share;
  readonly malformed: Share;
  /** Tokens of the answers that are well formed. */
  readonly thoughtTokens: Estimate;
  readonly answerTokens: Estimate;
}

export interface Arm {
  readonly name: string;
  readonly title: string;
  readonly train: TrainCost;
  readonly before: Judgement;
  /** While it was trained, in order. */
  readonly course: readonly Judgement[];
  readonly after: Judgement;
}

/** second - first on the same prompts. Plain JSON. */
export interface Comparison {
  readonly reward: Estimate;
  /** Of right answers, in shares. */
  readonly right: Estimate;
  /** Prompts that the second answers better than the first, ties half: by the reward model, and by the verifier. */
  readonly wins: WinShare;
  readonly rightWins: WinShare;
}

/** An arm from its run folder. Throws InputError JSONL_LINE for a damaged one. */
export async function readArm(
  folder: string,
  head: Pick<Arm, "name" | "title" | "train">,
  problems: readonly TrialProblem[],
): Promise<Arm> {
  const known = new Map(problems.map((problem) => [questionOf(problem), problem]));
  const lines = await readHeldOut(folder);
  const of = (phase: string, step: number, taken: number) =>
    judgement(
      lines.filter((line) => line.phase === phase && line.step === step),
      known,
      taken,
    );
  const steps = [...new Set(lines.filter(({ phase }) => phase === "grpo").map(({ step }) => step))];
  return {
    ...head,
    before: of("evaluate-before", 1, 0),
    course: steps.map((step) => of("grpo", step, step)),
    after: of("evaluate-after", 1, head.train.steps),
  };
}

function judgement(lines: readonly HeldOutLine[], known: ReadonlyMap<string, TrialProblem>, step: number): Judgement {
  const answers = lines.map((line) => {
    const problem = known.get(line.messages[0]!.content)!;
    return { ...line, right: gradeCountdown(line.answer, problem, { useAll: true }).correct };
  });
  return { step, answers, figures: figuresOf(answers) };
}

function figuresOf(answers: readonly JudgedAnswer[]): Figures {
  const count = (holds: (answer: JudgedAnswer) => boolean) => wilson(answers.filter(holds).length, answers.length);
  const lengths = (field: "thoughtTokens" | "answerTokens") =>
    estimate(
      answers.flatMap((answer) => answer[field] ?? []),
      "figures",
    );
  return {
    reward: estimate(answers.flatMap(({ reward }) => reward ?? [])),
    right: count(({ right }) => right),
    malformed: count(({ malformed }) => malformed),
    thoughtTokens: lengths("thoughtTokens"),
    answerTokens: lengths("answerTokens"),
  };
}

/** Of the prompts that the reward model could score in both. */
export function compareJudgements(first: Judgement, second: Judgement): Comparison {
  const pairs = first.answers.flatMap((a, p) => {
    const b = second.answers[p]!;
    return a.reward === null || b.reward === null ? [] : [[a, b] as const];
  });
  const paired = (of: (answer: JudgedAnswer) => number) => {
    const [a, b] = [pairs.map(([one]) => of(one)), pairs.map(([, other]) => of(other))];
    const leads = a.map((own, p) => b[p]! - own);
    const difference = leads.length > 1 ? pairedDifference(a, b) : estimate(leads);
    return { difference, wins: winShare(leads.map((lead) => (1 + Math.sign(lead)) / 2)) };
  };
  const reward = paired((answer) => answer.reward!);
  const right = paired((answer) => Number(answer.right));
  return { reward: reward.difference, right: right.difference, wins: reward.wins, rightWins: right.wins };
}
