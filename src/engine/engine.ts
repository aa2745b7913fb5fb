// The engine: one model, one set of weights, and the verbs that sample from it and train it. Values are checked and defaults filled
// here; the native side gets complete structs and works on a thread of its own.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { InputError, ZazenError } from "../errors.js";
import { addon, type NativeEngine, toZazenError } from "./addon.js";
import { type Carried, readCarried } from "./carried.js";
import { type GenerateArgs, generateArgs, generateResult } from "./generate.js";
import {
  DEFAULT_STD,
  fillHeadInit,
  headOf,
  loadedSpec,
  MOST_STD,
  requireHead,
  scoredTokens,
  withHead,
} from "./head.js";
import { checkKeys, KEYS } from "./known.js";
import { isUntied } from "./lora.js";
import { lossMetrics } from "./loss-metrics.js";
import {
  type MemoryPlan,
  type MemoryUse,
  nativePlan,
  nativeWorkload,
  type Planner,
  type PlanTerms,
  requireMemory,
  usableBytes,
  type Workload,
} from "./memory.js";
import { memoryRoom } from "./memory-limit.js";
import { type FilledOptions, fillOptions, nativeConfig } from "./options.js";
import { ADAPTER_WEIGHTS, checkModules, modelFolders, writeAdapterConfig } from "./peft.js";
import { checkSpec, readModelSpec, writeModelConfig } from "./spec.js";
import { streamTokens } from "./stream.js";
import type {
  DType,
  EngineOptions,
  GenerateChunk,
  GenerateProgress,
  GenerateRequest,
  GenerateResult,
  LogprobsRequest,
  LogprobsResult,
  LoraOptions,
  LossMetrics,
  LossSpec,
  ModelSpec,
  OptimResult,
  OptimStep,
  TokenBytes,
  TrainBatch,
  ValuesRequest,
} from "./types.js";
import {
  checkLoss,
  checkNumber,
  checkPacked,
  checkTemperature,
  checkTokenBytes,
  checkTrainBatch,
  fail,
  fillLoss,
} from "./validate.js";
import { OPTIMIZER_FILE, REFERENCE_FILE, WEIGHTS_FILE, weightFiles } from "./weights.js";

/** A weight whose gradient has always been 0 steps by 0 / (0 + eps): eps must not be 0 in float32. */
const LEAST_EPS = 1e-30;

interface Source {
  readonly paths: readonly string[];
  readonly seed: number;
  readonly std: number;
  /** Path of a file with adapters; empty where they are made. */
  readonly adapter: string;
  /** Folder of the model; null where it is made from scratch. */
  readonly folder: string | null;
  /** The files are a language model's, and the scalar head is drawn from seed and std. */
  readonly drawHead: boolean;
  readonly carried: Carried | null;
}

/** What an engine is beside its native half. */
interface Identity {
  readonly spec: ModelSpec;
  readonly options: FilledOptions;
  readonly folder: string | null;
  /** What its files say beside the spec; null where it is made from scratch. */
  readonly carried: Carried | null;
}

/**
 * A Llama-form model on the CPU. One call runs at a time; a second one is refused with ENGINE_BUSY.
 *
 * @example
 * await using engine = await Engine.load("models/stories260k");
 */
export class Engine {
  readonly spec: ModelSpec;
  readonly dtype: DType;
  /** Of a model with adapters; its weights are frozen. */
  readonly lora: LoraOptions | undefined;
  /** Parameters, a tied head counted once; those of adapters not counted. */
  readonly parameters: number;
  /** Parameters that training changes. */
  readonly trainedParameters: number;
  readonly #identity: Identity;
  readonly #native: NativeEngine;
  #running: Promise<unknown> | undefined;
  #disposed = false;

  private constructor(identity: Identity, native: NativeEngine, counts: { parameters: number; trained: number }) {
    const { spec, options } = identity;
    this.spec = spec;
    this.dtype = options.dtype;
    this.lora = options.lora;
    this.#identity = identity;
    this.#native = native;
    this.parameters = counts.parameters;
    this.trainedParameters = counts.trained;
  }

