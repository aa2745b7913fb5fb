// A comparison as tables and curves for people: cells, titles, which field is drawn. Pure.
import type { Comparison } from "../eval/comparison/compare.js";
import type { DifferenceValue, Measure, Value } from "../eval/comparison/measures.js";
import type { RunRecord } from "../eval/comparison/record.js";
import type { ComparePage, PagePlot } from "../report/compare-page.js";
import { clip } from "../report/format.js";
import type { Section } from "../report/table.js";

export interface ComparisonTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly sections: readonly Section[];
}

const longestValue = 40; // characters of a setting

/** "A 1, B 2". */
export const settingWords = (values: readonly unknown[]): string =>
  values
    .map((value, r) => `${letter(r)} ${value === undefined ? "has none" : clip(JSON.stringify(value), longestValue)}`)
    .join(", ");

/** What a run is called in tables: A, B, ... */
export const letter = (run: number): string => String.fromCharCode("A".charCodeAt(0) + run);

const SECTIONS: Readonly<Record<Measure["section"], string>> = {
  "held-out": "held-out problems, last evaluation",
  reward: "reward of training",
  length: "length",
  watch: "signs of a gamed reward",
  style: "thinking style, a thought",
  cost: "cost",
};

/** Marks of style that no thought has are left out. */
const isWorthARow = ({ section, values }: Measure): boolean =>
  section !== "style" || values.some((value) => value !== null && value.mean !== 0);

/** The figures of every run, and the differences of each to the first. */
export function comparisonTables({ runs, measures: all }: Comparison): readonly ComparisonTable[] {
  const measures = all.filter(isWorthARow);
  const others = runs.slice(1).map((_, r) => `${letter(r + 1)} - A`);
  return [
    {
      title: "Figures, with 95% intervals",
      columns: ["figure", ...runs.map((_, r) => letter(r))],
      sections: bySection(measures, ({ values }) => values.map((value) => valueText(value))),
    },
    {
      title: "Differences, with 95% intervals",
      columns: ["difference", ...others.flatMap((name) => [name, "over"])],
      sections: bySection(
        measures.filter(({ differences }) => differences.some((difference) => difference !== null)),
        ({ differences }) => differences.slice(1).flatMap((each) => [valueText(each, true), howText(each)]),
      ),
    },
  ];
}

function bySection(measures: readonly Measure[], cells: (measure: Measure) => readonly string[]): readonly Section[] {
  const names = [...new Set(measures.map(({ section }) => section))];
  return names.map((name) => ({
    title: SECTIONS[name],
    rows: measures.filter(({ section }) => section === name).map((measure) => [measure.title, ...cells(measure)]),
  }));
}

function valueText(value: Value | null, signed = false): string {
  if (value === null) return "-";
  const { mean, interval } = value;
  const digits = digitsFor(mean, interval);
  const text = (x: number) => (signed && x > 0 ? "+" : "") + x.toFixed(digits);
  return interval === null ? text(mean) : `${text(mean)} [${text(interval[0])}, ${text(interval[1])}]`;
}

const howText = (value: DifferenceValue | null): string =>
  value === null ? "-" : value.interval === null ? "" : `${value.n} ${value.how}`;

/** Decimals that show three digits of the larger of a value and its interval's width. */
function digitsFor(mean: number, interval: Value["interval"]): number {
  const size = Math.max(Math.abs(mean), interval === null ? 0 : interval[1] - interval[0]);
  if (size === 0 || (interval === null && Number.isInteger(mean))) return 0;
  return Math.max(0, Math.min(5, 2 - Math.floor(Math.log10(size))));
}

const PLOTS: readonly (readonly [title: string, field: string])[] = [
  ["Reward of training", "reward/mean"],
  ["Thought, tokens", "length/thought"],
  ["Answer, tokens", "length/answer"],
  ["Completion, tokens", "completion_length/mean"],
  ["KL to the reference, nats a token", "kl"],
  ["Malformed, share", "malformed"],
];

/** How thoughts are written, by its measures' fields. */
const stylePlots = ({ measures }: Comparison): typeof PLOTS =>
  measures.flatMap(({ section, name, title }) =>
    section === "style" && name.endsWith(STYLE_END)
      ? [[`Thoughts: ${title.replace(/, end$/, "")}`, name.slice(0, -STYLE_END.length)] as const]
      : [],
  );
const STYLE_END = "/end";

/** How often each run beats the first by a second judge. */
const winPlots = ({ measures, judge }: Comparison): ComparePage["intervals"] =>
  measures.flatMap(({ name, title, values }) =>
    name === "judge/win_rate"
      ? [{ title: `By ${judge?.name}: ${title}`, range: [0, 1] as const, even: 0.5, points: values }]
      : [],
  );

/** The comparison as a page. */
export function pageOf(runs: readonly RunRecord[], comparison: Comparison): ComparePage {
  const { settings, notes } = comparison;
  const [reward, ...others] = [...PLOTS, ...stylePlots(comparison)].map(([title, field]) => ({
    title,
    curves: runs.map((run) => curveOf(run, field)),
  }));
  return {
    title: `Comparison of ${runs.length} runs`,
    runs: runs.map(({ name }, r) => ({ label: letter(r), name })),
    notes,
    plots: [reward!, heldOutPlot(runs), ...others],
    intervals: winPlots(comparison),
    tables: [
      {
        title: settings.length === 0 ? "All settings are equal" : "Settings that differ; all others are equal",
        columns: ["setting", ...runs.map((_, r) => letter(r))],
        rows: settings.map(({ key, values }) => [key, ...values.map((value) => JSON.stringify(value) ?? "-")]),
      },
      ...comparisonTables(comparison).map(({ title, columns, sections }) => ({
        ...{ title, columns },
        rows: sections.flatMap((section) => [[section.title], ...section.rows]),
      })),
    ],
  };
}

const curveOf = ({ steps }: RunRecord, field: string): PagePlot["curves"][number] =>
  steps.flatMap(({ step, figures }) => (figures[field] === undefined ? [] : [[step, figures[field]] as const]));

/** Evaluations by sampling, before, while and after training; those on other problems than the last ones are left out. */
function heldOutPlot(runs: readonly RunRecord[]): PagePlot {
  const sampled = runs.map(({ evaluations }) => evaluations.filter(({ decoded }) => decoded === "sampled"));
  const figure = sampled.flat().at(-1)?.figure ?? "reward";
  const curves = sampled.map((sets) => {
    const size = sets.at(-1)?.answers?.length;
    const alike = sets.filter((set) => set.answers?.length === size && Number.isFinite(set.mean));
    return [...new Map(alike.map(({ step, mean }) => [step, mean]))];
  });
  return { title: `Held-out ${figure}`, curves };
}
