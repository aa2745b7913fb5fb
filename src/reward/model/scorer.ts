// What computes scores of ids, whichever runtime does.
/** One number for each sequence of ids. */
export interface IdScorer extends AsyncDisposable {
  /** Scores [S], not finite where the model gives no number. Rejects with the signal's reason. One call at a time. */
  score(ids: readonly Int32Array[], signal: AbortSignal): Promise<Float64Array>;
}

/** What a reward model's folder holds; null where it does not say. */
export interface ModelFolder {
  readonly positions: number | null;
  readonly vocabSize: number | null;
  readonly file: string;
  readonly config: OnnxConfig;
}

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
