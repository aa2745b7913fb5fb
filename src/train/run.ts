// One run: a list of parts, where it writes, whom it tells, where it stands. Everything a loop reports passes through here, so that the
// events and the files say the same. A run that goes on from a checkpoint takes what finished parts came to from there. Leaves out
// training. Parts that seconds bound hold another number of steps each time: they are an exception to equal bits.
import { isDeepStrictEqual } from "node:util";
import type { Json, Resumable } from "../data/resumable.js";
import { fingerprint } from "../engine/fingerprint.js";
import type { RunEvent, TableEvent } from "../report/events.js";
import type { Checkpoint, Saved } from "./checkpoint.js";
import { type PartPlan, RunClock } from "./clock.js";
import { type Disk, nodeDisk } from "./disk.js";
import { showFigure } from "./held-out.js";
import { Keeper, type Keeping } from "./keeper.js";
import { checkData, markOf } from "./run-data.js";
import { RunFolder } from "./run-folder.js";
import type { RunState } from "./run-state.js";

export type Metrics = Readonly<Record<string, number>>;

/** What a run needs from its caller. */
export interface RunHost {
  readonly out: string;
  /** Asks the run to stop: it finishes the training step in hand, or leaves another part at once, and rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** The run has begun before; its folder is not empty. */
  readonly resume?: Resumption;
  /** Default: the disk as it is. */
  readonly disk?: Disk;
  emit(event: RunEvent): void;
}

/** Where a run goes on: at a checkpoint, or at its beginning where it has none. */
export interface Resumption {
  readonly checkpoint: Checkpoint | null;
  /** Whether it may go on with other data of as many rows. Default false. */
  readonly allowInexact?: boolean;
}

/** A sample as text, for people. */
export interface ShownSample {
  readonly prompt: string;
  readonly thinking: string | null;
  readonly answer: string;
  /** What the reward was given for, where that is not the answer. */
  readonly graded?: string | null;
  readonly reward: number;
}

const never = new AbortController().signal;
const secondsDiffer = "seconds bound this part, so it is not the one of an uninterrupted run bit for bit";

export class Run {
  readonly folder: RunFolder;
  readonly #stop: AbortSignal;
  readonly #emit: (event: RunEvent) => void;
  readonly #clock: RunClock;
  readonly #keeper: Keeper | null;
  readonly #identity: Pick<RunState, "version" | "recipe" | "config" | "data">;
  readonly #results: Map<string, Json>;
  readonly #opened = performance.now();
  readonly #before: number; // seconds of earlier processes
  #saved: RunState | null; // until its part has begun
  #part: PartPlan | null = null;
  #began = 0;
  #maxSeconds = Number.POSITIVE_INFINITY;
  #interruptible = true;
  #steps = 0;
  #trained: number;

  /** Without `keeping` no checkpoints are written. Throws InputError RESUME_DATA before anything is touched. */
  constructor(host: RunHost, recipe: string, config: unknown, parts: readonly PartPlan[], keeping?: Keeping) {
    const { disk = nodeDisk, resume } = host;
    const state = resume?.checkpoint?.state ?? null;
    const data = (keeping?.data ?? []).map(markOf);
    const remarks = checkData(resume, data);
    this.#keeper = keeping === undefined ? null : new Keeper(host.out, keeping, disk, state?.trained ?? null);
    if (resume !== undefined) this.#keeper?.goOnFrom(state);
    this.folder = new RunFolder(host.out, recipe, config, resume === undefined ? null : (state?.sizes ?? {}), disk);
    this.#stop = host.signal;
    this.#emit = (event) => host.emit(event);
    this.#clock = new RunClock(parts);
    this.#identity = { version: 1, recipe, config: config as RunState["config"], data };
    this.#results = new Map(Object.entries(state?.results ?? {}));
    this.#before = state?.elapsed ?? 0;
    this.#trained = state?.trained ?? 0;
    this.#saved = state;
    for (const text of remarks) this.note("warning", text);
  }

