// A reward model: a sequence classifier with one label that reads a problem and its answer as text and gives a number (Ouyang et al. 2022,
// section 3.4; as a reward for thinking, which it does not see: RLMT, Bhaskar et al. 2025). Its tokenizer, template and vocabulary are its own.
// Leaves out which text of a sample is the answer.
import { defaultThreads } from "../../engine/addon.js";
import { Engine } from "../../engine/engine.js";
import type { Fault } from "../faults.js";
import { inspectFolder } from "./folder.js";
import { type ModelMemory, modelMemory, requireRoom } from "./memory.js";
import { NativeScorer } from "./native.js";
import { OnnxScorer } from "./onnx/scorer.js";
import { findRuntime } from "./onnx/worker.js";
import type { IdScorer, ModelFolder, ScoreEngines } from "./scorer.js";
import type { RewardModelSettings } from "./settings.js";
import { type ModelInput, RewardText } from "./text.js";

export interface OpenOptions {
  /** Names the model in errors. */
  readonly where: string;
  /** Threads where the settings leave them open; 0: the cores this process may use. Default 0. */
  readonly threads?: number;
  /** Where engines of native models come from. Default: `Engine`. */
  readonly engines?: ScoreEngines;
  /** Name of the package that runs ONNX files, for tests. */
  readonly onnxRuntime?: string;
}

export interface ModelScores {
  /** scale * score + shift of each input; NaN where it has a fault. */
  readonly rewards: Float64Array; // [S]
  readonly faults: ReadonlyMap<number, Fault>;
  /** Texts that lost their end at maxTokens. */
  readonly truncated: number;
}

/** Texts by which an ONNX file is tried when it is opened, the second longer than the first. */
const TRIALS: readonly ModelInput[] = ["2", "The sum of one and one is two."].map((answer) => ({
  messages: [{ role: "user", content: "1 + 1?" }],
  answer,
}));

export class RewardModel implements AsyncDisposable {
  readonly memory: ModelMemory;
  readonly #text: RewardText;
  readonly #scorer: IdScorer;
  readonly #settings: RewardModelSettings;
  readonly #vocabSize: number | null;
  readonly #where: string;
  /** The call before; a model does one at a time. */
  #line: Promise<unknown> = Promise.resolve();

  private constructor(parts: Parts, settings: RewardModelSettings, where: string) {
    this.memory = parts.memory;
    this.#text = parts.text;
    this.#scorer = parts.scorer;
    this.#vocabSize = parts.folder.vocabSize;
    this.#settings = settings;
    this.#where = where;
  }

  /**
   * Throws InputError MODEL_MISSING, REWARD_MODEL_MISSING, REWARD_MODEL_KIND, CHAT_TEMPLATE_*, TOKENIZER_*, MEMORY_PLAN, ONNX_*, and as
   * Engine.load.
   */
  static async open(settings: RewardModelSettings, options: OpenOptions): Promise<RewardModel> {
    const { where } = options;
    const folder = await inspectFolder(settings, where);
    const maxTokens = longestText(folder, settings);
    const memory = modelMemory(folder, settings, maxTokens);
    const text = await RewardText.load(settings, { folder: folder.tokenizer, maxTokens, where });
    try {
      const scorer =
        folder.runtime === "native"
          ? await NativeScorer.open(
              options.engines ?? Engine,
              { ...settings, threads: threadsOf(settings, options) },
              maxTokens,
            )
          : await openOnnx(folder, text, settings, { ...options, bytes: memory.bytes });
      return new RewardModel({ memory, folder, text, scorer }, settings, where);
    } catch (error) {
      text[Symbol.dispose]();
      throw error;
    }
  }

  /** Rewards of inputs, in order. Throws what is not about one text alone, and where more than `mostFailures` cannot be read. */
  score(inputs: readonly ModelInput[], mostFailures: number, signal: AbortSignal): Promise<ModelScores> {
    const scored = this.#line.then(() => this.#score(inputs, mostFailures, signal));
    this.#line = scored.catch(() => {});
    return scored;
  }

