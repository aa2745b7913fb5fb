// When a run writes a checkpoint, and which ones it keeps. Leaves out what is in one.
import type { SourceReport } from "../data/source.js";
import { Checkpoints, checkpointModel, type Saved, type TokenizerWriter } from "./checkpoint.js";
import type { Disk } from "./disk.js";
import type { RunState } from "./run-state.js";

export interface CheckpointSettings {
  /** Steps between checkpoints; 0 is off. */
  readonly every: number;
  /** Seconds between checkpoints; 0 is off. With both off a run writes none. */
  readonly seconds: number;
  /** Checkpoints kept, the best aside. */
  readonly keep: number;
}

export interface Keeping extends CheckpointSettings {
  /** Of the model folder in each checkpoint. */
  readonly tokenizer: TokenizerWriter;
  /** What was read of each source of data, held-out ones included. */
  readonly data?: readonly SourceReport[];
}

export class Keeper {
  readonly #store: Checkpoints;
  #last = performance.now();
  #trained: number | null; // of the last checkpoint

  /** Of a run that goes on from the checkpoint at `trained` steps, or that begins. */
  constructor(
    run: string,
    readonly keeping: Keeping,
    disk: Disk,
    trained: number | null,
  ) {
    this.#store = new Checkpoints(run, disk);
    this.#trained = trained;
  }

  get on(): boolean {
    return this.keeping.every > 0 || this.keeping.seconds > 0;
  }

  /** Before a run goes on from a checkpoint, or from its beginning: what is not of use any more gives its room. */
  goOnFrom(state: RunState | null): void {
    const best = state?.best ?? null;
    this.#store.goOnFrom(state?.trained ?? 0);
    if (best !== null) this.#store.markBest(best); // it may have been written and not been marked
    this.#store.prune(this.keeping.keep, best);
  }

  /** The model folder of the checkpoint at `trained` steps. */
  modelAt(trained: number): string {
    return checkpointModel(this.#store.pathOf(trained));
  }

  /** Whether a part's step asks for a checkpoint. */
  due(step: number): boolean {
    const { every, seconds } = this.keeping;
    return (every > 0 && step % every === 0) || (seconds > 0 && performance.now() - this.#last >= 1000 * seconds);
  }

  /** Writes a checkpoint, where none was written at this state's step, and removes those that need not be kept. */
  async save(engine: Saved, state: Omit<RunState, "sha256">): Promise<void> {
    const { trained, best } = state;
    if (trained !== this.#trained) await this.#store.write(engine, this.keeping.tokenizer, state);
    this.#trained = trained;
    this.#last = performance.now();
    if (best === trained) this.#store.markBest(best);
    this.#store.prune(this.keeping.keep, best);
  }
}
