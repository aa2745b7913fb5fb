// What a run tells while it works, as plain data. The terminal, files and plots are readers of these events.

export type RunEvent = PhaseEvent | StepEvent | RolloutEvent | NoteEvent | TableEvent;

/** A part of the run begins: "sft", "grpo", "eval". */
export interface PhaseEvent {
  readonly type: "phase";
  readonly name: string;
  readonly title: string;
  readonly steps: number;
  /** It may come to fewer steps; each step's event says how many are known by then. */
  readonly atMost?: boolean;
}

export interface StepEvent {
  readonly type: "step";
  readonly phase: string;
  /** Counts from 1. */
  readonly step: number;
  readonly steps: number;
  /** Field names as in metrics.jsonl: "reward/mean", "loss", "mismatch/max_abs", "tokens_per_second", ... */
  readonly metrics: Readonly<Record<string, number>>;
  /** What the step's figures are of, where a phase's steps differ: "sampled", "greedy". */
  readonly label?: string;
  /** Seconds since the phase began. */
  readonly seconds: number;
  /** Estimated seconds to the end of the whole run, or null when unknown. */
  readonly remaining: number | null;
}

export interface RolloutEvent {
  readonly type: "rollout";
  readonly phase: string;
  /** Counts from 1; 0 is outside the steps. */
  readonly step: number;
  /** Whose sample it is, said in place of phase and step. */
  readonly label?: string;
  readonly prompt: string;
  readonly thinking: string | null;
  readonly answer: string;
  /** What the reward was given for where the answer's marks are missing: a text in its place, or null for none. */
  readonly graded?: string | null;
  readonly reward: number;
}

export interface NoteEvent {
  readonly type: "note";
  readonly level: "info" | "warning";
  /** Lines are wrapped to a terminal's width; a line that begins with a space, such as a command, is not. */
  readonly text: string;
}

export interface TableEvent {
  readonly type: "table";
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Lines below the table that explain its columns. */
  readonly legend?: readonly string[];
}
