// The 121 tokens of the built-in trial: the integers 0..99, then 21 symbols. Ids are fixed; saved models depend on them.
import { InputError } from "../../errors.js";

/** The largest number that is a token: targets and intermediate results stay at or below it. */
export const LARGEST_NUMBER = 99;

const SYMBOLS = [
  "<pad>",
  "<bos>",
  "<eos>",
  "<unk>",
  "<q>", // a problem follows: numbers, arrow, target
  "->",
  "<think>",
  "</think>",
  "<answer>",
  "</answer>",
  "+",
  "-",
  "*",
  "(",
  ")",
  "=",
  ";", // between the two steps of an attempt
  "x", // the attempt missed the target
  "ok", // the attempt hit the target
  "stop", // gives up the search
  "tie", // with the numbers 1 and 2, a critic's label
] as const;

export type TrialSymbol = (typeof SYMBOLS)[number];

/** Symbols that are marks of the format, not content; decoding may leave them out. */
export const SPECIAL_SYMBOLS = ["<pad>", "<bos>", "<eos>", "<unk>"] as const satisfies readonly TrialSymbol[];

/** Text of each id. */
export const TRIAL_TOKENS: readonly string[] = [
  ...Array.from({ length: LARGEST_NUMBER + 1 }, (_, number) => String(number)),
  ...SYMBOLS,
]; // [121]

/** 121. */
export const TRIAL_VOCAB_SIZE = TRIAL_TOKENS.length;

const IDS: ReadonlyMap<string, number> = new Map(TRIAL_TOKENS.map((token, id) => [token, id]));

/** Id of a symbol. The id of a number in 0..99 is the number itself. */
export function symbolId(symbol: TrialSymbol): number {
  return IDS.get(symbol)!;
}

/** Ids of text whose tokens are set apart by white space; throws InputError TRIAL_TOKEN_UNKNOWN for a word that is not a token. */
export function encodeTrial(text: string): number[] {
  const words = text.split(/\s+/).filter((word) => word !== "");
  return words.map((word) => {
    const id = IDS.get(word);
    if (id === undefined) {
      throw new InputError("TRIAL_TOKEN_UNKNOWN", `[encodeTrial] expected a token of the trial, got "${word}"`);
    }
    return id;
  });
}

/** Text of ids, joined by blanks; throws InputError TRIAL_ID_UNKNOWN outside 0..120. */
export function decodeTrial(ids: Iterable<number>): string {
  const words: string[] = [];
  for (const id of ids) {
    const token = TRIAL_TOKENS[id];
    if (token === undefined) {
      throw new InputError("TRIAL_ID_UNKNOWN", `[decodeTrial] expected ids in 0..${TRIAL_VOCAB_SIZE - 1}, got ${id}`);
    }
    words.push(token);
  }
  return words.join(" ");
}
