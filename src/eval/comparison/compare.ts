// Several runs as one comparison: what differs in their settings, whether that allows to compare them, their figures.
import { counted } from "../../config/counted.js";
import { InputError } from "../../errors.js";
import type { WinShare } from "../../objective/intervals.js";
import { FEWEST, type Measure, measures, windowOf } from "./measures.js";
import { commonAnswers, type HeldOutSet, lastSet, type RunRecord } from "./record.js";
import { type SettingDifference, settingDifferences } from "./settings.js";

/** Plain JSON. */
export interface Comparison {
  readonly runs: readonly RunSketch[];
  /** Settings that are not the same in all runs; everything else is equal. */
  readonly settings: readonly SettingDifference[];
  /** What limits the comparison, in words. */
  readonly notes: readonly string[];
  readonly measures: readonly Measure[];
  /** What a second judge says, where one was asked. */
  readonly judge: { readonly name: string; readonly wins: Judgement["wins"] } | null;
}

export interface RunSketch {
  readonly name: string;
  readonly recipe: string;
  readonly phase: string;
  readonly steps: number;
  /** Steps at either end that figures are the mean of. */
  readonly window: number;
  readonly finished: boolean;
}

/** The opinion of a second judge. */
export interface Judgement {
  /** Who it is. */
  readonly judge: string;
  /** The last sampled evaluation of each run with the judge's scores as rewards, null where a run has no answers; [] of a judge of pairs. */
  readonly sets: readonly (HeldOutSet | null)[];
  /** How often each run is ahead of the first; null for the first, and where they have answered no problem both. */
  readonly wins: readonly (WinShare | null)[];
  /** What limits the judgement, in words. */
  readonly notes: readonly string[];
}

/** Compares runs, the first with each of the others. Throws InputError COMPARE_RUNS for fewer than two. */
export function compareRuns(runs: readonly RunRecord[], judgement: Judgement | null = null): Comparison {
  requireSeveral(runs);
  const settings = settingDifferences(runs.map(({ config }) => config));
  const found = measures(runs, judgement);
  return {
    runs: runs.map(({ name, recipe, phase, steps, finished }) => ({
      ...{ name, recipe, phase, finished },
      steps: steps.length,
      window: windowOf(steps.length),
    })),
    settings,
    notes: [
      ...runs.flatMap(ownNotes),
      ...jointNotes(runs, settings),
      ...runs.flatMap((run, r) => missingNotes(run, r, found)),
      ...(judgement ? judgeNotes(runs, judgement) : []),
    ],
    measures: found,
    judge: judgement && { name: judgement.judge, wins: judgement.wins },
  };
}

/** Throws InputError COMPARE_RUNS for fewer than two. */
export function requireSeveral({ length }: readonly RunRecord[]): void {
  if (length > 1) return;
  throw new InputError("COMPARE_RUNS", `[compare] expected at least 2 runs, got ${length}; name more run folders`);
}

const ownNotes = ({ name, notes, finished, steps }: RunRecord): readonly string[] => [
  ...notes.map((note) => `${name}: ${note}`),
  ...(finished ? [] : [`${name}: not finished, ${counted(steps.length, "step")} so far`]),
];

/** Parts of the settings that must be the same for a figure to mean the same. */
const NEEDED: readonly (readonly [setting: RegExp, text: string])[] = [
  [/^(reward|rewards|task)(\.|$)/, "the rewards are not the same, so the rows about reward are not on one scale"],
  [/^(data|question|mixture)(\.|$)/, "the prompts of training are not the same"],
];
const HELD_OUT = /^evaluation\.(data|problems)(\.|$)/;

