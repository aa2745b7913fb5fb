// The figures of a comparison with their intervals, and the difference of each run to the first one. Pure. Intervals over steps take steps as
// independent, which neighbours are not quite.
import {
  type Kind,
  meanOf,
  pairedDifference,
  unpairedDifference,
  type WinShare,
  wilson,
} from "../../objective/intervals.js";
import {
  commonAnswers,
  type HeldOutSet,
  type HeldOutText,
  lastSet,
  type RunRecord,
  type StepFigures,
} from "./record.js";

/** A value with its 95% interval, where there is one. Plain JSON. */
export interface Value {
  readonly mean: number;
  readonly interval: readonly [low: number, high: number] | null;
  /** Values that the mean is of. */
  readonly n: number;
}

/** after - before, and how its interval was made. */
export interface DifferenceValue extends Value {
  readonly how: "paired problems" | "unpaired problems" | "paired steps" | "unpaired steps" | "no interval";
}

export interface Measure {
  /** Key in JSON. */
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly section: "reward" | "held-out" | "length" | "watch" | "cost" | "style";
  /** One a run; null where the run does not have it. */
  readonly values: readonly (Value | null)[];
  /** To the first run, one a run; null for the first and where one of the two is missing. */
  readonly differences: readonly (DifferenceValue | null)[];
}

/** Values below which an interval says little. */
export const FEWEST = 5;
const WIDEST_WINDOW = 20;

/** Steps at either end of a run that a figure is the mean of: a tenth of them, from 5 to 20, and half of a short run. */
export const windowOf = (steps: number): number =>
  Math.min(Math.ceil(steps / 2), Math.max(FEWEST, Math.min(WIDEST_WINDOW, Math.ceil(steps / 10))));

const TITLES: readonly (readonly [section: Measure["section"], field: string, title: string, ends: "both" | "end"])[] =
  [
    ["reward", "reward/mean", "reward", "both"],
    ["length", "length/thought", "thought, tokens", "both"],
    ["length", "length/answer", "answer, tokens", "both"],
    ["length", "completion_length/mean", "completion, tokens", "both"],
    ["watch", "malformed", "malformed", "both"],
    ["watch", "kl", "KL to the reference", "end"],
    ["watch", "watch/length_correlation", "reward ~ answer length", "end"],
    ["watch", "watch/repeated_4grams", "repeated 4-grams", "end"],
  ];

/** Fields that are shares of a step's samples: their mean over steps is one too. */
const SHARES: readonly string[] = ["malformed", "watch/repeated_4grams"];

/** How held-out answers are written; null where it is not known. */
const WRITTEN: readonly (readonly [name: string, title: string, figureOf: (answer: HeldOutText) => number | null])[] = [
  ["thought", "thought, tokens", ({ thoughtTokens }) => thoughtTokens],
  ["answer", "answer, tokens", ({ answerTokens }) => answerTokens],
  ["malformed", "malformed", ({ malformed }) => Number(malformed)],
];

/** The same answers with another figure in place of their rewards; null where the run kept none, or none is known. */
function figureSet(
  set: HeldOutSet,
  figure: string,
  figureOf: (answer: HeldOutText) => number | null,
): HeldOutSet | null {
  const answers = (set.answers ?? []).map((answer) => ({ ...answer, reward: figureOf(answer) }));
  const grades = gradesOf({ ...set, answers });
  return grades.length === 0 ? null : { ...set, figure, mean: mean(grades), answers };
}

/** All figures of runs, the first of which is the one that the others are compared with. */
export function measures(
  runs: readonly RunRecord[],
  judgement: { readonly sets: readonly (HeldOutSet | null)[]; readonly wins: readonly (WinShare | null)[] } | null,
): readonly Measure[] {
  const watched = TITLES.flatMap(([section, field, title, ends]) => [
    ...(ends === "both" ? [seriesMeasure(runs, section, field, title, "start")] : []),
    seriesMeasure(runs, section, field, title, "end"),
  ]);
  const style = styleFields(runs).flatMap((field) =>
    (["start", "end"] as const).map((end) =>
      seriesMeasure(runs, "style", field, field.slice("style/".length).replaceAll("_", " "), end),
    ),
  );
  const heldOut = (["sampled", "greedy"] as const).map((decoded) => {
    const sets = runs.map((run) => lastSet(run, decoded));
    const figure = sets.find((set) => set !== null)?.figure ?? "";
    return heldOutMeasure({ name: `held-out/${decoded}`, title: `${figure}, ${decoded}` }, sets);
  });
  const sampledSets = runs.map((run) => lastSet(run, "sampled"));
  const written = WRITTEN.map(([name, title, figureOf]) =>
    heldOutMeasure(
      { name: `held-out/${name}`, title },
      sampledSets.map((set) => set && figureSet(set, name, figureOf)),
    ),
  );
  const judge = judgement
    ? [
        heldOutMeasure({ name: "judge/score", title: "the judge's score" }, judgement.sets),
        winRateMeasure(judgement.wins),
      ]
    : [];
  const plain = [bestReward(runs), bestHeldOut(runs), ...costs(runs)];
  const order: readonly Measure["section"][] = ["held-out", "reward", "length", "watch", "style", "cost"];
  const all = [...watched, ...heldOut, ...written, ...judge, ...plain, ...style].filter(({ values }) =>
    values.some((value) => value !== null),
  );
  return order.flatMap((section) => all.filter((measure) => measure.section === section));
}

