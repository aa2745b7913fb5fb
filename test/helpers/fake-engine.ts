// A stand-in for the native engine: a bigram table, logits[v] = table[last token][v], with exact gradients and AdamW in float64.
// It follows the engine's contract (keys of random numbers, weights, log-prob convention, sampling parameters), keeps the requests that it
// was given, and saves its table as JSON.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { random } from "../../src/data/random.js";
import { generateArgs } from "../../src/engine/generate.js";
import { requireHead, scoredTokens } from "../../src/engine/head.js";
import type { EngineLike, EngineSource } from "../../src/engine/like.js";
import type { MemoryPlan, MemoryUse, PlanTerms, Proposals, Workload } from "../../src/engine/memory.js";
import type {
  EngineOptions,
  FinishReason,
  GenerateRequest,
  GenerateResult,
  GenerateStats,
  LogprobsRequest,
  LogprobsResult,
  LossMetrics,
  LossSpec,
  ModelSpec,
  OptimResult,
  OptimStep,
  SamplingParams,
  TokenBytes,
  TrainBatch,
  ValuesRequest,
} from "../../src/engine/types.js";
import { InputError, ZazenError } from "../../src/errors.js";
import { Drawer } from "./fake-sampler.js";

/** Faults to plant. */
export interface FakeFaults {
  /** Added to every recorded log-prob. */
  readonly drift?: number;
  /** forwardBackward returns a NaN loss from this call on, counted from 1. */
  readonly nanFrom?: number;
  /** forwardBackward returns a NaN loss for a batch that has this token. */
  readonly nanToken?: number;
  /** optimStep refuses the gradient, as the engine does. */
  readonly gradientNotFinite?: boolean;
  /** optimStep refuses a gradient of batches that have this token. */
  readonly badGradientOf?: number;
  /** Said of every call to generate. */
  readonly stats?: Partial<GenerateStats>;
}

const noRoom: GenerateStats = { preemptions: 0, recomputedTokens: 0, blocks: 0, peakBlocks: 0, blockBytes: 0 };

export function fakeSpec(vocabSize: number, eos: number): ModelSpec {
  return {
    vocabSize,
    hiddenSize: 1,
    intermediateSize: 1,
    layers: 1,
    heads: 1,
    kvHeads: 1,
    headDim: 1,
    maxPositions: 512,
    ropeTheta: 10_000,
    rmsNormEps: 1e-5,
    tieWordEmbeddings: false,
    bosTokenId: null,
    eosTokenIds: [eos],
  };
}

export class FakeEngine implements EngineLike {
  readonly parameters: number;
  readonly trainedParameters: number;
  readonly calls: string[] = [];
  readonly workloads: Workload[] = [];
  readonly proposals: Proposals[] = [];
  readonly batches: { batch: TrainBatch; loss: LossSpec }[] = [];
  readonly requests: GenerateRequest[] = [];
  vocabulary: TokenBytes | null = null;
  #table: Float64Array; // [V, V]
  #reference: Float64Array; // [V, V]
  readonly #gradient: Float64Array; // [V, V]
  readonly #first: Float64Array; // [V, V]
  readonly #second: Float64Array; // [V, V]
  #steps = 0;
  #trained = 0;
  #isSpoilt = false;

  constructor(
    readonly spec: ModelSpec,
    readonly faults: FakeFaults = {},
    table?: ArrayLike<number>,
  ) {
    const size = spec.vocabSize ** 2;
    this.parameters = size;
    this.trainedParameters = size;
    this.#table = table ? Float64Array.from(table) : new Float64Array(size);
    this.#reference = this.#table.slice();
    this.#gradient = new Float64Array(size);
    this.#first = new Float64Array(size);
    this.#second = new Float64Array(size);
  }

  /** Sampling parameters of the requests so far, the first prompt's of each. */
  get samplings(): readonly SamplingParams[] {
    return this.requests.map(({ sampling }) => [sampling].flat()[0]!);
  }

  async useVocabulary(vocabulary: TokenBytes): Promise<void> {
    this.#call("useVocabulary");
    this.vocabulary = vocabulary;
  }

