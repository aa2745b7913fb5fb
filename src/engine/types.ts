// The engine's plain data: models, options, and what goes in and what comes out of its verbs; of those that train in training-types.ts. No
// behaviour, no native code. Suffixes of ragged arrays: T tokens (packed over sequences), S sequences, G groups, P prompts.

export type * from "./training-types.js";

/** Llama 2 and 3, SmolLM; Mistral; Qwen2 and 2.5 (biases of q, k and v); Qwen3 (norms of q and k). */
export type ModelFamily = "llama" | "mistral" | "qwen2" | "qwen3";

/** What stands on the last layer: a distribution over tokens, or one number a token (reward models, critics). */
export type Head = "language" | "scalar";

/** Rotary frequencies stretched for contexts longer than those a model was first trained on. */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    }
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly originalMaxPositions: number;
      /** Multiplies cosine and sine. */
      readonly attentionFactor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** Bounds of the ramp in whole dimensions. */
      readonly truncate: boolean;
    };

/** Shape and constants of a Llama-form model, as config.json states them. */
export interface ModelSpec {
  /** Default "llama". */
  readonly family?: ModelFamily;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Key/value heads; divides `heads`. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly maxPositions: number;
  readonly ropeTheta: number;
  /** Default: none. */
  readonly ropeScaling?: RopeScaling;
  /** Positions that a token of each layer sees, its own included; 0: all before it. Default: 0 in every layer. */
  readonly windows?: readonly number[]; // [layers]
  readonly rmsNormEps: number;
  /** False with a scalar head, which is never the embedding. */
  readonly tieWordEmbeddings: boolean;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  /**
   * "scalar": `score.weight` [1, hiddenSize] in the place of `lm_head.weight`, as transformers' *ForSequenceClassification with one label.
   * Default "language".
   */
  readonly head?: Head;
  /** Of a scalar head: a sequence's reward is at its last token that is not this one, as in transformers. Default: none. */
  readonly padTokenId?: number | null;
}

/** As torch and config.json name them. */
export const DTYPES = ["float32", "bfloat16"] as const;
export type DType = (typeof DTYPES)[number];

/**
 * Low-rank adapters beside frozen weights: y = W x + s * B (A x), s = alpha / rank (Hu et al. 2021, "LoRA"), or alpha / sqrt(rank)
 * (Kalajdzievski 2023, "rsLoRA"). Never merged while training; names are matched as peft matches them. Dropout is 0.
 */
export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  /**
   * Linear layers: "q_proj", "model.layers.0.mlp.up_proj", "lm_head", ... "all-linear" is those of the blocks. The adapter of a tied head
   * leaves the embedding as it is.
   */
  readonly targets: readonly string[] | "all-linear";
  /** Default false. */
  readonly rsLora?: boolean;
  /**
   * Modules of which a copy is trained whole, by the end of their names: "embed_tokens", "lm_head", "norm" (every norm). A tied head
   * and its embedding become two. Default: none.
   */
  readonly modulesToSave?: readonly string[];
  /** Of the random A; B is zero at first. Default 0. */
  readonly seed?: number;
}
export const DEFAULT_MICRO_BATCH_TOKENS = 4096;
export const DEFAULT_KV_BYTES = 2 ** 30;

export const DEVICES = ["cpu", "cuda"] as const;
export type Device = (typeof DEVICES)[number];