  /**
   * Reads a Hugging Face folder: config.json, generation_config.json if there, model.safetensors or the files of its index; or a folder
   * of peft, adapter_config.json and adapter_model.safetensors, and the base model that it names.
   * Throws InputError: MODEL_MISSING, CONFIG_*, INDEX_INVALID, UNSUPPORTED_*, FILE_*, SAFETENSORS_*, TENSOR_*, ADAPTER_INVALID,
   * BASE_MISSING, LORA_TARGET.
   */
  static async load(folder: string, options: EngineOptions = {}): Promise<Engine> {
    checkKeys("engine options", options, KEYS.engine);
    const folders = await modelFolders(folder, options.base);
    const { base, adapter } = folders;
    if (adapter && options.lora)
      fail("BAD_ARGUMENT", "engine lora", "none for a folder of adapters, which brings its own", `one for ${folder}`);
    const stated = await readModelSpec(base);
    const spec = loadedSpec(stated, folders, options);
    const drawn = { ...fillHeadInit(options.headInit), drawHead: spec.head !== stated.head };
    const source = { paths: await weightFiles(base), folder: base, carried: await readCarried(base), ...drawn };
    if (!adapter) return Engine.#open(spec, { ...source, adapter: "" }, options);
    checkModules(adapter.folder, spec, adapter.lora);
    const file = join(adapter.folder, ADAPTER_WEIGHTS);
    return Engine.#open(spec, { ...source, adapter: file }, { ...options, lora: adapter.lora });
  }

  /** Random weights: matrices normal with `std` (default 0.02), norms 1. The same seed gives the same bits. */
  static async create(
    spec: ModelSpec,
    init: { seed: number; std?: number },
    options: EngineOptions = {},
  ): Promise<Engine> {
    checkKeys("create", init, KEYS.create);
    checkNumber("create seed", init.seed, 0, Number.MAX_SAFE_INTEGER, true);
    const std = init.std ?? DEFAULT_STD;
    checkNumber("create std", std, 0, MOST_STD);
    if (options.base !== undefined) fail("BAD_ARGUMENT", "create base", "none for a model from scratch", options.base);
    const source = { paths: [], seed: init.seed, std, adapter: "", folder: null, carried: null, drawHead: false };
    return Engine.#open(withHead(checkSpec(spec), options), source, options);
  }