  async #score(inputs: readonly ModelInput[], mostFailures: number, signal: AbortSignal): Promise<ModelScores> {
    signal.throwIfAborted();
    const { ids, truncated } = await this.#text.read(inputs, mostFailures);
    const faults = new Map<number, Fault>();
    const places: number[] = [];
    const known: Int32Array[] = [];
    for (const [at, own] of ids.entries()) {
      const fault = own instanceof Int32Array ? this.#foreign(own) : own;
      if (fault !== null) faults.set(at, fault);
      else {
        places.push(at);
        known.push(own as Int32Array);
      }
    }
    const scores = known.length === 0 ? [] : await this.#scorer.score(known, signal);
    const rewards = new Float64Array(inputs.length).fill(Number.NaN);
    const { scale, shift } = this.#settings;
    for (const [k, at] of places.entries()) {
      const score = scores[k]!;
      if (Number.isFinite(score)) rewards[at] = scale * score + shift;
      else faults.set(at, this.#notFinite(score));
    }
    return { rewards, faults, truncated };
  }

  /** Why ids are none of the model's, or null. */
  #foreign(ids: Int32Array): Fault | null {
    const size = this.#vocabSize ?? Number.POSITIVE_INFINITY;
    const id = ids.find((each) => each >= size);
    if (id === undefined) return null;
    const message = `[${this.#where}] expected ids of the model's ${size} tokens, got ${id}; its folder has another model's tokenizer`;
    return { code: "REWARD_TEXT", message };
  }

  #notFinite(score: number): Fault {
    const message = `[${this.#where}] expected a score that is a finite number, got ${score}`;
    return { code: "REWARD_VALUE", message: `${message}; set dtype to float32, or take another model` };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#text[Symbol.dispose]();
    await this.#scorer[Symbol.asyncDispose]();
  }
}

interface Parts {
  readonly memory: ModelMemory;
  readonly folder: ModelFolder;
  readonly text: RewardText;
  readonly scorer: IdScorer;
}

/** Tokens of a text at most: what the settings say, within the model's positions. */
const longestText = ({ positions }: ModelFolder, { maxTokens }: RewardModelSettings): number =>
  Math.min(maxTokens, positions ?? maxTokens);

const threadsOf = ({ threads }: RewardModelSettings, options: OpenOptions): number =>
  threads || options.threads || defaultThreads();

async function openOnnx(
  { file, config }: Extract<ModelFolder, { runtime: "onnx" }>,
  text: RewardText,
  settings: RewardModelSettings,
  options: OpenOptions & { readonly bytes: number },
): Promise<OnnxScorer> {
  const { where, onnxRuntime } = options;
  requireRoom(options.bytes, settings, where);
  const { workers, batchTokens, timeoutMs } = settings;
  const share = Math.max(1, Math.floor(threadsOf(settings, options) / workers));
  const { ids } = await text.read(TRIALS, TRIALS.length);
  return OnnxScorer.open({
    ...{ file, workers, batchTokens, timeoutMs, where },
    threads: settings.threads || share,
    padTokenId: config.padTokenId ?? (config.padToken === null ? null : text.tokenId(config.padToken)),
    trials: ids.filter((own) => own instanceof Int32Array),
    ...(onnxRuntime !== undefined && { runtime: onnxRuntime }),
  });
}

/**
 * What a reward model takes when it is opened, without opening it. Throws as RewardModel.open does about its folder, template and tokenizer, and
 * ONNX_MISSING; what an ONNX file itself says is seen when it is opened.
 */
export async function foreseeModel(
  settings: RewardModelSettings,
  { where, onnxRuntime }: Pick<OpenOptions, "where" | "onnxRuntime">,
): Promise<ModelMemory> {
  const folder = await inspectFolder(settings, where);
  const maxTokens = longestText(folder, settings);
  using _ = await RewardText.load(settings, { folder: folder.tokenizer, maxTokens, where });
  if (folder.runtime === "onnx") findRuntime(where, onnxRuntime);
  return modelMemory(folder, settings, maxTokens);
}
