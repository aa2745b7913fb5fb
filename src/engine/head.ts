// The scalar head: how a language model is opened as a model of one number a token, which verbs are for which head, and which token of a
// sequence bears its score. The numbers are the native side's.
import { checkKeys, KEYS } from "./known.js";
import type { ModelFolders } from "./peft.js";
import { scalarSpec } from "./spec.js";
import type { EngineOptions, Head, HeadInit, LossSpec, ModelSpec, PackedTokens } from "./types.js";
import { checkNumber, fail } from "./validate.js";

/** The initializer_range of transformers. */
export const DEFAULT_STD = 0.02;
export const MOST_STD = 100;

/** Throws InputError WRONG_HEAD for a model whose head is not what is asked for. */
export function requireHead(where: string, { head = "language" }: Pick<ModelSpec, "head">, wanted: Head): void {
  if (head === wanted) return;
  if (wanted === "language") {
    const got = "a sequence classifier (a reward model or a critic), which writes no text";
    fail("WRONG_HEAD", where, "a language model", got, "choose a causal language model");
  }
  const advice = 'choose a sequence classifier, or open the model with head: "scalar"';
  fail("WRONG_HEAD", where, "a model with a scalar head", "a language model", advice);
}

/** The head that a loss is of. */
export const headOf = ({ kind }: LossSpec): Head =>
  kind === "value" || kind === "bradley-terry" ? "scalar" : "language";

/** The spec of the model that the options make of one. Throws InputError BAD_ARGUMENT. */
export function withHead(spec: ModelSpec, { head, headInit }: Pick<EngineOptions, "head" | "headInit">): ModelSpec {
  if (head === undefined) return spec;
  if (head !== "scalar") fail("BAD_ARGUMENT", "engine head", '"scalar", or none for the head that there is', head);
  return scalarSpec(spec, headInit?.padTokenId);
}

/** The same of a folder's model, which adapters of a classifier give a scalar head too. */
export function loadedSpec(stated: ModelSpec, { adapter }: ModelFolders, options: EngineOptions): ModelSpec {
  const spec = withHead(stated, adapter?.head === "scalar" ? { ...options, head: "scalar" } : options);
  if (adapter && adapter.head !== "scalar" && spec.head !== stated.head)
    fail(
      "BAD_ARGUMENT",
      "engine head",
      "a whole model to take a new head",
      `adapters in ${adapter.folder}`,
      "merge them first (saveMerged)",
    );
  return spec;
}

/** Complete. Throws InputError BAD_ARGUMENT. */
export function fillHeadInit(init: HeadInit = {}): { seed: number; std: number } {
  checkKeys("engine headInit", init, KEYS.headInit);
  const { seed = 0, std = DEFAULT_STD } = init;
  checkNumber("engine headInit seed", seed, 0, Number.MAX_SAFE_INTEGER, true);
  checkNumber("engine headInit std", std, 0, MOST_STD);
  return { seed, std };
}

/** Places [S] of the tokens that bear the score of their sequences: the last that is not padding, or the first. */
export function scoredTokens({ ids, cuSeqlens }: PackedTokens, padTokenId: number | null): Int32Array {
  return cuSeqlens.slice(1).map((end, s) => {
    let last = end - 1;
    while (last > cuSeqlens[s]! && ids[last] === padTokenId) last--;
    return last;
  });
}
