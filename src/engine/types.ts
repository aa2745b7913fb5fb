// The engine's plain data: what goes in and what comes out of its verbs. No behaviour, no native code.
// Suffixes of ragged arrays: T tokens (packed over sequences), S sequences, G groups, P prompts.

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

export interface EngineOptions {
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
  /** Keep a frozen copy of the weights as they are now, for `ref` log-probs. With LoRA the base serves, without a copy. Default false. */
  readonly reference?: boolean;
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

/** Weighted negative log-likelihood: sum_t weight_t * -logp_t. */
export interface SftLoss {
  readonly kind: "sft";
}

/** Whose probability a ratio is of: a token's, or a whole sequence's, length-normalised. */
export type RatioLevel = "token" | "sequence";
export type PolicyObjective = "clip" | "cispo";
export type KlEstimator = "k1" | "k2" | "k3";

/**
 * sum_t weight_t * (-importance_t * surrogate_t + klCoefficient * kl_t - entropyCoefficient * H_t), with the ratio exp(logp - old) of a
 * token (Schulman et al. 2017) or exp(mean(logp - old)) of a sequence, whose gradient goes through all its tokens (GSPO, Zheng et al.
 * 2025, eq. 7). Surrogates: "clip" min(ratio A, clip(ratio) A) (Schulman et al. 2017, eq. 7); "cispo" clip(ratio) A logp, the clipped
 * ratio a constant (MiniMax-M1 2025, eq. 4). KL to the reference from d = ref - logp (Schulman 2020): k1 = -d, whose gradient has no
 * pull to the reference on average; k2 = d^2 / 2; k3 = exp(d) - d - 1.
 */
export interface PolicyLoss {
  readonly kind: "policy";
  readonly temperature: number;
  /** Default "token". */
  readonly ratio?: RatioLevel;
  /** Default "clip". */
  readonly objective?: PolicyObjective;
  readonly clipLow: number;
  readonly clipHigh: number;
  /** Bound of the clip surrogate for negative advantages, > 1; 0 is off (Ye et al. 2020, eq. 5). */
  readonly dualClip: number;
  /** Coefficient of the KL to the reference; 0 needs no reference log-probs. */
  readonly klCoefficient: number;
  /** Default "k3". */
  readonly klEstimator?: KlEstimator;
  /** Bound of |ref - logp| in the KL, beyond which a token has no pull; 0, the default, is off. */
  readonly klMaxLogRatio?: number;
  /** Bound of a token's estimate, likewise. */
  readonly klMax?: number;
  readonly entropyCoefficient: number;
}

/**
 * Direct preference optimisation (Rafailov et al. 2023, eq. 7) of pairs: sequence 2 p is the chosen one of pair p, 2 p + 1 the rejected one.
 * sum_p pairWeight_p * (-(1 - labelSmoothing) log sigmoid(m_p) - labelSmoothing log sigmoid(-m_p)) of the margins
 * m = beta * ((logp_c - ref_c) - (logp_r - ref_r)), log-probs at temperature 1 summed over a completion's tokens. Label smoothing is the
 * share of labels that may be flipped: Mitchell 2023, "A note on DPO with noisy preferences", eq. 3.
 */
export interface DpoLoss {
  readonly kind: "dpo";
  /** How hard the policy is held to the reference. */
  readonly beta: number;
  /** In 0 .. 0.5. Default 0. */
  readonly labelSmoothing?: number;
}

/**
 * Of a critic, a model with a scalar head: sum_t weight_t * max((v_t - R_t)^2, (clip(v_t) - R_t)^2) / 2, where v_t is the value at the token
 * before token t and clip keeps it within `clip` of the value recorded (as PPO's reference code, TRL and verl). Schulman et al. 2017, eq. 9.
 */
export interface ValueLoss {
  readonly kind: "value";
  /** 0 is off. */
  readonly clip: number;
}

/**
 * Of a reward model, a model with a scalar head, on pairs: sequence 2 p is the chosen one of pair p, 2 p + 1 the rejected one.
 * sum_p pairWeight_p * (-log sigmoid(c_p - r_p - margin_p) + centerCoefficient * (c_p + r_p)^2) of their scores, as `rewardScores` gives them
 * (Bradley and Terry 1952; margins: Touvron et al. 2023, "Llama 2", eq. 2; centring: Eisenstein et al. 2023, "Helping or herding?").
 */
export interface BradleyTerryLoss {
  readonly kind: "bradley-terry";
  /** Holds the scores around zero: 0.01, say. Default 0. */
  readonly centerCoefficient?: number;
}

export type LossSpec = SftLoss | PolicyLoss | DpoLoss | ValueLoss | BradleyTerryLoss;

/**
 * Training tokens. weights[i] is what token i counts in the loss, its normaliser included (for a mean over n tokens 1 / n, n over
 * the whole step); 0 leaves the token out. The first token of a sequence has weight 0. For losses of pairs a weight that is not 0 marks a
 * token of a completion, and pairWeights hold the normaliser; "bradley-terry" has no use for them.
 */
export interface TrainBatch extends PackedTokens {
  readonly weights: Float32Array; // [T]
  /** For "policy": advantage of each token. */
  readonly advantages?: Float32Array; // [T]
  /** For "policy": log-probs recorded when the tokens were sampled. */
  readonly oldLogprobs?: Float32Array; // [T]
  /** For "policy" with KL and for "dpo": log-probs under the reference. */
  readonly refLogprobs?: Float32Array; // [T]
  /** For "policy": log-probs that the ratio is to, where they are not those of the policy: a filtered sampler's. Default: oldLogprobs. */
  readonly samplerLogprobs?: Float32Array; // [T]
  /** For "policy": factor of each token's surrogate, such as an importance weight, or 0 to leave it out. Default 1. */
  readonly importance?: Float32Array; // [T]
  /** For "value": what the value at the token before is to be. */
  readonly returns?: Float32Array; // [T]
  /** For "value" with a clip: the value at the token before, as it was recorded. */
  readonly oldValues?: Float32Array; // [T]
  /** For "bradley-terry": by how much each chosen score is to lead. Default 0. */
  readonly margins?: Float32Array; // [S / 2]
  /** For losses of pairs: what each pair counts in the loss, its normaliser included (for a mean over n pairs 1 / n); 0 leaves it out. */
  readonly pairWeights?: Float32Array; // [S / 2]
  readonly signal?: AbortSignal;
}

/** Means over tokens with weight != 0, except `loss`, which is the weighted sum. */
export interface LossMetrics {
  readonly loss: number;
  readonly tokens: number;
  readonly entropy: number;
  /** max |logp - oldLogprobs|, or |value - oldValues|; the on-policy law says 0 on the first update of a rollout. NaN for other losses. */
  readonly mismatchMaxAbs: number;
  /** Tokens whose surrogate a bound decided; for "cispo" those whose ratio was clipped; for "value" those whose clipped square is larger. */
  readonly clipFraction: number;
  /** Of these, below 1 - clipLow and above 1 + clipHigh; what is left is the dual clip's. */
  readonly clipLowFraction: number;
  readonly clipHighFraction: number;
  readonly ratio: number;
  readonly kl: number;
  /** Of losses of pairs. */
  readonly pairs?: PairMetrics;
  /** Of the value loss. */
  readonly value?: ValueMetrics;
}

/** Over tokens with weight != 0. */
export interface ValueMetrics {
  readonly mean: number;
  readonly returnMean: number;
  /** 1 - Var(return - value) / Var(return): 1 of a critic that knows the returns, 0 of one that knows their mean alone. */
  readonly explainedVariance: number;
}

/**
 * Means over pairs with weight != 0. Of "dpo" rewards are beta * (logp - ref), log-probs sums over a completion; of "bradley-terry" rewards
 * are scores, and log-probs NaN.
 */
export interface PairMetrics {
  readonly count: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  readonly margin: number;
  /** Share of pairs whose chosen reward is the larger one. */
  readonly accuracy: number;
  readonly chosenLogprob: number;
  readonly rejectedLogprob: number;
}

export interface OptimStep {
  readonly learningRate: number;
  readonly beta1?: number; // 0.9
  readonly beta2?: number; // 0.999
  readonly eps?: number; // 1e-8
  /** Decoupled; matrices only, not norms. Default 0. */
  readonly weightDecay?: number;
  /** Largest gradient norm; 0 is off. Default 0. */
  readonly maxGradNorm?: number;
}

export interface OptimResult {
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
  /** Steps taken so far. */
  readonly step: number;
}
