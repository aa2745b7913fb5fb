// A run that is made of runs: recipes one after another, each in a run folder of its own below the whole run's, with one progress and one
// time left. Where the whole goes on, finished ones are passed over and the one in hand goes on from its checkpoint. Leaves out what the
// recipes are.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readJsonObject } from "../config/files.js";
import { resolveSettings, type Settings } from "../config/resolve.js";
import type { RunEvent } from "../report/events.js";
import { findCheckpoint } from "../train/checkpoint.js";
import { RunClock } from "../train/clock.js";
import { nodeDisk } from "../train/disk.js";
import type { Resumption } from "../train/run.js";
import { recipeFile, summaryFile } from "../train/run-folder.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";

/** A run within the run. */
export interface Stage {
  /** Its folder, below the whole run's. */
  readonly name: string;
  /** Before the titles of its parts. */
  readonly title: string;
  readonly recipe: Recipe;
  /** What of the recipe's settings is not as its defaults are. */
  readonly settings: Settings;
  /** Its parts by name, and their work in a unit that all stages share. */
  readonly parts: Readonly<Record<string, number>>;
}

export class Stages {
  readonly #context: RunContext;
  readonly #clock: RunClock;

  constructor(context: RunContext, stages: readonly Stage[]) {
    this.#context = context;
    const parts = stages.flatMap(({ name, title, parts }) =>
      Object.entries(parts).map(([part, work]) => ({ name: `${name}/${part}`, title, steps: 0, work })),
    );
    this.#clock = new RunClock(parts);
  }

  /** Runs the stage, or what is left of it; returns its summary. Rejects as its recipe does. */
  async run({ name, title, recipe, settings }: Stage): Promise<RunSummary> {
    const { disk = nodeDisk } = this.#context;
    const out = join(this.#context.out, name);
    const done = await readJsonObject(join(out, summaryFile), { code: "RESUME_FOLDER" });
    this.#context.emit({
      type: "note",
      level: "info",
      text: `\n${title}: ${recipe.name} in ${out}${done ? ", finished" : ""}`,
    });
    if (done !== undefined) return done;
    const resume = await standingOf(out);
    if (resume === null) disk.makeFolder(out);
    const emit = (event: RunEvent) => this.#tell(name, title, event);
    const config = resolveSettings(recipe.name, recipe.schema, settings);
    const { signal } = this.#context;
    return recipe.run(config, { out, signal, emit, disk, ...(resume && { resume }) });
  }

  /** Progress, samples and warnings go on with the stage's name; what a run says for itself, such as its table, does not. */
  #tell(stage: string, title: string, event: RunEvent): void {
    const { emit } = this.#context;
    if (event.type === "note") {
      if (event.level === "warning") emit({ ...event, text: `${title}: ${event.text}` });
    } else if (event.type === "phase") {
      this.#clock.begin(`${stage}/${event.name}`);
      emit({ ...event, name: `${stage}/${event.name}`, title: `${title}: ${event.title}` });
    } else if (event.type === "step") {
      this.#clock.tick(event.step / event.steps, event.seconds);
      emit({ ...event, phase: `${stage}/${event.phase}`, remaining: this.#clock.remaining() });
    } else if (event.type === "rollout") emit({ ...event, phase: `${stage}/${event.phase}` });
  }
}

/** Where a run in that folder goes on; null where it has not begun. */
async function standingOf(out: string): Promise<Resumption | null> {
  if (!existsSync(join(out, recipeFile))) return null;
  const { checkpoint } = await findCheckpoint(out);
  return { checkpoint };
}
