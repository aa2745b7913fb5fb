// A worker's rewards: loaded when they are first needed, then kept. The same for threads and processes; what differs is the port.
import { type Fault, faultOf } from "../faults.js";
import { isModule } from "../kinds.js";
import { type BatchPort, gradeBatch, type Items } from "./grade-batch.js";
import { type Grader, loadGrader, type WorkerSetup } from "./graders.js";

export class Session {
  readonly #setup: WorkerSetup;
  readonly #graders = new Map<number, Grader>();

  /** What modules print goes to stderr: stdout may be a document. */
  constructor(setup: WorkerSetup) {
    this.#setup = setup;
    Object.defineProperty(process, "stdout", { value: process.stderr });
  }

  /** Grades a batch by reward `reward` of the setup; returns why the reward cannot be used, or null. */
  async grade(reward: number, items: Items, port: BatchPort): Promise<Fault | null> {
    const spec = this.#setup.rewards[reward]!;
    const where = this.#setup.where[reward]!;
    try {
      const grader = this.#graders.get(reward) ?? (await loadGrader(spec, where, this.#setup.cache));
      this.#graders.set(reward, grader);
      const concurrency = isModule(spec) ? spec.concurrency : 1;
      await gradeBatch(grader, items, port, { where, perGroup: isModule(spec) && spec.per === "group", concurrency });
      return null;
    } catch (error) {
      return faultOf(error, "REWARD_MODULE_LOAD", where);
    }
  }
}
