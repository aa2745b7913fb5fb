// What the trial of RLMT says at its end: a table of both arms, its course, some answers, and in plain words what came out. All of it is
// computed from the figures, whichever way they fell.
import type { Estimate, Share, WinShare } from "../objective/intervals.js";
import type { RolloutEvent, TableEvent } from "../report/events.js";
import { type Arm, type Comparison, compareJudgements, type Judgement } from "./try-rlmt-figures.js";

/** Share of pairs that a coin puts in the right order. */
const chance = 0.5;
/** Share of malformed answers above which rewards are read with care. */
const manyMalformed = 0.05;

/** The arms, the second against the first. */
export type Arms = readonly [plain: Arm, thinking: Arm];

/** Rows of figures, one column an arm and one for the difference; made to fit in 80 columns. */
export function figureTable([plain, thinking]: Arms): TableEvent {
  const before = compareJudgements(plain.before, thinking.before);
  const after = compareJudgements(plain.after, thinking.after);
  const both = (name: string, of: (arm: Arm) => string, difference = "") => [name, of(plain), of(thinking), difference];
  const at = (when: "before" | "after", { reward, right }: Comparison) => [
    both(`reward ${when}`, (arm) => meanText(arm[when].figures.reward), meanText(reward, true)),
    both(`right ${when}`, (arm) => shareText(arm[when].figures.right), meanText(inPercent(right), true, 1)),
  ];
  const length = (mean: Estimate) => meanText(mean, false, 1);
  return {
    type: "table",
    title: `${after.reward.n} held-out prompts, with 95% intervals`,
    columns: ["", "no thinking", "thinking", "difference, paired"],
    rows: [
      ...at("before", before),
      ...at("after", after),
      ["wins", "", "", shareText(after.wins)],
      ["right wins", "", "", shareText(after.rightWins)],
      both("thought", (arm) => length(arm.after.figures.thoughtTokens)),
      both("answer", (arm) => length(arm.after.figures.answerTokens)),
      both("malformed", (arm) => shareText(arm.after.figures.malformed)),
      both("training", ({ train }) => `${train.seconds.toFixed(0)} s`),
    ],
    legend: [
      "before, after: GRPO. reward: the reward model's score. right: by the verifier, which no training saw, in %.",
      "wins: prompts in % that thinking answers better, ties half, by the reward model; right wins: by the verifier.",
      "thought, answer: tokens after GRPO, of well-formed samples; malformed in %; training: time of GRPO.",
    ],
  };
}

/** The rewards of both arms and their right answers, evaluation by evaluation. Null where there is none but before and after. */
export function courseTable(arms: Arms): TableEvent | null {
  const steps = [...new Set(arms.flatMap(({ course }) => course.map(({ step }) => step)))].sort((a, b) => a - b);
  if (steps.length === 0) return null;
  const row = (when: string, of: (arm: Arm) => Judgement | undefined) => [
    when,
    ...arms.flatMap((arm) => cellsOf(of(arm))),
  ];
  return {
    type: "table",
    title: "The course of GRPO on the held-out prompts",
    columns: ["", "no thinking: reward", "right in %", "thinking: reward", "right in %"],
    rows: [
      row("before", ({ before }) => before),
      ...steps.map((step) => row(`step ${step}`, ({ course }) => course.find((judged) => judged.step === step))),
      row("after", ({ after }) => after),
    ],
  };
}

const cellsOf = (judged: Judgement | undefined): readonly string[] =>
  judged === undefined ? ["-", "-"] : [score(judged), percent(judged.figures.right.rate)];

/** What came out, in sentences that say no more than the figures; `accuracy` is the reward model's on held-out pairs. */
export function conclusion(arms: Arms, accuracy: Share, seed: number): readonly string[] {
  const [plain, thinking] = arms;
  const after = compareJudgements(plain.after, thinking.after);
  return [
    whoScores(arms, after),
    secondJudge(arms, after),
    ...arms.map(whatRlDid),
    whatTheRewardIsWorth(accuracy),
    ...arms.flatMap(whatIsMalformed),
    whatItCost(arms),
    `This is seed ${seed} of a tiny model; another one: --set seed=${seed + 1}.`,
  ];
}

/** -1, 0 or 1: which side of 0 the interval lies on; 0 where it holds 0, or there is none. */
function sideOf({ interval }: Estimate): -1 | 0 | 1 {
  if (interval === null) return 0;
  const [low, high] = interval;
  if (low > 0) return 1;
  return high < 0 ? -1 : 0;
}

function whoScores([plain, thinking]: Arms, { reward, wins }: Comparison): string {
  const figures =
    `reward ${score(plain.after)} without and ${score(thinking.after)} with thinking, ` +
    `a difference of ${meanText(reward, true)} on ${reward.n} prompts`;
  const won = `thinking has the better answer on ${shareText(wins)}% of them`;
  const side = sideOf(reward);
  if (side === 0) return `The reward model does not tell the arms apart: ${figures}; ${won}.`;
  return `Thinking ${side > 0 ? "helped" : "hurt"}, says the reward model: ${figures}; ${won}.`;
}