  async generate(request: GenerateRequest): Promise<GenerateResult> {
    this.#call("generate");
    this.requests.push(request);
    const { samplings, samplingOf, samples: n } = generateArgs(request, this.spec); // checks as the engine does
    for (const { stopStrings, constraint } of samplings) {
      if (this.vocabulary === null && (stopStrings.length > 0 || constraint !== null))
        throw new InputError("NO_VOCABULARY", "[fake engine] expected useVocabulary to be called first");
    }
    const drawers = samplings.map((sampling) => new Drawer(sampling, this.vocabulary));
    const all = Array.from({ length: samplingOf.length * n }, (_, s) => {
      const prompt = Math.floor(s / n);
      return this.#sample(request, drawers[samplingOf[prompt]!]!, prompt, s % n);
    });
    const cuSeqlens = new Int32Array(all.length + 1);
    all.forEach((one, s) => {
      cuSeqlens[s + 1] = cuSeqlens[s]! + one.tokens.length;
    });
    return {
      tokens: Int32Array.from(all.flatMap((one) => one.tokens)),
      cuSeqlens,
      logprobs: Float32Array.from(all.flatMap((one) => one.logprobs)),
      samplerLogprobs: Float32Array.from(all.flatMap((one) => one.samplerLogprobs)),
      finish: all.map((one) => one.finish),
      stopStrings: all.map((one) => one.stopString),
      stats: { ...noRoom, ...this.faults.stats },
    };
  }

  #sample(request: GenerateRequest, drawer: Drawer, prompt: number, sample: number) {
    const { ids, cuSeqlens } = request.prompts;
    const { temperature, maxTokens } = drawer.sampling;
    const problem = request.problemIds?.[prompt] ?? prompt;
    const before = ids.subarray(cuSeqlens[prompt], cuSeqlens[prompt + 1]);
    const tokens: number[] = [];
    const logprobs: number[] = [];
    const samplerLogprobs: number[] = [];
    const room = Math.min(maxTokens, this.spec.maxPositions - before.length);
    let end: ReturnType<Drawer["endOf"]> = null;
    while (end === null && tokens.length < room) {
      const last = tokens.at(-1) ?? before.at(-1)!;
      const rng = random(request.seed ?? 0, request.step ?? 0, problem, sample, tokens.length);
      const policy = this.#logSoftmax(this.#table, last, temperature);
      const drawn = drawer.draw(policy, this.#logits(this.#table, last), before, tokens, rng);
      tokens.push(drawn.token);
      const recorded = (logprob: number) => Math.fround(logprob + (this.faults.drift ?? 0));
      logprobs.push(recorded(policy[drawn.token]!));
      samplerLogprobs.push(recorded(drawn.logprob));
      end = drawer.endOf(tokens);
    }
    const finish: FinishReason = end === null ? "length" : "stop";
    return { tokens, logprobs, samplerLogprobs, finish, stopString: end?.stopString ?? null };
  }

  async logprobs(request: LogprobsRequest): Promise<LogprobsResult> {
    this.#call(request.reference ? "reference" : "logprobs");
    const logprobs = new Float32Array(request.ids.length).fill(Number.NaN);
    const entropy = logprobs.slice();
    const table = request.reference ? this.#reference : this.#table;
    for (const t of predicted(request.cuSeqlens)) {
      const logp = this.#logSoftmax(table, request.ids[t - 1]!, request.temperature ?? 1);
      logprobs[t] = logp[request.ids[t]!]!;
      entropy[t] = entropyOf(logp);
    }
    return { logprobs, entropy, topIds: new Int32Array(0), topLogprobs: new Float32Array(0) };
  }

