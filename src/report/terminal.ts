// Shows a run's events in a terminal: a block that is redrawn in place, or plain lines where there is no terminal to redraw in.
// What the lines say is in view.ts; this file decides when to write them.
import type { PhaseEvent, RolloutEvent, RunEvent, StepEvent } from "./events.js";
import { type Palette, palette } from "./format.js";
import * as view from "./view.js";

/** The part of a stream that is used: process.stdout and process.stderr fit. */
export interface Output {
  readonly isTTY?: boolean;
  /** 0 where the terminal does not know. */
  readonly columns?: number;
  write(text: string): unknown;
}

export interface Reporter {
  emit(event: RunEvent): void;
  /** Leaves the cursor on a fresh line; idempotent. */
  close(): void;
}

export interface ReporterOptions {
  readonly output: Output;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds; for tests. */
  readonly now?: () => number;
}

const redrawMs = 100;
const plainStepMs = 5_000; // between two plain lines about steps
const rolloutMs = 5_000; // between two rollouts of a phase
const defaultColumns = 80; // of a terminal that says 0, or nothing

/** A live block on a terminal, plain lines elsewhere. NO_COLOR and TERM=dumb are honoured. */
export function terminalReporter(options: ReporterOptions): Reporter {
  const { output, env = process.env, now = () => performance.now() } = options;
  const terminal = output.isTTY === true && env.TERM !== "dumb";
  const colours = palette(terminal && (env.NO_COLOR ?? "") === "");
  return terminal ? new LiveReporter(output, colours, now) : new PlainReporter(output, colours, now);
}

/** What both reporters share: which rollouts to show, and how events that are written once look. */
abstract class BaseReporter implements Reporter {
  #rolloutAt = Number.NEGATIVE_INFINITY;
  #phase: PhaseEvent | null = null;

  constructor(
    protected readonly output: Output,
    protected readonly colours: Palette,
    protected readonly now: () => number,
  ) {}

  emit(event: RunEvent): void {
    if (event.type === "phase") this.#begin(event);
    else if (event.type === "step") this.step(event);
    else if (event.type === "rollout") this.#rollout(event);
    else if (event.type === "note") this.lines(view.noteLines(event, this.colours, this.width));
    else this.lines(view.tableEventLines(event, this.colours, this.width));
  }

  /** Columns of a terminal; a file has none. */
  protected get width(): number | undefined {
    return this.output.columns || (this.output.isTTY === true ? defaultColumns : undefined);
  }

  abstract close(): void;
  protected abstract phase(event: PhaseEvent): void;
  protected abstract step(event: StepEvent): void;
  protected abstract lines(lines: readonly string[]): void;

  #begin(event: PhaseEvent): void {
    this.#rolloutAt = Number.NEGATIVE_INFINITY;
    this.#phase = event;
    this.phase(event);
  }

  /** The first of a phase, now and then one between, those of its last step; step 0 is outside the steps and always shown. */
  #rollout(event: RolloutEvent): void {
    const last = event.step >= (this.#phase?.steps ?? 0);
    const due = event.step === 0 || last || this.now() - this.#rolloutAt >= rolloutMs;
    if (!due) return;
    this.#rolloutAt = this.now();
    this.lines(view.rolloutLines(event, this.#phase, this.colours, this.width));
  }
}

class PlainReporter extends BaseReporter {
  #writtenAt = Number.NEGATIVE_INFINITY;

  override close(): void {}

  protected override phase(event: PhaseEvent): void {
    this.#writtenAt = Number.NEGATIVE_INFINITY;
    this.lines(["", view.phaseLine(event, this.colours)]);
  }

  protected override step(event: StepEvent): void {
    if (event.step < event.steps && this.now() - this.#writtenAt < plainStepMs) return;
    this.#writtenAt = this.now();
    this.lines([view.stepLine(event)]);
  }

  protected override lines(lines: readonly string[]): void {
    this.output.write(`${lines.join("\n")}\n`);
  }
}

class LiveReporter extends BaseReporter {
  #view: view.PhaseView | null = null;
  #drawn = 0; // lines of the block on the screen
  #drawnAt = Number.NEGATIVE_INFINITY;

  override close(): void {
    this.#settle();
  }

  protected override phase(event: PhaseEvent): void {
    this.#settle();
    this.#view = view.newPhase(event);
    this.#draw("\n");
  }

  protected override step(event: StepEvent): void {
    if (this.#view === null) return;
    this.#view = view.withStep(this.#view, event);
    if (event.step >= event.steps) this.#settle();
    else if (this.now() - this.#drawnAt >= redrawMs) this.#draw("");
  }

  /** Above the block, where they scroll away. */
  protected override lines(lines: readonly string[]): void {
    this.#draw(`${lines.join("\n")}\n`);
  }

  /** Leaves the block as it ended; what follows comes below it. */
  #settle(): void {
    if (this.#view !== null) {
      this.#view = view.endPhase(this.#view);
      this.#draw("");
    }
    this.#view = null;
    this.#drawn = 0;
  }

  #draw(above: string): void {
    const width = Math.max(1, (this.width ?? defaultColumns) - 1);
    const block = this.#view === null ? [] : view.blockLines(this.#view, width, this.colours);
    const erase = this.#drawn > 0 ? `\u001b[${this.#drawn}A\u001b[0J` : "";
    this.output.write(erase + above + block.map((line) => `${line}\n`).join(""));
    this.#drawn = block.length;
    this.#drawnAt = this.now();
  }
}