function secondJudge([plain, thinking]: Arms, { reward, right }: Comparison): string {
  const [a, b] = [plain, thinking].map((arm) => percent(arm.after.figures.right.rate));
  const figures = `${a}% right answers without and ${b}% with thinking, a difference of ${meanText(inPercent(right), true, 1)} points`;
  const [first, second] = [sideOf(reward), sideOf(right)];
  if (second === 0) return `The verifier, which no training saw, does not tell them apart: ${figures}.`;
  if (first === second) return `The verifier, which no training saw, agrees: ${figures}.`;
  const opinion = second > 0 ? "thinking helped" : "thinking hurt";
  return `The verifier, which no training saw, says that ${opinion}${first === 0 ? "" : ", against the reward model"}: ${figures}.`;
}

/** What GRPO did to an arm: a reward that rises while right answers fall is gamed; where they only may have, nothing is said of it. */
function whatRlDid(arm: Arm): string {
  const { reward, right } = compareJudgements(arm.before, arm.after);
  const figures =
    `reward ${score(arm.before)} to ${score(arm.after)}, ` +
    `right answers ${percent(arm.before.figures.right.rate)}% to ${percent(arm.after.figures.right.rate)}%`;
  return `${arm.title}: GRPO ${verdict(sideOf(reward), sideOf(right))} (${figures}).`;
}

function verdict(reward: -1 | 0 | 1, right: -1 | 0 | 1): string {
  if (reward === 1 && right === 1) return "raised the reward, and right answers with it";
  if (reward === 1 && right === -1) return "raised the reward at the cost of right answers: the reward model was gamed";
  if (reward === 1) return `raised the reward; ${noChange}`;
  const change = reward === 0 ? "did not change the reward by more than chance" : "lowered the reward";
  const answers = {
    "-1": "there are fewer right answers",
    "0": "nor right answers",
    "1": "there are more right answers",
  };
  return `${change}; ${reward === -1 && right === 0 ? noChange : answers[`${right}`]}`;
}

const noChange = "right answers did not change by more than chance";

/** A reward model that is right as often as a coin says nothing; any other is worth no more than its share. */
function whatTheRewardIsWorth(accuracy: Share): string {
  const figures = `The reward model has ${shareText(accuracy)}% of its ${accuracy.n} held-out pairs right`;
  if (accuracy.interval[0] <= chance)
    return `${figures}, which may be chance: what it says of the arms is worth nothing.`;
  return `${figures}: what it says of the arms is worth no more than that.`;
}

/** Rewards of malformed answers are those of what stands in their place, so that they are as much about the form as about answers. */
function whatIsMalformed({ title, before, after }: Arm): readonly string[] {
  const [first, last] = [before.figures.malformed, after.figures.malformed];
  if (Math.max(first.interval[0], last.interval[0]) <= manyMalformed) return [];
  return [
    `${title}: ${shareText(first)}% of the answers before GRPO and ${shareText(last)}% after it are malformed, so its rewards are partly ` +
      "about the form, not about answers.",
  ];
}

function whatItCost([plain, thinking]: Arms): string {
  const { thoughtTokens, answerTokens } = thinking.after.figures;
  const written =
    thoughtTokens.mean === null || answerTokens.mean === null
      ? "Hardly an answer with thinking is well formed"
      : `A thought takes ${thoughtTokens.mean.toFixed(0)} tokens before an answer of ${answerTokens.mean.toFixed(0)}`;
  const [a, b] = [thinking, plain].map(({ train }) => train.seconds.toFixed(0));
  return `${written}; GRPO took ${a} s with thinking and ${b} s without.`;
}

/** Held-out prompts as both arms answer them: the first that only the one has right, the first that only the other has. */
export function samplesToShow([plain, thinking]: Arms): readonly (readonly RolloutEvent[])[] {
  const places = [
    thinking.after.answers.findIndex((own, p) => own.right && !plain.after.answers[p]!.right),
    thinking.after.answers.findIndex((own, p) => !own.right && plain.after.answers[p]!.right),
  ].filter((place) => place >= 0);
  return (places.length === 0 ? [0] : places).map((place) => [shown(plain, place), shown(thinking, place)]);
}

function shown({ title, after }: Arm, place: number): RolloutEvent {
  const { messages, thinking, answer, reward, right } = after.answers[place]!;
  return {
    type: "rollout",
    phase: "",
    step: 0,
    label: `${title}, ${right ? "right" : "wrong"}`,
    ...{ prompt: messages[0]!.content, thinking, answer, reward: reward ?? Number.NaN },
  };
}

const percent = (share: number): string => (100 * share).toFixed(1);

const score = ({ figures }: Judgement): string => figures.reward.mean?.toFixed(2) ?? "-";

function meanText({ mean, interval }: Estimate, signed = false, digits = 2): string {
  const text = (value: number) => `${signed && value > 0 ? "+" : ""}${value.toFixed(digits)}`;
  if (mean === null) return "-";
  return interval === null ? text(mean) : `${text(mean)} [${text(interval[0])}, ${text(interval[1])}]`;
}

const shareText = ({ rate, interval }: Share | WinShare): string =>
  rate === null || interval === null ? "-" : `${percent(rate)} [${percent(interval[0])}, ${percent(interval[1])}]`;

function inPercent(estimate: Estimate): Estimate {
  const { n, mean, interval } = estimate;
  if (interval === null) return { n, mean: mean === null ? null : 100 * mean, interval };
  return { n, mean: 100 * mean, interval: [100 * interval[0], 100 * interval[1]] };
}
