// What the terminal shows of a run, as text: pure functions from events to lines. No streams, no clocks, no cursor movement.
import type { NoteEvent, PhaseEvent, RolloutEvent, StepEvent, TableEvent } from "./events.js";
import { clip, compact, duration, type Palette, safeText, short } from "./format.js";
import { sparkline } from "./sparkline.js";
import { tableLines } from "./table.js";

/** A phase and what is known of it so far. */
export interface PhaseView {
  readonly phase: PhaseEvent;
  readonly last: StepEvent | null;
  /** One value a step of the figure that the phase is about: the reward, or else the loss. */
  readonly curve: readonly number[];
}

const barWidth = 24;
const curveWidth = 48;
const rolloutCharacters = 800; // of the prompt, of the thinking and of the answer

export const newPhase = (phase: PhaseEvent): PhaseView => ({ phase, last: null, curve: [] });

export function withStep(view: PhaseView, step: StepEvent): PhaseView {
  const value = step.metrics[curveMetric(step)];
  return { ...view, last: step, curve: value === undefined ? view.curve : [...view.curve, value] };
}

/** The live block: title, bar, curve. Each line has at most `width` characters before styling. */
export function blockLines(view: PhaseView, width: number, colours: Palette): readonly string[] {
  const lines = [progressText(view)];
  const step = view.last;
  if (step !== null && view.curve.length > 0) {
    const name = curveName(step);
    const space = Math.min(curveWidth, width - name.length - 12);
    lines.push(`${name} ${sparkline(view.curve, space)} ${short(view.curve.at(-1) ?? 0)}`);
  }
  return [colours.bold(clip(safeText(view.phase.title), width)), ...lines.map((line) => clip(line, width))];
}

/** One line a step, for files and pipes. */
export function stepLine(step: StepEvent): string {
  const value = step.metrics[curveMetric(step)];
  const parts = [`${step.phase} ${step.step}/${step.steps}`];
  if (value !== undefined) parts.push(`${curveName(step)} ${short(value)}`);
  return [...parts, ...pace(step)].join("  ");
}

export function phaseLine(phase: PhaseEvent, colours: Palette): string {
  return colours.bold(`${safeText(phase.title)}${phase.steps > 0 ? ` (${phase.steps} steps)` : ""}`);
}

export function rolloutLines(rollout: RolloutEvent, colours: Palette): readonly string[] {
  const text = (part: string) => indent(clip(safeText(part.trim()), rolloutCharacters));
  const place = rollout.step === 0 ? "" : `${rollout.phase} step ${rollout.step}, `;
  const head = colours.dim(`  ${place}reward ${short(rollout.reward)}:`);
  const thinking = rollout.thinking === null ? [] : text(rollout.thinking).map((line) => colours.dim(line));
  return [head, ...text(rollout.prompt), ...thinking, ...text(rollout.answer)];
}

export function noteLines(note: NoteEvent, colours: Palette): readonly string[] {
  const text = safeText(note.text);
  return (note.level === "warning" ? colours.warning(`warning: ${text}`) : text).split("\n");
}

export function tableEventLines(table: TableEvent, colours: Palette, width?: number): readonly string[] {
  const options = width === undefined ? {} : { width };
  return ["", colours.bold(safeText(table.title)), ...tableLines(table.columns, table.rows, options), ""];
}

function progressText({ phase, last }: PhaseView): string {
  const done = last?.step ?? 0;
  const steps = last?.steps ?? phase.steps;
  const filled = steps > 0 ? Math.min(barWidth, Math.floor((done / steps) * barWidth)) : 0;
  const bar = "█".repeat(filled) + "░".repeat(barWidth - filled);
  return [`${bar} ${done}/${steps}`, ...(last === null ? [] : pace(last))].join("  ");
}

function pace(step: StepEvent): readonly string[] {
  const speed = step.metrics.tokens_per_second;
  const mismatch = step.metrics["mismatch/max_abs"] ?? 0;
  return [
    ...(speed === undefined ? [] : [`${compact(speed)} tok/s`]),
    ...(step.remaining === null ? [] : [`${duration(step.remaining)} left`]),
    ...(mismatch === 0 ? [] : [`log-prob mismatch ${short(mismatch)}`]), // the on-policy law says 0
  ];
}

const curveMetric = (step: StepEvent): string => (step.metrics["reward/mean"] === undefined ? "loss" : "reward/mean");
const curveName = (step: StepEvent): string => (curveMetric(step) === "loss" ? "loss" : "reward");
const indent = (text: string): readonly string[] => text.split("\n").map((line) => `  ${line}`);
