// What the terminal shows of a run, as text: pure functions from events to lines. No streams, no clocks, no cursor movement.
import { type Curve, extend } from "./curve.js";
import type { NoteEvent, PhaseEvent, RolloutEvent, StepEvent, TableEvent } from "./events.js";
import { clip, compact, duration, type Palette, safeText, short, wrap } from "./format.js";
import { sparkline } from "./sparkline.js";
import { tableLines } from "./table.js";

/** A phase and what is known of it so far. */
export interface PhaseView {
  readonly phase: PhaseEvent;
  readonly last: StepEvent | null;
  /** The figure that the phase is about, step by step: the reward, or else the loss. */
  readonly curve: Curve | null;
  /** pass@1 of each step that measured it: "sampled 36.6%". */
  readonly passes: readonly string[];
  /** No step will come, whether all were done or not. */
  readonly over: boolean;
}

const barWidth = 24;
const curveWidth = 48;
const rolloutCharacters = 800; // of the prompt, of the thinking and of the answer
const gradedCharacters = 40;
const widestText = 100; // longer lines of prose are hard to read
const briefly = 10; // seconds below which tenths are shown

export const newPhase = (phase: PhaseEvent): PhaseView => ({ phase, last: null, curve: null, passes: [], over: false });

export const endPhase = (view: PhaseView): PhaseView => ({ ...view, over: true });

export function withStep(view: PhaseView, step: StepEvent): PhaseView {
  const value = step.metrics[curveMetric(step)];
  const pass = passText(step);
  return {
    ...view,
    last: step,
    curve: value === undefined ? view.curve : extend(view.curve, value),
    passes: pass === null ? view.passes : [...view.passes, pass],
    over: step.step >= step.steps,
  };
}

/** The live block: title, bar, curve or pass rates. Each line has at most `width` characters before styling. */
export function blockLines(view: PhaseView, width: number, colours: Palette): readonly string[] {
  const { phase, last, curve, passes } = view;
  const lines = [progressText(view)];
  if (last !== null && curve !== null) lines.push(curveText(curveName(last), curve, width));
  if (passes.length > 0) lines.push(`pass@1: ${passes.join(", ")}`);
  return [colours.bold(clip(safeText(phase.title), width)), ...lines.map((line) => clip(line, width))];
}

/** One line a step, for files and pipes. */
export function stepLine(step: StepEvent): string {
  const value = step.metrics[curveMetric(step)];
  const pass = passText(step);
  const parts = [
    `${step.phase} ${step.step}/${step.steps}`,
    ...(value === undefined ? [] : [`${curveName(step)} ${short(value)}`]),
    ...accuracyText(step),
    ...(pass === null ? [] : [`pass@1 ${pass}`]),
  ];
  return [...parts, ...pace(step, step.step >= step.steps)].join("  ");
}

export function phaseLine(phase: PhaseEvent, colours: Palette): string {
  const { title, steps, atMost } = phase;
  const size = `${atMost ? "at most " : ""}${steps} ${steps === 1 ? "step" : "steps"}`;
  return colours.bold(`${safeText(title)}${steps > 0 ? ` (${size})` : ""}`);
}

/** A sample between a line that says where it comes from and an empty one; `phase` is the running one. */
export function rolloutLines(
  rollout: RolloutEvent,
  phase: PhaseEvent | null,
  colours: Palette,
  width?: number,
): readonly string[] {
  const text = (part: string) => indent(fold(clip(safeText(part.trim()), rolloutCharacters), width));
  const head = colours.dim(
    `${safeText(origin(rollout, phase))}, reward ${short(rollout.reward)}${gradedText(rollout)}:`,
  );
  const thinking = rollout.thinking === null ? [] : text(rollout.thinking).map((line) => colours.dim(line));
  return [head, ...text(rollout.prompt), ...thinking, ...text(rollout.answer), ""];
}

export function noteLines(note: NoteEvent, colours: Palette, width?: number): readonly string[] {
  const warning = note.level === "warning";
  const lines = safeText(warning ? `warning: ${note.text}` : note.text).split("\n");
  const folded = lines.flatMap((line) => (line.startsWith(" ") ? [line] : fold(line, width)));
  return warning ? folded.map(colours.warning) : folded;
}

