// A reward model as an ONNX file: processes with a session each, batches of like lengths dealt out in order. Scores keep the order of the
// texts. They depend on the batch that a text is in by its last bits, and batches on the lengths of a call alone.
import type { IdScorer } from "../scorer.js";
import { lengthBatches } from "./batches.js";
import { type GraphPlan, type InputName, outputError, planGraph } from "./graph.js";
import { type Feeds, findRuntime, OnnxWorker, type WorkerOptions } from "./worker.js";

export interface OnnxOptions extends Omit<WorkerOptions, "runtime"> {
  readonly workers: number;
  /** Tokens of a batch at most, padding counted. */
  readonly batchTokens: number;
  /** What a batch is filled up with; null: only texts of one length go together. */
  readonly padTokenId: number | null;
  /** Ids of two texts, the second longer, to see whether the graph minds padding; fewer: it is taken for one that does not. */
  readonly trials: readonly Int32Array[];
  /** Name of the package; for tests. */
  readonly runtime?: string;
}

export class OnnxScorer implements IdScorer {
  readonly #workers: readonly OnnxWorker[];
  readonly #plan: GraphPlan;
  readonly #options: OnnxOptions;
  #pads: boolean;

  private constructor(workers: readonly OnnxWorker[], plan: GraphPlan, options: OnnxOptions) {
    this.#workers = workers;
    this.#plan = plan;
    this.#options = options;
    this.#pads = options.padTokenId !== null && plan.inputs.some(({ name }) => name === "attention_mask");
  }

  /** Throws InputError ONNX_MISSING, ONNX_RUNTIME, ONNX_FILE, ONNX_INPUTS, ONNX_OUTPUTS. */
  static async open(options: OnnxOptions): Promise<OnnxScorer> {
    const { file, threads, timeoutMs, where } = options;
    const runtime = findRuntime(where, options.runtime);
    const own = { file, threads, timeoutMs, where, runtime };
    const { worker: first, graph } = await OnnxWorker.start(own); // alone: what is wrong is wrong for all
    const started = [first];
    try {
      const plan = planGraph(graph, where);
      const others = await Promise.allSettled(Array.from({ length: options.workers - 1 }, () => OnnxWorker.start(own)));
      for (const each of others) if (each.status === "fulfilled") started.push(each.value.worker);
      for (const each of others) if (each.status === "rejected") throw each.reason;
      const scorer = new OnnxScorer(started, plan, options);
      scorer.#pads = scorer.#pads && !(await scorer.#mindsPadding());
      return scorer;
    } catch (error) {
      await Promise.all(started.map((worker) => worker.dispose()));
      throw error;
    }
  }

  /** Processes, for tests. */
  get pids(): readonly (number | undefined)[] {
    return this.#workers.map(({ pid }) => pid);
  }

  /** After an abort a worker ends the batch in hand, and then serves the next call. */
  async score(ids: readonly Int32Array[], signal: AbortSignal): Promise<Float64Array> {
    signal.throwIfAborted();
    const batches = lengthBatches(
      ids.map(({ length }) => length),
      { tokens: this.#options.batchTokens, pads: this.#pads },
    );
    const scores = new Float64Array(ids.length);
    let next = 0;
    let isOver = false;
    const lane = async (worker: OnnxWorker) => {
      while (next < batches.length && !isOver) {
        const places = batches[next++]!;
        const own = await this.#run(
          worker,
          places.map((place) => ids[place]!),
        );
        for (const [row, place] of places.entries()) scores[place] = own[row]!;
      }
    };
    try {
      await orAborted(Promise.all(this.#workers.map(lane)), signal);
      return scores;
    } finally {
      isOver = true;
    }
  }

  /**
   * Whether padding leaves the score of a shorter text as it is. Where it does not, since the graph reads the score at another place or takes
   * no notice of the mask, only texts of one length go together. Scores that are no numbers say nothing.
   */
  async #mindsPadding(): Promise<boolean> {
    const [shorter, longer] = this.#options.trials;
    if (shorter === undefined || longer === undefined || shorter.length >= longer.length) return false;
    const [worker] = this.#workers;
    const [alone] = await this.#run(worker!, [shorter]);
    const [, padded] = await this.#run(worker!, [longer, shorter]);
    return Math.abs(padded! - alone!) > PADDING_TOLERANCE * Math.max(1, Math.abs(alone!));
  }

  async #run(worker: OnnxWorker, batch: readonly Int32Array[]): Promise<Float64Array> {
    const { dims, scores } = await worker.run(feedsOf(this.#plan, batch, this.#options.padTokenId ?? 0));
    if (scores.length === batch.length && dims[0] === batch.length) return scores;
    const expected = `[${batch.length}, 1] or [${batch.length}]`;
    throw outputError(this.#options.where, expected, `[${dims.join(", ")}]`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.dispose()));
  }
}

/** Far above what another batch changes in half precision, and far below what another token's score differs by. */
const PADDING_TOLERANCE = 0.02;

/** A batch [B, L], filled up on the right. */
function feedsOf({ inputs, output }: GraphPlan, batch: readonly Int32Array[], padTokenId: number): Feeds {
  const longest = batch.reduce((most, { length }) => Math.max(most, length), 0);
  const feeds = inputs.map(({ name, type }) => ({ name, type, data: fill(name, batch, longest, padTokenId) }));
  return { feeds, dims: [batch.length, longest], output };
}

function fill(name: InputName, batch: readonly Int32Array[], longest: number, padTokenId: number): Int32Array {
  const data = new Int32Array(batch.length * longest).fill(name === "input_ids" ? padTokenId : 0);
  for (const [row, ids] of batch.entries()) {
    const own = data.subarray(row * longest, (row + 1) * longest);
    if (name === "input_ids") own.set(ids);
    else if (name === "attention_mask") own.fill(1, 0, ids.length);
    else if (name === "position_ids") own.set([...own.keys()]);
  }
  return data;
}

/** The work, or the signal's reason as soon as it is aborted. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
