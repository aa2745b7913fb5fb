// Tokens of a sample's thought and of its answer, by what its tokens write. Leaves out the split of the text.
import { InputError } from "../errors.js";
import type { ThinkingFormat } from "../prompt/thinking.js";
import type { TokenBytes } from "../prompt/token-bytes.js";
import { tokensThrough } from "../prompt/token-split.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import type { Sample } from "../rollout/types.js";
import type { ReadSample } from "../train/watch.js";

export type TokenCounts = Pick<ReadSample, "thoughtTokens" | "answerTokens">;

/** Of a malformed sample. */
export const UNCOUNTED: TokenCounts = { thoughtTokens: null, answerTokens: null };

/**
 * Counts the tokens of samples that are well formed. `mark`: which of several opening marks the answer follows. Where the tokenizer does not
 * write tokens one by one the counts are unknown, which `warn` is told once.
 */
export function tokenCounter(
  tokenizer: Tokenizer,
  { answerOpen }: ThinkingFormat,
  mark: "first" | "last",
  warn: (text: string) => void,
): (sample: Sample) => TokenCounts {
  if (answerOpen === null) return ({ completion }) => ({ thoughtTokens: 0, answerTokens: completion.length });
  const written = writtenBytes(tokenizer, warn);
  return ({ completion }) => {
    const marked = written === null ? null : tokensThrough(completion, answerOpen, mark, written);
    return marked === null ? UNCOUNTED : { thoughtTokens: marked, answerTokens: completion.length - marked };
  };
}

function writtenBytes(tokenizer: Tokenizer, warn: (text: string) => void): TokenBytes | null {
  try {
    return tokenizer.writtenBytes();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    warn(`lengths of thought and answer are not counted: ${error.message}`);
    return null;
  }
}
