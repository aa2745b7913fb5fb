// Pure packing: lists of id sequences to one packed array and back to samples. No engine calls, no randomness.
import type { GenerateResult, PackedTokens } from "../engine/types.js";
import { InputError } from "../errors.js";
import type { Sample } from "./types.js";

/** Offsets are int32. */
const mostTokens = 2 ** 31 - 1;

/**
 * Lays sequences end to end. Throws InputError EMPTY_SEQUENCE, since the engine needs a token to start from, and TOO_MANY_TOKENS for
 * more than 2^31 - 1.
 */
export function packSequences(sequences: readonly ArrayLike<number>[]): PackedTokens {
  const total = sequences.reduce((sum, sequence) => sum + sequence.length, 0);
  if (total > mostTokens) {
    throw new InputError(
      "TOO_MANY_TOKENS",
      `[packSequences] expected at most ${mostTokens} tokens, got ${total}; pack fewer sequences at a time`,
    );
  }
  const cuSeqlens = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, s) => {
    if (sequence.length === 0) {
      throw new InputError(
        "EMPTY_SEQUENCE",
        `[sequence ${s}] expected at least one token, got none; drop it before packing`,
      );
    }
    cuSeqlens[s + 1] = cuSeqlens[s]! + sequence.length;
  });
  const ids = new Int32Array(total);
  sequences.forEach((sequence, s) => {
    ids.set(sequence, cuSeqlens[s]!);
  });
  return { ids, cuSeqlens };
}

/** Tokens of a completion that its mask [C] counts. */
export const countedTokens = (mask: Uint8Array): number => mask.reduce((sum, counted) => sum + counted, 0);

/** Prompt and completion as one sequence. */
export function wholeSequence(of: {
  readonly prompt: ArrayLike<number>;
  readonly completion: ArrayLike<number>;
}): Int32Array {
  const ids = new Int32Array(of.prompt.length + of.completion.length);
  ids.set(of.prompt);
  ids.set(of.completion, of.prompt.length);
  return ids;
}

/** What a result says about its samples. */
export type SampledTokens = Omit<GenerateResult, "stats" | "stopStrings"> &
  Partial<Pick<GenerateResult, "stopStrings">>;

/** Cuts a result back into samples, `samplesPerPrompt` for each prompt, in prompt order. `endTokens`: those that ended samples. */
export function unpackSamples(
  prompts: readonly Int32Array[], // [P]
  result: SampledTokens,
  samplesPerPrompt: number,
  endTokens: readonly number[] = [],
): Sample[][] {
  const expected = prompts.length * samplesPerPrompt;
  if (result.finish.length !== expected) {
    throw new InputError("SAMPLE_COUNT", `[generate] expected ${expected} samples, got ${result.finish.length}`);
  }
  const ends = new Set(endTokens);
  return prompts.map((prompt, p) =>
    Array.from({ length: samplesPerPrompt }, (_, i) => sampleAt(result, p * samplesPerPrompt + i, prompt, ends)),
  );
}

function sampleAt(result: SampledTokens, s: number, prompt: Int32Array, ends: ReadonlySet<number>): Sample {
  const from = result.cuSeqlens[s]!;
  const to = result.cuSeqlens[s + 1]!;
  const last = to > from ? result.tokens[to - 1]! : null;
  return {
    prompt,
    completion: result.tokens.subarray(from, to),
    logprobs: result.logprobs.subarray(from, to),
    samplerLogprobs: result.samplerLogprobs.subarray(from, to),
    mask: new Uint8Array(to - from).fill(1),
    finish: result.finish[s]!,
    stopString: result.stopStrings?.[s] ?? null,
    stopToken: last !== null && ends.has(last) ? last : null,
  };
}
