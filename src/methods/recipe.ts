// What a recipe is: a name, a schema that holds every default, and a run.
import type { ZodType } from "zod";
import type { RunHost } from "../train/run.js";

/** Where a run writes, a folder that exists, and is empty when it begins for the first time; whom it tells, and when it is to stop. */
export type RunContext = RunHost;

/** What a run leaves behind, also written to `summary.json` in the run folder. Plain JSON. */
export type RunSummary = Readonly<Record<string, unknown>>;

export interface Recipe<Config = unknown> {
  readonly name: string;
  /** One line for `zazen recipes`. */
  readonly summary: string;
  readonly schema: ZodType<Config>;
  /** What the run would do, without doing it: lines for `--dry-run`. */
  plan(config: Config): readonly string[];
  /** The memory that the run would take, a line for `--dry-run`. */
  memory?(config: Config): Promise<string>;
  /** Throws what the run would throw for its settings and its model's folder, before data are read, for `--dry-run`. */
  check?(config: Config): Promise<void>;
  /** Where a run in that folder goes on, of a recipe that keeps no checkpoints: a few words; null where it has not begun. */
  standing?(out: string): string | null;
  run(config: Config, context: RunContext): Promise<RunSummary>;
}
