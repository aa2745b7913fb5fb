// What computes scores of ids, whichever runtime does.
import type { EngineLike } from "../../engine/like.js";
import type { EngineOptions, LoraOptions, ModelSpec } from "../../engine/types.js";

/** One number for each sequence of ids. */
export interface IdScorer extends AsyncDisposable {
  /** Scores [S], not finite where the model gives no number. Rejects with the signal's reason. One call at a time. */
  score(ids: readonly Int32Array[], signal: AbortSignal): Promise<Float64Array>;
}

/** The verbs of an engine that is a reward model. */
export type ScoreEngine = Pick<
  EngineLike,
  "spec" | "rewardScores" | "planMemory" | "reserve" | "memory" | typeof Symbol.asyncDispose
>;

/** Where such engines come from; the class `Engine` is one. */
export interface ScoreEngines {
  load(folder: string, options?: EngineOptions): Promise<ScoreEngine>;
}

/** What a reward model's folder holds; null where it does not say. */
export type ModelFolder = {
  readonly positions: number | null;
  readonly vocabSize: number | null;
  /** Folder of tokenizer and chat template: adapters may lie apart from their base. */
  readonly tokenizer: string;
} & (
  | { readonly runtime: "native"; readonly spec: ModelSpec; readonly lora: LoraOptions | null }
  | { readonly runtime: "onnx"; readonly file: string; readonly config: OnnxConfig }
);

/** What config.json says beside an ONNX file. */
export interface OnnxConfig {
  /** Bytes of the graph and of what lies beside it. */
  readonly bytes: number;
  readonly padTokenId: number | null;
  /** Of the tokenizer's configuration. */
  readonly padToken: string | null;
  readonly hiddenSize: number | null;
  readonly intermediateSize: number | null;
  readonly heads: number | null;
}