function jointNotes(runs: readonly RunRecord[], settings: readonly SettingDifference[]): readonly string[] {
  const [first, ...others] = runs as [RunRecord, ...RunRecord[]];
  const recipes = new Set(runs.map(({ recipe }) => recipe));
  const lengths = new Set(runs.map(({ steps }) => steps.length));
  return [
    ...(recipes.size > 1
      ? [`the recipes differ: ${[...recipes].join(", ")}; settings that one has and another has not are listed too`]
      : []),
    ...NEEDED.flatMap(([setting, text]) => (settings.some(({ key }) => setting.test(key)) ? [text] : [])),
    ...(settings.some(({ key }) => HELD_OUT.test(key)) && !others.every((other) => haveSameAnswers(first, other))
      ? ["the held-out problems are not the same; those in common are paired"]
      : []),
    ...(lengths.size > 1 ? [`the runs have ${[...lengths].join(", ")} steps: ends are those of each run`] : []),
    ...others.flatMap((other) => rowNotes(first, other)),
    ...others.flatMap((other) => heldOutNotes(first, other)),
  ];
}

/**
 * Figures that other runs have. Not those of thoughts, which a run without thinking has none of; ends of training that are left out on purpose
 * and what a judge says have notes of their own.
 */
function missingNotes(
  { name, trainedAfterSampling }: RunRecord,
  r: number,
  all: readonly Measure[],
): readonly string[] {
  const isTold = ({ name: key }: Measure) =>
    /^(held-out|judge|style|length\/thought)\//.test(key) || (trainedAfterSampling && key.endsWith("/end"));
  const missing = all.filter((measure) => measure.values[r] === null && !isTold(measure)).map(({ title }) => title);
  return missing.length === 0 ? [] : [`${name} has no ${[...new Set(missing)].join("; no ")}`];
}

function rowNotes(first: RunRecord, other: RunRecord): readonly string[] {
  const names = `${first.name} and ${other.name}`;
  const [a, b] = [first.rowsLeftOut, other.rowsLeftOut];
  if (a !== null && b !== null && a !== b)
    return [`${names} left out ${a} and ${b} rows of their data: they are not trained on the same`];
  if (first.prompts === null || other.prompts === null || first.prompts === other.prompts) return [];
  return [`${names} are not trained on the same prompts, though as many rows are left out`];
}

/** Other settings may come to the same held-out problems. */
function haveSameAnswers(first: RunRecord, other: RunRecord): boolean {
  const [a, b] = [lastSet(first, "sampled"), lastSet(other, "sampled")];
  if (a === null || b === null || a.answers === null || b.answers === null) return false;
  const common = commonAnswers(a, b).length;
  return common === a.answers.length && common === b.answers.length;
}

function heldOutNotes(first: RunRecord, other: RunRecord): readonly string[] {
  const [a, b] = [lastSet(first, "sampled"), lastSet(other, "sampled")];
  const names = `${first.name} and ${other.name}`;
  if (a === null || b === null) {
    const missing = [first, other].filter((run) => lastSet(run, "sampled") === null).map(({ name }) => name);
    return [
      `no held-out figure of ${missing.join(" and ")}; set evaluation.problems, and evaluation.data where the recipe needs it`,
    ];
  }
  if (a.figure !== b.figure)
    return [`${names} have different held-out figures, ${a.figure} and ${b.figure}: no difference`];
  if (a.answers === null || b.answers === null) return [`${names}: held-out figures without answers: no interval`];
  const common = commonAnswers(a, b).length;
  if (common === a.answers.length && common === b.answers.length) return [];
  if (common < FEWEST) return [`${names} have ${common} held-out problems in common: their difference is not paired`];
  return [
    `${names} have ${common} held-out problems in common, of ${a.answers.length} and ${b.answers.length}: those are paired`,
  ];
}

function judgeNotes(runs: readonly RunRecord[], { judge, wins, notes }: Judgement): readonly string[] {
  const [first] = runs;
  const counts = wins.flatMap((share, r) => {
    if (share === null) return [];
    const names = `${runs[r]!.name} against ${first!.name}`;
    return [
      `${judge} judges ${names}: ${share.wins} wins, ${share.ties} ties, ${share.losses} losses on ${share.n} problems`,
    ];
  });
  const unjudged = wins.flatMap((share, r) =>
    share === null && r > 0 ? [`${judge} has nothing to judge of ${runs[r]!.name}`] : [],
  );
  return [...counts, ...unjudged, ...notes];
}