  /**
   * Work whose result is plain JSON, done once: where the run goes on behind it, the result is the one that was saved. Parts within are
   * then neither begun nor kept apart.
   */
  async once<T>(name: string, work: () => Promise<T>): Promise<T> {
    const known = this.#results.get(name);
    if (known !== undefined) return known as T;
    const before = new Set(this.#results.keys());
    const result = plainJson(name, await work());
    for (const inner of this.#results.keys()) if (!before.has(inner)) this.#results.delete(inner);
    this.#results.set(name, result as Json);
    return result;
  }

  /** A part of the plan, as `once`; it ends after its steps or after `maxSeconds`, whichever is first. */
  part<T>(name: string, work: () => Promise<T>, maxSeconds?: number): Promise<T> {
    return this.once(name, () => {
      this.begin(name, maxSeconds);
      return work();
    });
  }

  /** A part of the plan begins, or goes on; it will end after its steps or after `maxSeconds`, whichever is first. */
  begin(name: string, maxSeconds: number = Number.POSITIVE_INFINITY): void {
    const saved = this.#saved?.part === name ? this.#saved : null;
    this.#part = this.#clock.begin(name);
    this.#began = performance.now() - 1000 * (saved?.seconds ?? 0);
    this.#maxSeconds = maxSeconds;
    this.#steps = 0;
    const { title, steps, atMost } = this.#part;
    this.#emit({ type: "phase", name, title, steps, ...(atMost && { atMost }) });
    if (saved !== null && maxSeconds !== Number.POSITIVE_INFINITY) this.note("info", secondsDiffer);
  }

  /** Takes up what moves from step to step in the part that has begun, where the run goes on within it. */
  restore(state: Resumable): void {
    const saved = this.#saved;
    if (saved === null || saved.part !== this.#running().name) return;
    state.restore(saved.loop);
    this.#steps = saved.step;
    this.#saved = null;
  }

  /** The name of the part that has begun. */
  get phase(): string {
    return this.#running().name;
  }

  /** Training steps of the part that has begun, over all processes that worked on it; the one in hand included. */
  get stepsDone(): number {
    return this.#steps;
  }

  /** Training steps of the whole run, likewise. */
  get trained(): number {
    return this.#trained;
  }

  /** The number of the training step that begins. */
  nextStep(): number {
    this.#trained++;
    return ++this.#steps;
  }

  get saveIsDue(): boolean {
    return this.#keeper?.due(this.#steps) ?? false;
  }

  /** Writes a checkpoint where the run keeps any. `best` is the number of training steps at the best one. */
  async save(engine: Saved, state: Resumable, best: number | null): Promise<void> {
    if (this.#keeper?.on !== true) return;
    await this.#keeper.save(engine, {
      ...this.#identity,
      part: this.#running().name,
      step: this.#steps,
      trained: this.#trained,
      seconds: this.seconds,
      elapsed: this.elapsed,
      results: Object.fromEntries(this.#results),
      loop: state.save(),
      best,
      sizes: this.folder.flush(),
      fingerprint: fingerprint(),
    });
  }

  /** The model folder of the checkpoint at that many training steps of the run; null where the run keeps none. */
  modelAt(trained: number): string | null {
    return this.#keeper?.on === true ? this.#keeper.modelAt(trained) : null;
  }

  /** For calls of the engine: stops them when the run is to stop, but not within a training step. */
  get signal(): AbortSignal {
    return this.#interruptible ? this.#stop : never;
  }

  /** Whether the run is to stop. */
  get stopping(): boolean {
    return this.#stop.aborted;
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

  /** The part that has begun comes to `steps`, which were not known, only bounded, when it was planned. */
  plan(steps: number): void {
    this.#part = { ...this.#running(), steps };
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

  /** Seconds since the run began, over all processes that worked on it. */
  get elapsed(): number {
    return this.#before + (performance.now() - this.#opened) / 1000;
  }

  /**
   * A step, counted from 1, is done; `label` says what its figures are of where the part's steps differ. Fields that are not finite are
   * left out: JSON has no way to say them.
   */
  step(step: number, metrics: Metrics, label?: string): void {
    const { name: phase, steps: planned } = this.#running();
    const steps = this.stepsInTime(step, planned);
    const finite = finiteOnly(metrics);
    const seconds = this.seconds;
    this.#clock.tick(Math.max(step / steps, seconds / this.#maxSeconds), seconds);
    this.folder.metrics({ phase, step, seconds, ...finite });
    const remaining = this.#clock.remaining();
    this.#emit({ type: "step", phase, step, steps, metrics: finite, ...labelled(label), seconds, remaining });
  }

  /** Figures on held-out problems after a training step; `figure` is the one that is compared, `best` its best value so far. */
  measured(step: number, metrics: Metrics, figure: string, best: number | null): void {
    const { name: phase } = this.#running();
    this.folder.metrics({
      phase,
      step,
      seconds: this.seconds,
      ...finiteOnly({ ...metrics, [`${figure}/best`]: best ?? Number.NaN }),
    });
    const is = metrics[figure] === best ? ", the best so far" : "";
    this.note("info", `step ${step}: ${figure} ${showFigure(metrics[figure] ?? Number.NaN)}${is}`);
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

function finiteOnly(metrics: Metrics): Metrics {
  return Object.fromEntries(Object.entries(metrics).filter(([, value]) => Number.isFinite(value)));
}

/** The value as a file gives it back, so that a run that goes on sees what one that did not stop sees. */
function plainJson<T>(name: string, value: T): T {
  const text = JSON.stringify(value);
  const plain = text === undefined ? undefined : (JSON.parse(text) as T);
  if (plain !== undefined && isDeepStrictEqual(plain, value)) return plain;
  throw new Error(`[run] expected plain JSON from ${name}, got something that JSON cannot say`);
}

function labelled(label: string | undefined): { readonly label?: string } {
  return label === undefined ? {} : { label };
}
