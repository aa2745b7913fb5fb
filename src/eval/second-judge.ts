// A second judge over the last sampled answers of several runs: a reward model, which gives each answer a score by itself, or a judge at an
// endpoint, which sees the answers of two runs to one problem side by side. Leaves out how either is opened.
import type { ChatSource } from "../endpoint/types.js";
import { InputError } from "../errors.js";
import { winShare } from "../objective/intervals.js";
import { messagesText } from "../prompt/messages.js";
import { type JudgeOptions, judgeAnswers } from "../reward/judge/judge.js";
import type { RewardModel } from "../reward/model/model.js";
import type { Judgement } from "./comparison/compare.js";
import { commonAnswers, type HeldOutSet, type HeldOutText, lastSet, type RunRecord } from "./comparison/record.js";
import { judgeSet, winRate } from "./win-rate.js";

/** Share of the answers that may be without a score. */
const MOST_UNSCORED = 0.1;

/** What a reward model says of the answers, the first run being the one that the others are held against. */
export async function judgeByModel(
  model: Pick<RewardModel, "score">,
  judge: string,
  runs: readonly RunRecord[],
  signal: AbortSignal,
): Promise<Judgement> {
  const sets = runs.map((run) => lastSet(run, "sampled"));
  const notes: string[] = [];
  const judged: (HeldOutSet | null)[] = [];
  for (const [r, set] of sets.entries()) {
    const score = async (answers: readonly HeldOutText[]) => {
      const mostFailures = Math.floor(MOST_UNSCORED * answers.length);
      const { rewards, faults, truncated } = await model.score(answers, mostFailures, signal);
      const [fault] = faults.values();
      const { name } = runs[r]!;
      if (faults.size > mostFailures) throw unscored(judge, name, answers.length, faults.size, fault!.message);
      if (fault) notes.push(`${judge}: ${faults.size} answers of ${name} have no score; the first, ${fault.message}`);
      if (truncated > 0)
        notes.push(`${judge}: ${truncated} answers of ${name} are cut off where the judge's text ends`);
      return rewards;
    };
    judged.push(set && (await judgeSet(set, score)));
  }
  const [first] = judged;
  const wins = judged.map((set, r) => (r === 0 || !first || !set ? null : winRate(first, set)));
  return { judge, sets: judged, wins, notes };
}

/** What a judge at an endpoint says of each run's answers beside the first one's. Rejects as `judgeAnswers`. */
export async function judgeByEndpoint(
  source: ChatSource,
  judge: string,
  runs: readonly RunRecord[],
  options: JudgeOptions,
): Promise<Judgement> {
  const [first, ...others] = runs.map((run) => lastSet(run, "sampled"));
  const notes: string[] = [];
  const wins: Judgement["wins"][number][] = [null];
  for (const [r, other] of others.entries()) {
    const pairs = commonOf(first ?? null, other).map(([one, two]) => ({
      prompt: messagesText(one.messages),
      ...{ first: one.answer, second: two.answer },
    }));
    const { scores, unparsed } = await judgeAnswers(source, pairs, options);
    const known = scores.filter((score) => score !== null);
    if (unparsed > 0) notes.push(`${judge}: ${unparsed} answers on ${runs[r + 1]!.name} have no verdict`);
    wins.push(known.length === 0 ? null : winShare(known));
  }
  return { judge, sets: [], wins, notes };
}

/** Throws InputError COMPARE_JUDGE where no run has answered a problem of the first one's. */
export function requireCommonAnswers(runs: readonly RunRecord[], judge: string): void {
  const [first = null, ...others] = runs.map((run) => lastSet(run, "sampled"));
  if (others.some((other) => commonOf(first, other).length > 0)) return;
  const names = runs.map(({ name }) => name).join(", ");
  throw new InputError(
    "COMPARE_JUDGE",
    `[compare --judge ${judge}] expected held-out problems that the first run and another have answered, asked in the same words, got none ` +
      `in ${names}; compare runs with the same evaluation.data and evaluation.problems, or leave --judge out`,
  );
}

const commonOf = (a: HeldOutSet | null, b: HeldOutSet | null) => (a && b ? commonAnswers(a, b) : []);

function unscored(judge: string, run: string, answers: number, faults: number, first: string): InputError {
  return new InputError(
    "COMPARE_JUDGE",
    `[compare --judge ${judge}] expected scores for the answers of ${run}, got none for ${faults} of ${answers}; the first, ${first}`,
  );
}