  /** The table's first column is the scalar head. */
  async values({ ids }: ValuesRequest): Promise<Float32Array> {
    requireHead("values", this.spec, "scalar");
    this.#call("values");
    return Float32Array.from(ids, (id) => this.#table[id * this.spec.vocabSize]!);
  }

  async rewardScores(request: ValuesRequest): Promise<Float32Array> {
    requireHead("rewardScores", this.spec, "scalar");
    const values = await this.values(request);
    return Float32Array.from(scoredTokens(request, this.spec.padTokenId ?? null), (t) => values[t]!);
  }

  async forwardBackward(batch: TrainBatch, loss: LossSpec): Promise<LossMetrics> {
    this.#call("forwardBackward");
    this.batches.push({ batch, loss });
    this.#trained++;
    if (this.faults.badGradientOf !== undefined && batch.ids.includes(this.faults.badGradientOf)) this.#isSpoilt = true;
    const sums = { loss: 0, tokens: 0, entropy: 0, mismatch: 0, clipped: 0, ratio: 0, kl: 0 };
    const temperature = loss.kind === "policy" ? loss.temperature : 1;
    for (const t of predicted(batch.cuSeqlens)) {
      const weight = batch.weights[t]!;
      if (weight === 0) continue;
      const row = batch.ids[t - 1]!;
      const logp = this.#logSoftmax(this.#table, row, temperature);
      const token = batch.ids[t]!;
      const slope = lossOfToken(loss, batch, t, logp, token, weight, sums);
      logp.forEach((value, v) => {
        const at = row * this.spec.vocabSize + v;
        this.#gradient[at]! += (slope * ((v === token ? 1 : 0) - Math.exp(value))) / temperature;
      });
    }
    const n = Math.max(1, sums.tokens);
    const { nanFrom, nanToken } = this.faults;
    const broken =
      (nanFrom !== undefined && this.#trained >= nanFrom) || (nanToken !== undefined && batch.ids.includes(nanToken));
    return {
      loss: broken ? Number.NaN : sums.loss,
      tokens: sums.tokens,
      entropy: sums.entropy / n,
      mismatchMaxAbs: loss.kind === "policy" ? sums.mismatch : Number.NaN,
      clipFraction: sums.clipped / n,
      clipLowFraction: 0,
      clipHighFraction: sums.clipped / n,
      ratio: sums.ratio / n,
      kl: sums.kl / n,
    };
  }

  async optimStep(step: OptimStep): Promise<OptimResult> {
    this.#call("optimStep");
    if (this.faults.gradientNotFinite || this.#isSpoilt) {
      this.#gradient.fill(0);
      this.#isSpoilt = false;
      throw new ZazenError("GRADIENT_NOT_FINITE", "[optimStep] expected a finite gradient, got a norm of nan");
    }
    const { learningRate, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, maxGradNorm = 0 } = step;
    const gradNorm = Math.hypot(...this.#gradient);
    const scale = maxGradNorm > 0 && gradNorm > maxGradNorm ? maxGradNorm / gradNorm : 1;
    this.#steps++;
    for (const [i, raw] of this.#gradient.entries()) {
      const g = raw * scale;
      this.#first[i] = beta1 * this.#first[i]! + (1 - beta1) * g;
      this.#second[i] = beta2 * this.#second[i]! + (1 - beta2) * g * g;
      const mean = this.#first[i]! / (1 - beta1 ** this.#steps);
      const square = this.#second[i]! / (1 - beta2 ** this.#steps);
      this.#table[i]! -= (learningRate * mean) / (Math.sqrt(square) + eps);
    }
    this.#gradient.fill(0);
    return { gradNorm, step: this.#steps };
  }

  async syncReference(mix: number): Promise<void> {
    this.#call("syncReference");
    this.#table.forEach((value, i) => {
      this.#reference[i] = (1 - mix) * this.#reference[i]! + mix * value;
    });
  }

  memory(): MemoryUse {
    return { bytes: 0, peakBytes: 0, allocations: 0 };
  }

  planMemory(workload: Workload, { adapters }: PlanTerms = {}): MemoryPlan {
    this.workloads.push(workload);
    this.proposals.push(adapters === undefined ? {} : { adapters });
    const none = { weights: 0, masters: 0, reference: 0, gradients: 0, moments: 0, activations: 0, head: 0 };
    return { parts: { ...none, keysAndValues: 0, workspace: 0 }, bytes: 0 };
  }

  async reserve(workload: Workload, terms: PlanTerms = {}): Promise<MemoryPlan> {
    this.#call("reserve");
    return this.planMemory(workload, terms);
  }

  async save(folder: string): Promise<void> {
    this.#call("save");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "table.json"), JSON.stringify({ spec: this.spec, table: [...this.#table] }));
  }

  async loadWeights(folder: string): Promise<void> {
    this.#call("loadWeights");
    this.#table = Float64Array.from(JSON.parse(readFileSync(join(folder, "table.json"), "utf8")).table);
  }

  async saveState(folder: string): Promise<void> {
    this.#call("saveState");
    const arrays = { first: this.#first, second: this.#second, reference: this.#reference };
    const state = Object.entries(arrays).map(([name, values]) => [name, [...values]]);
    writeFileSync(join(folder, "moments.json"), JSON.stringify({ steps: this.#steps, ...Object.fromEntries(state) }));
  }

  async loadState(folder: string): Promise<void> {
    this.#call("loadState");
    const { steps, first, second, reference } = JSON.parse(readFileSync(join(folder, "moments.json"), "utf8"));
    this.#steps = steps;
    this.#first.set(first);
    this.#second.set(second);
    this.#reference = Float64Array.from(reference);
  }

  async dispose(): Promise<void> {
    this.calls.push("dispose");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #call(name: string): void {
    if (this.calls.includes("dispose")) throw new Error(`[fake engine] ${name} after dispose`);
    this.calls.push(name);
  }

  #logits(table: Float64Array, row: number): number[] {
    const v = this.spec.vocabSize;
    return [...table.subarray(row * v, (row + 1) * v)];
  }

  /** log softmax(table[row] / temperature); temperature 0 counts as 1. */
  #logSoftmax(table: Float64Array, row: number, temperature: number): number[] {
    const logits = this.#logits(table, row).map((x) => x / (temperature || 1));
    const max = Math.max(...logits);
    const lse = max + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - max), 0));
    return logits.map((x) => x - lse);
  }
}

/** Engines that are fakes; `made` lists them in order. */
export class FakeSource implements EngineSource {
  readonly made: FakeEngine[] = [];
  readonly options: (EngineOptions | undefined)[] = [];

