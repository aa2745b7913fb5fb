// A reward model on an inference engine of its own: packed sequences, no padding, the scalar at each one's last token. The bits of a score
// depend on its ids alone. Its memory is taken when it is opened.
import type { Workload } from "../../engine/memory.js";
import type { EngineOptions, PackedTokens } from "../../engine/types.js";
import type { IdScorer, ScoreEngine, ScoreEngines } from "./scorer.js";
import type { RewardModelSettings } from "./settings.js";

/** Of one call, so that what a call takes is bounded however many samples there are. */
const CALL_TOKENS = 2 ** 16;
const CALL_SEQUENCES = 2 ** 12;

export class NativeScorer implements IdScorer {
  readonly #engine: ScoreEngine;
  readonly #callTokens: number;

  private constructor(engine: ScoreEngine, callTokens: number) {
    this.#engine = engine;
    this.#callTokens = callTokens;
  }

  /** Throws as Engine.load, and InputError MEMORY_PLAN. */
  static async open(engines: ScoreEngines, settings: RewardModelSettings, maxTokens: number): Promise<NativeScorer> {
    const engine = await engines.load(settings.model, scoreOptions(settings));
    try {
      await engine.reserve(scoreWorkload(maxTokens));
      return new NativeScorer(engine, callTokens(maxTokens));
    } catch (error) {
      await engine[Symbol.asyncDispose]();
      throw error;
    }
  }

  async score(ids: readonly Int32Array[], signal: AbortSignal): Promise<Float64Array> {
    const scores = new Float64Array(ids.length);
    for (let from = 0; from < ids.length; ) {
      const to = endOfCall(ids, from, this.#callTokens);
      scores.set(await this.#call(packed(ids.slice(from, to)), signal), from);
      from = to;
    }
    return scores;
  }

  async #call(tokens: PackedTokens, signal: AbortSignal): Promise<Float32Array> {
    try {
      return await this.#engine.rewardScores({ ...tokens, signal });
    } catch (error) {
      signal.throwIfAborted(); // with the caller's reason
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
  }
}

export function scoreOptions({ dtype, threads, batchTokens }: RewardModelSettings): EngineOptions {
  return { dtype, microBatchTokens: batchTokens, trainable: false, ...(threads > 0 && { threads }) };
}

/** The largest calls on texts of up to `maxTokens` tokens. */
export function scoreWorkload(maxTokens: number): Workload {
  return { score: { tokens: callTokens(maxTokens), longest: maxTokens, sequences: CALL_SEQUENCES } };
}

const callTokens = (maxTokens: number): number => Math.max(CALL_TOKENS, maxTokens);

function endOfCall(ids: readonly Int32Array[], from: number, mostTokens: number): number {
  let tokens = 0;
  let to = from;
  while (to < ids.length && to - from < CALL_SEQUENCES && tokens + ids[to]!.length <= mostTokens) {
    tokens += ids[to]!.length;
    to++;
  }
  return to;
}

/** Sequences laid end to end; none is empty. */
function packed(sequences: readonly Int32Array[]): PackedTokens {
  const cuSeqlens = new Int32Array(sequences.length + 1);
  sequences.forEach((own, s) => {
    cuSeqlens[s + 1] = cuSeqlens[s]! + own.length;
  });
  const ids = new Int32Array(cuSeqlens[sequences.length]!);
  sequences.forEach((own, s) => {
    ids.set(own, cuSeqlens[s]!);
  });
  return { ids, cuSeqlens };
}
