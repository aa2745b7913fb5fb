// Batches on worker threads of piscina, which starts them and replaces those that were ended. A thread is ended when one of its items is over
// its time; loops and deep patterns end with it. What a thread cannot hold back: `process.kill`, and memory outside of V8's heap.
import type { Piscina } from "piscina";
import type { Cells } from "./cells.js";
import { type Batch, type Host, type Outcome, type RunRules, runWatched } from "./host.js";
import { Slots } from "./slots.js";
import type { WorkerSetup } from "./worker/graders.js";
import type { ThreadReply, ThreadTask } from "./worker/thread.js";

export interface HostOptions {
  readonly workers: number;
  /** MB: V8's heap of a thread; heap and buffers of a process. */
  readonly memoryMb: number;
  /** Milliseconds in which a module has to be imported. */
  readonly loadMs: number;
}

export class ThreadHost implements Host {
  readonly workers: number;
  readonly #pool: Piscina;
  readonly #where: readonly string[];
  readonly #loadMs: number;
  readonly #slots: Slots;

  private constructor(pool: Piscina, where: readonly string[], { workers, loadMs }: HostOptions) {
    this.#pool = pool;
    this.#where = where;
    this.#loadMs = loadMs;
    this.workers = workers;
    this.#slots = new Slots(workers);
  }

  /** Threads start with the first batches. */
  static async create(setup: WorkerSetup, options: HostOptions): Promise<ThreadHost> {
    const { Piscina } = await import("piscina");
    const pool = new Piscina({
      filename: new URL("./worker/start.mjs", import.meta.url).href,
      name: "grade",
      workerData: setup,
      minThreads: 0,
      maxThreads: options.workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      resourceLimits: { maxOldGenerationSizeMb: options.memoryMb },
      recordTiming: false,
    });
    pool.on("error", () => {}); // a thread that ends between two batches is replaced with the next one
    return new ThreadHost(pool, setup.where, options);
  }

  get alive(): number {
    return this.#pool.threads.length;
  }

  run(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    const rules: RunRules = { where: this.#where[batch.reward]!, loadMs: this.#loadMs };
    const work = async (cells: Cells, end: AbortSignal) => {
      const task: ThreadTask = { reward: batch.reward, items: batch.items, cells: cells.buffer };
      const { unusable, faults } = (await this.#pool.run(task, { signal: end })) as ThreadReply;
      return { unusable, faults: new Map(faults) };
    };
    return this.#slots.use(signal, () => runWatched(batch, rules, signal, work));
  }

  async dispose(): Promise<void> {
    await this.#pool.destroy();
  }
}