  static async #open(spec: ModelSpec, { carried, ...source }: Source, options: EngineOptions): Promise<Engine> {
    const filled = fillOptions(options, spec);
    const native = new (addon().Engine)();
    try {
      const memoryLimit = usableBytes(memoryRoom(), 0);
      const config = nativeConfig(spec, filled, source.adapter);
      const counts = await native.open({ ...config, ...source, memoryLimit });
      return new Engine({ spec, options: filled, folder: source.folder, carried }, native, counts);
    } catch (error) {
      native.dispose();
      const refused = toZazenError(error);
      if (refused instanceof ZazenError && refused.code === "MEMORY_PLAN")
        requireMemory("engine", plannerOf(spec), filled, {}, { adapters: source.folder !== null });
      throw refused;
    }
  }

  /** Bytes that the native side holds and has held, without the arrays of the call in hand. */
  memory(): MemoryUse {
    return this.#native.memory();
  }

  /**
   * What this engine comes to when it has done the largest calls of a workload. Nothing is allocated. Throws InputError MEMORY_PLAN with
   * settings that would fit where this machine, or the control group of the process, has less left.
   */
  planMemory(workload: Workload, terms: PlanTerms = {}): MemoryPlan {
    const asked = { ...terms, held: this.memory().bytes };
    return requireMemory("engine", plannerOf(this.spec), this.#identity.options, workload, asked);
  }

  /**
   * Takes the memory of the largest calls of a workload, so that none of them allocates any more; resolves with the plan. Rejects as
   * planMemory throws, before anything is taken.
   */
  async reserve(workload: Workload, terms: PlanTerms = {}): Promise<MemoryPlan> {
    const plan = this.planMemory(workload, terms);
    await this.#call(undefined, (native) => native.reserve({ workload: nativeWorkload(workload) }));
    return plan;
  }

  /**
   * Samples completions. A prompt is computed once for all its samples; prompt and completion together end at the model's context.
   * When aborted, resolves with what there is: samples cut short have finish "abort". An error of onProgress stops it and rejects.
   */
  async generate(request: GenerateRequest): Promise<GenerateResult> {
    requireHead("generate", this.spec, "language");
    return this.#generate(request, generateArgs(request, this.spec));
  }

  /**
   * The same, chunk by chunk as tokens are drawn; the generator's return value is the whole result. A reader that is slow holds up the
   * sampling. Leaving the loop early stops the call; after an abort the samples that were cut short end with finish "abort".
   */
  async *generateStream(request: GenerateRequest): AsyncGenerator<GenerateChunk, GenerateResult, undefined> {
    requireHead("generate", this.spec, "language");
    const args = generateArgs(request, this.spec);
    return yield* streamTokens({
      args,
      start: (onTokens) => this.#generate(request, args, onTokens),
      take: () => this.#native.takeTokens(),
      abort: () => this.#native.abort(),
    });
  }

  /**
   * Tells the engine what tokens write, for stop strings and constraints. Once for each engine; a second call takes its place. A tokenizer
   * may have more tokens than the model, as those with special tokens that were added later do: they are never sampled, and left out.
   */
  async useVocabulary(vocabulary: TokenBytes): Promise<void> {
    checkTokenBytes(vocabulary);
    const offsets = vocabulary.offsets.subarray(0, this.spec.vocabSize + 1);
    const bytes = vocabulary.bytes.subarray(0, offsets.at(-1));
    return this.#call(undefined, (native) => native.useVocabulary({ bytes, offsets }));
  }

  /** Log-probs and entropies of given tokens, and the best tokens after each. */
  async logprobs(request: LogprobsRequest): Promise<LogprobsResult> {
    checkKeys("logprobs", request, KEYS.logprobs);
    requireHead("logprobs", this.spec, "language");
    checkPacked("logprobs", request, this.spec);
    const { ids, cuSeqlens, temperature = 1, top = 0, reference = false } = request;
    checkTemperature("logprobs temperature", temperature);
    checkNumber("logprobs top", top, 0, this.spec.vocabSize, true);
    const args = { ids, cuSeqlens, temperature, top, reference, aborted: request.signal?.aborted ?? false };
    return this.#call(request.signal, (native) => native.logprobs(args));
  }

  /**
   * What the scalar head says of each sequence [S]: at its last token that is not the model's padTokenId, as transformers takes it, at
   * its first where there is no other. The bits of a score depend on its sequence alone. Rejects with ABORTED when aborted.
   */
  async rewardScores(request: ValuesRequest): Promise<Float32Array> {
    checkKeys("rewardScores", request, KEYS.values);
    requireHead("rewardScores", this.spec, "scalar");
    checkPacked("rewardScores", request, this.spec);
    return this.#values(request, scoredTokens(request, this.spec.padTokenId ?? null));
  }

  /** What the scalar head says at each token [T], having seen those up to it. The bits are those of rewardScores. */
  async values(request: ValuesRequest): Promise<Float32Array> {
    checkKeys("values", request, KEYS.values);
    requireHead("values", this.spec, "scalar");
    checkPacked("values", request, this.spec);
    return this.#values(
      request,
      request.ids.map((_, t) => t),
    );
  }

  #values({ ids, cuSeqlens, signal }: ValuesRequest, at: Int32Array): Promise<Float32Array> {
    const args = { ids, cuSeqlens, at, aborted: signal?.aborted ?? false };
    return this.#call(signal, (native) => native.values(args));
  }

  /**
   * Adds the gradient of the loss to the gradient buffers. Cutting a batch into several calls gives the bits of one call.
   * When aborted, rejects with ABORTED and clears the gradients.
   */
  async forwardBackward(batch: TrainBatch, loss: LossSpec): Promise<LossMetrics> {
    checkKeys("forwardBackward", batch, KEYS.train);
    checkPacked("forwardBackward", batch, this.spec);
    checkLoss(loss);
    checkKeys("loss", loss, KEYS.losses[loss.kind]);
    requireHead(`forwardBackward ${loss.kind}`, this.spec, headOf(loss));
    checkTrainBatch(batch, loss);
    const { signal, ...arrays } = arraysOf(batch, loss, this.spec);
    // The arrays last: a field of the loss must not take the place of one that was checked.
    const args = { ...fillLoss(loss), ...arrays, aborted: signal?.aborted ?? false };
    return lossMetrics(loss, await this.#call(signal, (native) => native.forwardBackward(args)));
  }

  /**
   * Clips the gradient, steps AdamW (Loshchilov and Hutter 2019) and clears the gradient.
   * A gradient that is not finite rejects with GRADIENT_NOT_FINITE and is cleared; weights and moments stay as they were.
   */
  async optimStep(step: OptimStep): Promise<OptimResult> {
    checkKeys("optimStep", step, KEYS.optim);
    const filled = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, maxGradNorm: 0, ...step };
    checkNumber("optimStep learningRate", filled.learningRate, 0, 1e3);
    checkNumber("optimStep beta1", filled.beta1, 0, 1 - Number.EPSILON);
    checkNumber("optimStep beta2", filled.beta2, 0, 1 - Number.EPSILON);
    checkNumber("optimStep eps", filled.eps, LEAST_EPS, 1);
    checkNumber("optimStep weightDecay", filled.weightDecay, 0, 1e3);
    checkNumber("optimStep maxGradNorm", filled.maxGradNorm, 0, 1e9);
    return this.#call(undefined, (native) => native.optimStep(filled));
  }

  /**
   * Moves the reference to the policy: reference = (1 - mix) reference + mix weights, mix in 0 .. 1; 1 copies. Gorbatovski et al., "Learn
   * your reference model", 2024. Of bfloat16 weights the mean is one of masters, rounded to nearest. Rejects with NO_REFERENCE where the
   * engine has none, and with BAD_ARGUMENT for a mix between 0 and 1 of bfloat16 weights whose reference is not "moving".
   */
  async syncReference(mix: number): Promise<void> {
    checkNumber("syncReference mix", mix, 0, 1);
    if (this.lora)
      fail("NO_REFERENCE", "syncReference", "an engine without LoRA", "one whose reference is its frozen base");
    return this.#call(undefined, (native) => native.syncReference({ mix }));
  }

  /** Gradient gathered so far of one parameter, by its Hugging Face name, row-major. For tests and diagnosis. */
  async gradient(name: string): Promise<Float32Array> {
    return this.#call(undefined, (native) => native.gradient({ name }));
  }

  /**
   * Writes model.safetensors in the engine's dtype, then config.json and generation_config.json into `folder`, each whole or not at all. A call that
   * is refused leaves what the folder held. With LoRA it is a folder of peft: adapter_model.safetensors in float32 and adapter_config.json,
   * which names the base.
   */
  async save(folder: string): Promise<void> {
    const { lora } = this.#identity.options;
    if (!lora) return this.saveMerged(folder);
    await makeFolder(folder);
    await this.#call(undefined, (native) => native.save({ path: join(folder, ADAPTER_WEIGHTS), merged: false }));
    await writeAdapterConfig(folder, lora, { base: this.#identity.folder, head: this.spec.head ?? "language" });
  }

  /**
   * As save, but a model on its own: with LoRA its adapters are added to the weights, rounded to the engine's dtype. Its files keep the
   * begin, end and padding tokens of those that it was loaded from, and their recommendations for sampling.
   */
  async saveMerged(folder: string): Promise<void> {
    const { lora } = this.#identity.options;
    await makeFolder(folder);
    await this.#call(undefined, (native) => native.save({ path: join(folder, WEIGHTS_FILE), merged: true }));
    const tieWordEmbeddings = this.spec.tieWordEmbeddings && !(lora && isUntied(this.spec, lora));
    await writeModelConfig(folder, { ...this.spec, tieWordEmbeddings }, this.dtype, this.#identity.carried);
  }

  /**
   * Takes the weights that `save` wrote of an engine of this shape and these adapters; moments, masters aside, and the reference stay, gathered
   * gradients are cleared. Throws InputError FILE_*, SAFETENSORS_*, TENSOR_*, before anything is changed unless the disk fails in the middle:
   * dispose the engine then.
   */
  async loadWeights(folder: string): Promise<void> {
    const { lora } = this.#identity.options;
    await this.#call(undefined, (native) => native.load({ path: join(folder, lora ? ADAPTER_WEIGHTS : WEIGHTS_FILE) }));
  }

  /**
   * Writes what training keeps beside the weights into `folder`, each file whole or not at all: optimizer.safetensors with the moments
   * (`exp_avg.NAME` and `exp_avg_sq.NAME`, row-major, in their type), the masters of bfloat16 weights (`master.NAME`, F32), those of a
   * moving reference (`reference.NAME`, F32) and the steps taken; reference.safetensors where there is a reference. `save` and `saveState`
   * between two optimizer steps hold all that the next ones depend on.
   */
  async saveState(folder: string): Promise<void> {
    await makeFolder(folder);
    await this.#call(undefined, (native) => native.saveState(this.#statePaths(folder)));
  }

  /**
   * Goes on from what `saveState` wrote for a model of this shape and these types; gathered gradients are cleared. Throws InputError
   * FILE_*, SAFETENSORS_*, TENSOR_*, before anything is changed unless the disk fails in the middle: dispose the engine then.
   */
  async loadState(folder: string): Promise<void> {
    await this.#call(undefined, (native) => native.loadState(this.#statePaths(folder)));
  }

  #statePaths(folder: string) {
    const { options } = this.#identity;
    return {
      optimizer: join(folder, OPTIMIZER_FILE),
      reference: options.reference && !options.lora ? join(folder, REFERENCE_FILE) : "", // the base serves with adapters
    };
  }

  /** Stops what runs and frees native memory; idempotent. Later calls reject with ENGINE_DISPOSED. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#native.abort();
    await this.#running?.catch(() => undefined);
    this.#native.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  async #generate(request: GenerateRequest, args: GenerateArgs, onTokens?: () => void): Promise<GenerateResult> {
    const faults: unknown[] = [];
    const progress = this.#guarded(request.onProgress, faults);
    const result = await this.#call(request.signal, (native) => native.generate(args, progress, onTokens));
    if (faults.length > 0) throw faults[0];
    return generateResult(result, args);
  }

  async #call<T>(signal: AbortSignal | undefined, verb: (native: NativeEngine) => Promise<T>): Promise<T> {
    if (this.#disposed)
      throw new ZazenError("ENGINE_DISPOSED", "[engine] expected a live engine, got one that was disposed");
    const abort = () => this.#native.abort();
    try {
      const running = verb(this.#native);
      this.#running = running;
      signal?.addEventListener("abort", abort, { once: true });
      return await running;
    } catch (error) {
      throw toZazenError(error);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** A callback that throws stops the call; its error is kept, since native code has no one to tell. */
  #guarded(onProgress: GenerateRequest["onProgress"], faults: unknown[]) {
    return (
      onProgress &&
      ((value: GenerateProgress) => {
        try {
          onProgress(value);
        } catch (error) {
          faults.push(error);
          this.#native.abort();
        }
      })
    );
  }
}