export interface EngineOptions {
  /** Where the model computes. "cuda" is refused, UNSUPPORTED_DEVICE: there are kernels, and no engine of them yet. Default "cpu". */
  readonly device?: Device;
  /** Threads of the CPU engine; default: the cores this process may use. Results do not depend on it. */
  readonly threads?: number;
  /**
   * Most tokens in one micro-batch of forwardBackward and logprobs, and samples that generate keeps running at once. A single longer
   * sequence is trained on and scored as a whole; generate computes it in pieces. For a small model forwardBackward and generate take
   * fewer, so that they stay in the caches. Results do not depend on it. Default 4,096.
   */
  readonly microBatchTokens?: number;
  /** Bytes for keys and values of sequences being generated. Results do not depend on it. Default 1 GiB. */
  readonly kvBytes?: number;
  /**
   * Type of weights, activations, keys and values in memory, and of weights that are saved. All sums are float32, and so are the residual
   * stream, logits, gradients and, in training, a master of every weight. Default "float32".
   */
  readonly dtype?: DType;
  /** Type of the optimizer's moments; bfloat16 ones are rounded up or down at random, reproducibly. Default "float32". */
  readonly moments?: DType;
  /**
   * Activation checkpointing: keep each layer's input and attention alone and compute the rest again in the backward pass, with the same
   * bits. Less memory for a slower step. Default false.
   */
  readonly recompute?: boolean;
  /** "auto" takes the fastest instruction set; all give the same bits. */
  readonly isa?: "auto" | "portable" | "avx2" | "avx512" | "avx512_bf16";
  /** Room for gradients and optimizer moments. Default true. */
  readonly trainable?: boolean;
  /**
   * Keep a frozen copy of the weights as they are now, for `ref` log-probs. With LoRA the base serves, without a copy. "moving" is for
   * syncReference with a mix below 1: of bfloat16 weights the copy then has float32 masters, which parts of the way add up in. Default false.
   */
  readonly reference?: boolean | "moving";
  /** Train adapters, not the weights. A folder of adapters brings its own. Default: none. */
  readonly lora?: LoraOptions;
  /** For a folder of adapters: the folder of their base model, in place of the one that adapter_config.json names. */
  readonly base?: string;
  /**
   * Opens a language model as one with a scalar head: a critic or a reward model at its start. Its lm_head is left out, and `score.weight`
   * drawn. A model that has a scalar head keeps it. With LoRA the head is trained whole, as peft does. Default: the head that there is.
   */
  readonly head?: "scalar";
  /** Of a head that is drawn. */
  readonly headInit?: HeadInit;
}

export interface HeadInit {
  /** Default 0. */
  readonly seed?: number;
  /** Of the normal numbers of `score.weight`; default 0.02, the initializer_range of transformers. */
  readonly std?: number;
  /** Becomes the model's padTokenId. Default: none. */
  readonly padTokenId?: number;
}

/** Token sequences laid end to end: sequence s is ids[cuSeqlens[s] .. cuSeqlens[s + 1]). */
export interface PackedTokens {
  readonly ids: Int32Array; // [T]
  readonly cuSeqlens: Int32Array; // [S + 1], starts at 0, ends at T
}

/**
 * What each token writes: token t is bytes[offsets[t] .. offsets[t + 1]). Special tokens write nothing. `Tokenizer.tokenBytes()` makes it.
 */
export interface TokenBytes {
  readonly bytes: Uint8Array;
  readonly offsets: Int32Array; // [tokens + 1], starts at 0
}

/**
 * What the text of a completion must be: one of some strings, or what a regular expression matches as a whole (the syntax of JavaScript with
 * flag "u": literals, classes, escapes, groups, |, * + ? {m,n}, dot; no anchors, lazy repetition, lookaround or backreferences).
 */
export type Constraint =
  | { readonly kind: "choice"; readonly choices: readonly string[] }
  | { readonly kind: "regex"; readonly pattern: string };

/**
 * How tokens are drawn and how samples end. What changes the distribution comes in the order of transformers: repetition penalty, presence
 * and frequency penalty, banned ids and constraint, temperature, top-k, top-p, min-p. The recorded log-prob is the policy's whatever is set.
 */
export interface SamplingParams {
  /** 0 is greedy. Log-probs are those of softmax(logits / temperature); at 0, of softmax(logits). Default 1. */
  readonly temperature?: number;
  /** 0 is off. */
  readonly topK?: number;
  /** 1 is off. */
  readonly topP?: number;
  /** Least probability, as a share of the most probable token's (Nguyen et al. 2024); 0 is off. */
  readonly minP?: number;
  /**
   * Divides positive logits of tokens of prompt and completion and multiplies negative ones, as transformers does (Keskar et al. 2019); 1 is
   * off.
   */
  readonly repetitionPenalty?: number;
  /** Taken from the logits of tokens that the completion has; 0 is off. */
  readonly presencePenalty?: number;
  /** Taken from the logits of tokens for each time that the completion has them; 0 is off. */
  readonly frequencyPenalty?: number;
  /** New tokens a sample at most, the end token included. */
  readonly maxTokens: number;
  /** Ids that end a sample; the id is part of the sample. Default: the model's eosTokenIds. */
  readonly stopTokenIds?: readonly number[];
  /**
   * Texts that end a sample as soon as one is complete, wherever tokens begin and end; the ids stay whole, so the last may write beyond
   * it. Needs `useVocabulary`; tokens that write nothing, as special ones do, are not seen.
   */
  readonly stopStrings?: readonly string[];
  /**
   * Only tokens that can lead to a match are drawn, and a stop id only where the text may end. Where nothing may follow and there is no stop
   * id, the sample ends with "stop" by itself; one that reaches maxTokens first does not match. Needs `useVocabulary`. Default: none.
   */
  readonly constraint?: Constraint | null;
  /** Ids that are never sampled; the log-prob stays that of the whole vocabulary. */
  readonly bannedTokenIds?: readonly number[];
}

