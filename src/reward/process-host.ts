// Batches in worker processes: whatever a module does, it costs the item in hand. Processes start when batches need them, stay for the next
// ones, and end with `dispose`, or by themselves when this process is gone.
import type { Cells } from "./cells.js";
import { Child } from "./child.js";
import { type Batch, type Host, type Outcome, type RunRules, runWatched } from "./host.js";
import { Slots } from "./slots.js";
import type { HostOptions } from "./thread-host.js";
import type { WorkerSetup } from "./worker/graders.js";

export class ProcessHost implements Host {
  readonly workers: number;
  readonly #setup: WorkerSetup;
  readonly #options: HostOptions;
  readonly #slots: Slots;
  readonly #idle: Child[] = [];
  readonly #all = new Set<Child>();
  #isDisposed = false;

  constructor(setup: WorkerSetup, options: HostOptions) {
    this.#setup = setup;
    this.#options = options;
    this.workers = options.workers;
    this.#slots = new Slots(options.workers);
  }

  get alive(): number {
    return this.#all.size;
  }

  run(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    const rules: RunRules = { where: this.#setup.where[batch.reward]!, loadMs: this.#options.loadMs };
    const work = async (cells: Cells, end: AbortSignal) => {
      const child = this.#take();
      try {
        return await child.grade(batch, cells, end);
      } finally {
        if (child.isAlive && !end.aborted) this.#idle.push(child);
      }
    };
    return this.#slots.use(signal, () => runWatched(batch, rules, signal, work));
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
    for (const child of this.#all) child.kill();
    await Promise.all([...this.#all].map((child) => child.ended));
  }

  /** A process that waits, or a fresh one. */
  #take(): Child {
    if (this.#isDisposed) throw new Error("its pool was disposed");
    for (let child = this.#idle.pop(); child !== undefined; child = this.#idle.pop()) if (child.isAlive) return child;
    const child = new Child(this.#setup, this.#options.memoryMb);
    this.#all.add(child);
    void child.ended.then(() => this.#all.delete(child));
    return child;
  }
}
