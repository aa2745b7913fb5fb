// The run folder while a teacher answers: rows in the order of the prompts, figures, and what the user is told. What was answered before the
// run went on is taken from the journal; the rows are made of it again.
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Endpoint } from "../endpoint/endpoint.js";
import { costOf, type Price } from "../endpoint/meter.js";
import { RunClock } from "../train/clock.js";
import { attempt, nodeDisk, writeWhole } from "../train/disk.js";
import { appendLine, RunFolder, wholeLines } from "../train/run-folder.js";
import type { RunContext, RunSummary } from "./recipe.js";
import { reportLine } from "./sft-data.js";
import { Journal, type Marking, type Outcome, settle } from "./teach-journal.js";
import type { Lessons } from "./teach-prompts.js";
import type { Teacher } from "./teachers.js";
import { shellWord } from "./words.js";

/** The rows that passed, in the run folder. */
export const demonstrationsFile = "demonstrations.jsonl";

/** Who teaches. */
export interface School extends AsyncDisposable {
  readonly name: string;
  readonly teach: Teacher;
  /** Null: a model folder, which costs nothing. */
  readonly endpoint: Endpoint | null;
}

export interface RecordSettings {
  readonly seed: number;
  readonly endpoint: { readonly price: Price };
  /** Prompts between two lines of metrics.jsonl. */
  readonly logging: { readonly every: number };
}

const part = "teach";

export class Records implements Disposable {
  readonly #folder: RunFolder;
  readonly #journal: Journal;
  readonly #rows: string;
  readonly #clock = new RunClock([{ name: part, title: part, steps: 1, work: 1 }]);
  readonly #began = performance.now();
  readonly #before; // tokens of earlier processes
  readonly #dropped: Record<string, number> = {};
  #file: number | null = null;
  #kept = 0;
  #tries = 0;

  /** Throws InputError TEACH_JOURNAL where the journal is not one of these lessons. */
  constructor(
    private readonly context: RunContext,
    private readonly settings: RecordSettings,
    private readonly lessons: Lessons,
    private readonly school: School,
  ) {
    const { out, resume, disk = nodeDisk } = context;
    const sizes = resume === undefined ? null : wholeLines(out);
    this.#journal = new Journal(out, lessons.lessons, disk);
    this.#folder = new RunFolder(out, part, settings, sizes, disk);
    this.#rows = join(out, demonstrationsFile);
    this.#before = this.#journal.usage;
    this.#clock.begin(part);
  }

  /** All that the teacher gives, to its end. Rejects as the teacher does; what was answered is kept. */
  async keep(marking: Marking): Promise<RunSummary> {
    const { context } = this;
    const { lessons } = this.lessons;
    const known = this.#rewrite(marking);
    context.emit({
      type: "phase",
      name: part,
      title: `Demonstrations from ${this.school.name}`,
      steps: lessons.length,
    });
    for (const line of this.#rowLines()) context.emit({ type: "note", level: "info", text: line });
    if (known > 0) context.emit({ type: "note", level: "info", text: `${known} prompts were answered before` });
    try {
      let done = 0;
      for await (const outcome of this.school.teach({
        lessons,
        journal: this.#journal,
        marking,
        stop: context.signal,
      })) {
        this.#take(outcome, done >= known);
        this.#tell(++done, known);
      }
    } finally {
      this.#journal.sync();
      this.#folder.flush();
    }
    return this.#end();
  }

  /** Writes the rows of the first lessons that are settled, and returns how many lessons these are. */
  #rewrite(marking: Marking): number {
    const { lessons } = this.lessons;
    const lines: string[] = [];
    let known = 0;
    for (const lesson of lessons) {
      const outcome = settle(lesson, this.#journal.answersOf(lesson.index), marking);
      if (outcome === null) break;
      if (outcome.row !== null) lines.push(`${JSON.stringify(recordOf(outcome))}\n`);
      known++;
    }
    writeWhole(this.#folder.disk, this.#rows, lines.join(""));
    this.#file = attempt(this.#rows, () => openSync(this.#rows, "a"));
    return known;
  }

  #take(outcome: Outcome, isNew: boolean): void {
    const { row, reason, tries } = outcome;
    this.#tries += tries;
    if (reason !== null) this.#dropped[reason] = (this.#dropped[reason] ?? 0) + 1;
    if (row === null) return;
    this.#kept++;
    if (isNew) appendLine(this.#rows, this.#file!, recordOf(outcome));
  }

  /** Seconds since this process began. */
  get #seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  get #cost(): number {
    const earlier = costOf(this.#before, this.settings.endpoint.price);
    return this.school.endpoint === null ? 0 : earlier + this.school.endpoint.spent.cost;
  }

  #tell(done: number, known: number): void {
    if (done < known) return;
    const steps = this.lessons.lessons.length;
    const seconds = this.#seconds;
    const tokens = this.#journal.usage.completionTokens;
    const metrics = {
      ...{ kept: this.#kept, dropped: done - this.#kept, tries: this.#tries, tokens, cost: this.#cost },
      tokens_per_second: (tokens - this.#before.completionTokens) / seconds,
    };
    this.#clock.tick((done - known) / Math.max(1, steps - known), seconds);
    const remaining = this.#clock.remaining();
    this.context.emit({ type: "step", phase: part, step: done, steps, metrics, seconds, remaining });
    if (done % this.settings.logging.every !== 0 && done !== steps) return;
    this.#folder.metrics({ phase: part, step: done, seconds, ...metrics });
    this.#journal.sync();
  }

  #end(): RunSummary {
    const { lessons, reports } = this.lessons;
    const endpoint = this.school.endpoint;
    const usage = this.#journal.usage;
    const summary = {
      ...{ recipe: part, seed: this.settings.seed, teacher: this.school.name, demonstrations: this.#rows },
      ...{ prompts: lessons.length, kept: this.#kept, dropped: this.#dropped, tries: this.#tries },
      ...{ ...usage, cost: this.#cost },
      ...(endpoint && { requests: endpoint.spent }),
      data: reports,
    };
    this.#folder.disk.sync(this.#rows);
    this.#folder.summary(summary);
    this.context.emit({ type: "note", level: "info", text: this.#closing() });
    return summary;
  }

  /** What became of the rows that are not asked about. */
  #rowLines(): readonly string[] {
    return this.lessons.reports.flatMap((report) => reportLine(report) ?? []);
  }

  #closing(): string {
    const count = (n: number) => n.toLocaleString("en-US");
    const reasons = Object.entries(this.#dropped).map(([reason, n]) => `${n} ${reason}`);
    const left = reasons.length === 0 ? "" : `; left out: ${reasons.join(", ")}`;
    const { promptTokens, completionTokens } = this.#journal.usage;
    const cost = this.#cost > 0 ? `, cost ${this.#cost.toFixed(4)}` : "";
    return [
      `${this.#kept} of ${this.lessons.lessons.length} prompts became demonstrations${left}`,
      ...this.#rowLines(),
      `${this.#tries} answers, ${count(promptTokens)} tokens in, ${count(completionTokens)} out${cost}`,
      `Learn from them:\n  npx zazen train rlmt-warm-start --set model=DIR --set data=${shellWord(this.#rows)}\n`,
    ].join("\n");
  }

  [Symbol.dispose](): void {
    this.#folder.close();
    this.#journal[Symbol.dispose]();
    if (this.#file !== null) closeSync(this.#file);
  }
}

const recordOf = ({ lesson, row }: Outcome) => ({ id: lesson.id, ...row });