/** The random number of a token is a function of (seed, step, problem, sample, position) alone. */
export interface GenerateRequest {
  readonly prompts: PackedTokens; // P sequences
  /** Samples a prompt; the prompt is computed once for all of them. Default 1. */
  readonly samplesPerPrompt?: number;
  /** For all prompts, or one for each. */
  readonly sampling: SamplingParams | readonly SamplingParams[]; // [P]
  readonly seed?: number;
  readonly step?: number;
  /** Problem number of each prompt, for the random key. Default: the place in the request. */
  readonly problemIds?: Int32Array; // [P]
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: GenerateProgress) => void;
}

export interface GenerateProgress {
  readonly finished: number;
  readonly total: number;
  readonly tokens: number;
}

export type FinishReason = "stop" | "length" | "abort";

/** Samples in order: prompt 0 sample 0, prompt 0 sample 1, ... (`samplesPerPrompt` each). Completions without their prompts. */
export interface GenerateResult {
  readonly tokens: Int32Array; // [T]
  readonly cuSeqlens: Int32Array; // [P * n + 1]
  /** log softmax(logits / temperature)[token], whole vocabulary: what training computes, bit for bit. */
  readonly logprobs: Float32Array; // [T]
  /** Log-prob in the distribution that was sampled from, after all that the sampling parameters do; 0 where sampling is greedy. */
  readonly samplerLogprobs: Float32Array; // [T]
  readonly finish: readonly FinishReason[]; // [P * n]
  /** The stop string that ended the sample. */
  readonly stopStrings: readonly (string | null)[]; // [P * n]
  readonly stats: GenerateStats;
}

/** How the room for keys and values was used. Results do not depend on it. */
export interface GenerateStats {
  /** Times that a sample gave its room to an older one, to be computed again later. */
  readonly preemptions: number;
  /** Tokens that were computed again for them. */
  readonly recomputedTokens: number;
  /** Blocks of 64 positions: how many there were, the most in use at once, and the bytes of one. */
  readonly blocks: number;
  readonly peakBlocks: number;
  readonly blockBytes: number;
}

/** Tokens of one sample that came since its last chunk. */
export interface GenerateChunk {
  /** Place in the order of GenerateResult: prompt 0 sample 0, prompt 0 sample 1, ... */
  readonly sample: number;
  readonly tokens: Int32Array; // [T]
  readonly logprobs: Float32Array; // [T]
  readonly samplerLogprobs: Float32Array; // [T]
  /** Null while the sample goes on. */
  readonly finish: FinishReason | null;
  readonly stopString: string | null;
}

export interface LogprobsRequest extends PackedTokens {
  /** Default 1. */
  readonly temperature?: number;
  /** Best K tokens for the position after each token. Default 0: none. */
  readonly top?: number;
  /** Use the frozen reference weights; with LoRA, the base without its adapters. */
  readonly reference?: boolean;
  readonly signal?: AbortSignal;
}

export interface LogprobsResult {
  /** logprobs[i]: log-prob of ids[i] given those before it in its sequence; NaN for the first of a sequence. */
  readonly logprobs: Float32Array; // [T]
  /** Entropy of the distribution that ids[i] was drawn from; NaN for the first of a sequence. */
  readonly entropy: Float32Array; // [T]
  readonly topIds: Int32Array; // [T, K]
  readonly topLogprobs: Float32Array; // [T, K]
}

export interface ValuesRequest extends PackedTokens {
  readonly signal?: AbortSignal;
}