function styleFields(runs: readonly RunRecord[]): readonly string[] {
  const fields = runs.flatMap(({ steps }) => Object.keys(steps.at(-1)?.figures ?? {}));
  return [...new Set(fields.filter((field) => field.startsWith("style/")))];
}

/** A field of metrics.jsonl at one end of training. */
function seriesMeasure(
  runs: readonly RunRecord[],
  section: Measure["section"],
  field: string,
  title: string,
  end: "start" | "end",
): Measure {
  const ends = runs.map(({ steps, trainedAfterSampling }) =>
    end === "end" && trainedAfterSampling ? [] : known(endOf(steps, end), field),
  );
  return {
    name: `${field}/${end}`,
    title: `${title}, ${end}`,
    section,
    values: ends.map((points) => {
      const value = meanValue(
        points.map(([, value]) => value),
        "figures",
      );
      return SHARES.includes(field) ? asShare(value) : value;
    }),
    differences: ends.map((points, r) => {
      const difference = r === 0 ? null : stepDifference(ends[0]!, points);
      return SHARES.includes(field) && isSure(difference)
        ? withoutInterval(difference!.mean, difference!.n)
        : difference;
    }),
  };
}

type Point = readonly [step: number, value: number];

function endOf(steps: readonly StepFigures[], end: "start" | "end"): readonly StepFigures[] {
  const window = windowOf(steps.length);
  return end === "start" ? steps.slice(0, window) : steps.slice(-window);
}

const known = (steps: readonly StepFigures[], field: string): readonly Point[] =>
  steps.flatMap(({ step, figures }) => (figures[field] === undefined ? [] : [[step, figures[field]] as const]));

/** Null for no values; without interval for few. */
function meanValue(values: readonly number[], kind: Kind): Value | null {
  if (values.length === 0) return null;
  if (values.length < FEWEST) return { mean: mean(values), interval: null, n: values.length };
  return meanOf(values, kind);
}

/** Steps whose shares are all alike do not make their mean certain: the interval of such a mean is not known from them. */
function asShare(value: Value | null): Value | null {
  if (value === null || value.interval === null) return value;
  if (isSure(value)) return { ...value, interval: null };
  const [low, high] = value.interval;
  return { ...value, interval: [Math.max(0, low), Math.min(1, high)] };
}

const isSure = (value: Value | null): boolean => value?.interval != null && value.interval[0] === value.interval[1];

/** Steps are paired by their number where both ends have the same ones: there both runs saw the same problems, if their data are alike. */
function stepDifference(before: readonly Point[], after: readonly Point[]): DifferenceValue | null {
  if (before.length === 0 || after.length === 0) return null;
  const [a, b] = [before, after].map((points) => points.map(([, value]) => value)) as [number[], number[]];
  if (Math.min(a.length, b.length) < FEWEST) return withoutInterval(mean(b) - mean(a), Math.min(a.length, b.length));
  const paired = a.length === b.length && before.every(([step], i) => step === after[i]![0]);
  if (paired) return { ...pairedDifference(a, b, "figures"), how: "paired steps" };
  return { ...unpairedDifference(a, b, "figures"), how: "unpaired steps" };
}

function heldOutMeasure(head: Pick<Measure, "name" | "title">, sets: readonly (HeldOutSet | null)[]): Measure {
  return {
    ...head,
    section: "held-out",
    values: sets.map((set) => set && heldOutValue(set)),
    differences: sets.map((set, r) => (r === 0 || !set || !sets[0] ? null : heldOutDifference(sets[0], set))),
  };
}