/** The memory that an engine of these options needs for a workload, without making one. Throws InputError SPEC_INVALID, BAD_ARGUMENT. */
export function planMemory(spec: ModelSpec, options: EngineOptions = {}, workload: Workload = {}): MemoryPlan {
  return plannerOf(withHead(checkSpec(spec), options))(options, workload);
}

const plannerOf =
  (spec: ModelSpec): Planner =>
  (options, workload) =>
    nativePlan(nativeConfig(spec, fillOptions(options, spec)), workload);

/** The arrays of a batch by name, and the tokens that bear scores where the loss is of these. */
function arraysOf(batch: TrainBatch, loss: LossSpec, { padTokenId = null }: ModelSpec) {
  const { ids, cuSeqlens, weights, advantages, oldLogprobs, refLogprobs, samplerLogprobs, importance } = batch;
  const { returns, oldValues, pairWeights, margins, signal } = batch;
  const ofTokens = { weights, advantages, oldLogprobs, refLogprobs, samplerLogprobs, importance, returns, oldValues };
  const scored = loss.kind === "bradley-terry" ? scoredTokens(batch, padTokenId) : undefined;
  return { ids, cuSeqlens, ...ofTokens, pairWeights, margins, scored, signal };
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    const reason = (error as Error).message;
    throw new InputError("FILE_IO", `[${folder}] expected a folder that can be written, got ${reason}`, {
      cause: error,
    });
  }
}