  constructor(readonly faults: FakeFaults = {}) {}

  async create(spec: ModelSpec, _init: { seed: number }, options?: EngineOptions): Promise<FakeEngine> {
    return this.#keep(new FakeEngine(spec, this.faults), options);
  }

  async load(folder: string, options?: EngineOptions): Promise<FakeEngine> {
    const { spec, table } = JSON.parse(readFileSync(join(folder, "table.json"), "utf8"));
    return this.#keep(new FakeEngine(spec, this.faults, table), options);
  }

  #keep(engine: FakeEngine, options: EngineOptions | undefined): FakeEngine {
    this.made.push(engine);
    this.options.push(options);
    return engine;
  }
}

/** Places of all tokens that have a token before them in their sequence. */
function* predicted(cuSeqlens: Int32Array): Generator<number> {
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    for (let t = cuSeqlens[s]! + 1; t < cuSeqlens[s + 1]!; t++) yield t;
  }
}

function entropyOf(logp: readonly number[]): number {
  return -logp.reduce((sum, value) => sum + Math.exp(value) * value, 0);
}

interface Sums {
  loss: number;
  tokens: number;
  entropy: number;
  mismatch: number;
  clipped: number;
  ratio: number;
  kl: number;
}

/** Adds the token to the sums; returns d loss / d logp (the entropy term is left out). */
function lossOfToken(
  loss: LossSpec,
  batch: TrainBatch,
  t: number,
  logps: readonly number[],
  token: number,
  weight: number,
  sums: Sums,
): number {
  const logp = Math.fround(logps[token]!);
  sums.tokens++;
  sums.entropy += entropyOf(logps);
  if (loss.kind === "sft") {
    sums.loss -= weight * logp;
    return -weight;
  }
  if (loss.kind !== "policy") throw new Error(`[fake engine] expected the loss sft or policy, got ${loss.kind}`);
  const advantage = batch.advantages![t]!;
  const old = batch.oldLogprobs![t]!;
  const ratio = Math.exp(logp - old);
  const bounded = Math.min(1 + loss.clipHigh, Math.max(1 - loss.clipLow, ratio));
  const clipped = bounded * advantage < ratio * advantage;
  const log = loss.klCoefficient > 0 ? batch.refLogprobs![t]! - logp : 0;
  const kl = Math.exp(log) - log - 1;
  sums.mismatch = Math.max(sums.mismatch, Math.abs(logp - old));
  sums.clipped += clipped ? 1 : 0;
  sums.ratio += ratio;
  sums.kl += kl;
  sums.loss += weight * (loss.klCoefficient * kl - Math.min(ratio * advantage, bounded * advantage));
  const surrogate = clipped ? 0 : -ratio * advantage;
  return weight * (surrogate + loss.klCoefficient * (1 - Math.exp(log)));
}