/** Of each run against the first. */
function winRateMeasure(wins: readonly (WinShare | null)[]): Measure {
  const values = wins.map((share): Value | null =>
    share === null || share.rate === null ? null : { mean: share.rate, interval: share.interval, n: share.n },
  );
  return {
    name: "judge/win_rate",
    title: "wins against A, ties half",
    section: "held-out",
    values,
    differences: values.map(() => null),
  };
}

const gradesOf = ({ answers }: HeldOutSet): readonly number[] => (answers ?? []).flatMap(({ reward }) => reward ?? []);

/** Figures of held-out answers that are numbers, not grades. */
const kindOf = ({ figure }: HeldOutSet): Kind => (figure === "thought" || figure === "answer" ? "figures" : "scores");

/** Wilson's interval for right or wrong, else Student's over problems; null where nothing could be graded. */
function heldOutValue(set: HeldOutSet): Value | null {
  const grades = gradesOf(set);
  const kind = kindOf(set);
  if (grades.length === 0) return Number.isFinite(set.mean) ? { mean: set.mean, interval: null, n: 0 } : null;
  if (kind === "figures" || grades.some((grade) => grade !== 0 && grade !== 1)) return meanValue(grades, kind);
  const { rate, interval, n } = wilson(grades.filter((grade) => grade === 1).length, grades.length);
  return { mean: rate, interval, n };
}

/** Null where the sets are of different figures: their difference means nothing. */
function heldOutDifference(before: HeldOutSet, after: HeldOutSet): DifferenceValue | null {
  if (before.figure !== after.figure) return null;
  const pairs = commonAnswers(before, after).flatMap(([{ reward: a }, { reward: b }]) =>
    a === null || b === null ? [] : [[a, b] as const],
  );
  if (pairs.length >= FEWEST) {
    const [a, b] = [pairs.map(([one]) => one), pairs.map(([, other]) => other)];
    return { ...pairedDifference(a, b, kindOf(after)), how: "paired problems" };
  }
  const [a, b] = [gradesOf(before), gradesOf(after)];
  if (Math.min(a.length, b.length) >= FEWEST)
    return { ...unpairedDifference(a, b, kindOf(after)), how: "unpaired problems" };
  return withoutInterval(after.mean - before.mean, Math.min(a.length, b.length));
}

const withoutInterval = (difference: number, n: number): DifferenceValue => ({
  mean: difference,
  interval: null,
  n,
  how: "no interval",
});

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** A measure of single figures, which have no intervals. */
function plainMeasure(head: Pick<Measure, "name" | "title" | "section">, figures: readonly (number | null)[]): Measure {
  const first = figures[0] ?? null;
  return {
    ...head,
    values: figures.map((figure) => (figure === null ? null : { mean: figure, interval: null, n: 1 })),
    differences: figures.map((figure, r) =>
      r === 0 || figure === null || first === null ? null : withoutInterval(figure - first, 1),
    ),
  };
}

const most = (values: readonly number[]): number | null => (values.length === 0 ? null : Math.max(...values));
const total = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0);

const bestReward = (runs: readonly RunRecord[]): Measure =>
  plainMeasure(
    { name: "reward/best", title: "reward, best step", section: "reward" },
    runs.map(({ steps }) => most(known(steps, "reward/mean").map(([, value]) => value))),
  );

const bestHeldOut = (runs: readonly RunRecord[]): Measure =>
  plainMeasure(
    { name: "held-out/best", title: "best while training", section: "held-out" },
    runs.map(({ evaluations }) => most(evaluations.filter(({ when }) => when === "while").map((set) => set.mean))),
  );

function costs(runs: readonly RunRecord[]): readonly Measure[] {
  const sampled = (steps: readonly StepFigures[]) =>
    steps.flatMap(({ figures }) => {
      const [speed, seconds] = [figures["tokens_per_second/rollout"], figures["seconds/rollout"]];
      return speed === undefined || seconds === undefined ? [] : [Math.round(speed * seconds)];
    });
  const of = (name: string, title: string, figure: (run: RunRecord) => number | null) =>
    plainMeasure({ name, title, section: "cost" }, runs.map(figure));
  return [
    of("steps", "steps", ({ steps }) => steps.length),
    of("tokens", "tokens sampled", ({ steps }) => total(sampled(steps))),
    of("seconds", "seconds of training", ({ seconds }) => seconds),
  ];
}