export function tableEventLines(table: TableEvent, colours: Palette, width?: number): readonly string[] {
  const options = width === undefined ? {} : { width };
  const legend = (table.legend ?? []).flatMap((line) => fold(safeText(line), width)).map(colours.dim);
  return ["", colours.bold(safeText(table.title)), ...tableLines(table.columns, table.rows, options), ...legend];
}

function progressText({ phase, last, over }: PhaseView): string {
  const done = last?.step ?? 0;
  const steps = last?.steps ?? phase.steps;
  const filled = steps > 0 ? Math.min(barWidth, Math.floor((done / steps) * barWidth)) : 0;
  const bar = "█".repeat(filled) + "░".repeat(barWidth - filled);
  const now = last === null ? [] : [...accuracyText(last), ...pace(last, over)];
  return [`${bar} ${done}/${steps}`, ...now].join("  ");
}

/** The curve between its first and its last value; a reward in 0..1 is drawn on that scale, so that its height means something. */
function curveText(name: string, { first, last, points }: Curve, width: number): string {
  const share = name === "reward" && points.every((value) => value >= 0 && value <= 1);
  const [from, to] = [short(first), short(last)];
  const space = Math.min(curveWidth, width - name.length - from.length - to.length - 3);
  return `${name} ${from} ${sparkline(points, space, share ? [0, 1] : undefined)} ${to}`;
}

function pace(step: StepEvent, over: boolean): readonly string[] {
  const speed = step.metrics.tokens_per_second;
  const mismatch = step.metrics["mismatch/max_abs"] ?? 0;
  const preemptions = step.metrics["kv/preemptions"] ?? 0;
  const cost = step.metrics.cost ?? 0; // of a paid endpoint
  return [
    ...(speed === undefined ? [] : [`${compact(speed)} tok/s`]),
    ...(cost === 0 ? [] : [`cost ${short(cost)}`]),
    ...(over ? [`took ${brief(step.seconds)}`] : left(step.remaining)),
    ...(preemptions === 0 ? [] : [`${compact(preemptions)} preempted`]), // samples that gave way, which costs time
    ...(mismatch === 0 ? [] : [`log-prob mismatch ${short(mismatch)}`]), // the on-policy law says 0
  ];
}

/** Of the whole run; never 0, since the run goes on. */
function left(remaining: number | null): readonly string[] {
  return remaining === null ? [] : [`run: ${duration(Math.max(1, remaining))} left`];
}

function origin({ label, phase, step }: RolloutEvent, running: PhaseEvent | null): string {
  if (label !== undefined) return label;
  const title = running?.name === phase ? running.title : phase;
  return step === 0 ? title : `${title}, a sample of step ${step}`;
}

/** What a malformed answer was graded as: the text below is what was written. */
function gradedText({ answer, graded }: RolloutEvent): string {
  if (graded === undefined) return "";
  const what =
    graded === null ? "no answer" : graded === answer ? "the whole text" : clip(oneLine(graded), gradedCharacters);
  return ` for ${what}, the marks of the format are missing`;
}

const oneLine = (text: string): string => safeText(text).replaceAll(/\s+/g, " ").trim();

function passText({ label, metrics }: StepEvent): string | null {
  const pass = metrics["pass@1"];
  if (pass === undefined) return null;
  return `${label === undefined ? "" : `${label} `}${(100 * pass).toFixed(1)}%`;
}

/** Pairs of the step in the right order, of training on pairs. */
function accuracyText({ metrics }: StepEvent): readonly string[] {
  const accuracy = metrics.accuracy ?? metrics["rewards/accuracies"];
  return accuracy === undefined ? [] : [`accuracy ${(100 * accuracy).toFixed(1)}%`];
}

/** A reward model's own scores are no aim of its training: there the loss is. */
const curveMetric = ({ metrics }: StepEvent): string =>
  metrics["reward/mean"] === undefined || metrics.accuracy !== undefined ? "loss" : "reward/mean";
const curveName = (step: StepEvent): string => (curveMetric(step) === "loss" ? "loss" : "reward");
const brief = (seconds: number): string => (seconds < briefly ? `${seconds.toFixed(1)} s` : duration(seconds));
const indent = (lines: readonly string[]): readonly string[] => lines.map((line) => `  ${line}`);

/** Lines of prose that fit in the terminal's width, with room for an indent; as they are where there is no width. */
function fold(text: string, width: number | undefined): readonly string[] {
  return width === undefined ? text.split("\n") : wrap(text, Math.min(width, widestText) - 2);
}
