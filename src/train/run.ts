// One run: where it writes, whom it tells, what is left of it. Everything a loop reports passes through here, so that the events and
// the files say the same. Leaves out training.
import type { RunEvent, TableEvent } from "../report/events.js";
import { type PartPlan, RunClock } from "./clock.js";
import { RunFolder } from "./run-folder.js";

export type Metrics = Readonly<Record<string, number>>;

/** What a run needs from its caller. */
export interface RunHost {
  readonly out: string;
  /** Asks the run to stop: it finishes the training step in hand, or leaves another part at once, and rejects with the signal's reason. */
  readonly signal: AbortSignal;
  emit(event: RunEvent): void;
}

/** A sample as text, for people. */
export interface ShownSample {
  readonly prompt: string;
  readonly thinking: string | null;
  readonly answer: string;
  readonly reward: number;
}

const never = new AbortController().signal;

export class Run {
  readonly folder: RunFolder;
  readonly #stop: AbortSignal;
  readonly #emit: (event: RunEvent) => void;
  readonly #clock: RunClock;
  #part: PartPlan | null = null;
  #began = 0;
  #maxSeconds = Number.POSITIVE_INFINITY;
  #interruptible = true;

  constructor(host: RunHost, recipe: string, config: unknown, parts: readonly PartPlan[]) {
    this.folder = new RunFolder(host.out, recipe, config);
    this.#stop = host.signal;
    this.#emit = (event) => host.emit(event);
    this.#clock = new RunClock(parts);
  }

  /** A part of the plan begins; it will end after its steps or after `maxSeconds`, whichever is first. */
  begin(name: string, maxSeconds: number = Number.POSITIVE_INFINITY): void {
    this.#part = this.#clock.begin(name);
    this.#began = performance.now();
    this.#maxSeconds = maxSeconds;
    const { title, steps } = this.#part;
    this.#emit({ type: "phase", name, title, steps });
  }

  /** For calls of the engine: stops them when the run is to stop, but not within a training step. */
  get signal(): AbortSignal {
    return this.#interruptible ? this.#stop : never;
  }

  /** Rejects with the reason to stop, where there is one. */
  throwIfStopped(): void {
    this.#stop.throwIfAborted();
  }

  /** Until it is disposed, `signal` stays silent: what is begun is finished. */
  uninterrupted(): Disposable {
    this.#interruptible = false;
    return {
      [Symbol.dispose]: () => {
        this.#interruptible = true;
      },
    };
  }

  /** Whether the part has had all its seconds. */
  get over(): boolean {
    return this.seconds >= this.#maxSeconds;
  }

  /** Steps that the part comes to, at its pace after `done` of them: `steps`, or as many as its seconds hold. */
  stepsInTime(done: number, steps: number): number {
    if (done === 0 || this.#maxSeconds === Number.POSITIVE_INFINITY) return steps;
    return Math.min(steps, Math.max(done, Math.ceil((done * this.#maxSeconds) / this.seconds)));
  }

  /** Seconds since the part began. */
  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  /**
   * A step, counted from 1, is done; `label` says what its figures are of where the part's steps differ. Fields that are not finite are
   * left out: JSON has no way to say them.
   */
  step(step: number, metrics: Metrics, label?: string): void {
    const { name: phase, steps: planned } = this.#running();
    const steps = this.stepsInTime(step, planned);
    const finite = Object.fromEntries(Object.entries(metrics).filter(([, value]) => Number.isFinite(value)));
    const seconds = this.seconds;
    this.#clock.tick(Math.max(step / steps, seconds / this.#maxSeconds), seconds);
    this.folder.metrics({ phase, step, seconds, ...finite });
    const remaining = this.#clock.remaining();
    this.#emit({ type: "step", phase, step, steps, metrics: finite, ...labelled(label), seconds, remaining });
  }

  /** A sample for people; `label` says whose it is where the part and the step do not. */
  show(step: number, sample: ShownSample, label?: string): void {
    this.#emit({ type: "rollout", phase: this.#running().name, step, ...labelled(label), ...sample });
  }

  note(level: "info" | "warning", text: string): void {
    this.#emit({ type: "note", level, text });
  }

  table(table: Omit<TableEvent, "type">): void {
    this.#emit({ type: "table", ...table });
  }

  #running(): PartPlan {
    if (this.#part === null) throw new Error("[run] expected a part to have begun, got none; call begin first");
    return this.#part;
  }

  [Symbol.dispose](): void {
    this.folder.close();
  }
}

function labelled(label: string | undefined): { readonly label?: string } {
  return label === undefined ? {} : { label };
}
