// The settings `start`, `thinking` and `format` of recipes: which of the paper's four formats, and what of it is otherwise.
import { z } from "zod";
import { group } from "../config/fragments.js";
import { type FormatChange, formatOf, promptStyle, type ThinkingFormat } from "../prompt/thinking.js";

const mark = (what: string) => z.string().min(1).nullable().default(null).describe(what);
const text = (what: string) => z.string().nullable().default(null).describe(what);

export const formatSettings = {
  start: z
    .enum(["warm", "zero"])
    .default("warm")
    .describe("warm: prompts by the chat template. zero: a base model, prompts as plain text."),
  thinking: z.boolean().default(true).describe("Whether the policy thinks before it answers."),
  format: group({
    thoughtOpen: mark("Mark before the thought; null is <think>."),
    thoughtClose: mark("Mark behind the thought; null is </think>."),
    answerOpen: text(
      "Mark that the answer follows, empty for none; null is thoughtClose, or of a zero start <response>.",
    ),
    answerClose: text("Mark behind the answer, empty for none; null is none, or of a zero start </response>."),
    strict: z
      .boolean()
      .default(true)
      .describe(
        "An answer whose marks are missing is [NULL] to reward models and null to modules; else it is the text, as it is.",
      ),
    instruction: text(
      "Says how to answer, with the marks as {thoughtOpen} and so on; null is none, or of a zero start its own.",
    ),
    template: text("Prompt of a zero start with {instruction} and {query}; null is its own."),
    completion: text("What demonstrations write, with {thought} and {answer} and the marks; null is the start's own."),
    endOfTurn: z
      .array(z.string().min(1))
      .nullable()
      .default(null)
      .describe("Tokens that end the assistant's turn, those that the vocabulary has; null is <|eot_id|>, <|im_end|>."),
  }),
};

export interface FormatSettings {
  readonly start: "warm" | "zero";
  readonly thinking: boolean;
  readonly format: { readonly [name in keyof FormatChange]-?: FormatChange[name] | null };
}

/** The format that settings ask for. Throws InputError FORMAT. */
export function formatFrom({ start, thinking, format }: FormatSettings): ThinkingFormat {
  return formatOf(start, thinking, changeOf(format));
}

/** How the other arm asks: with thinking where this one has none, and the other way round; all else by the same settings. */
export const otherPrompt = ({ start, thinking, format }: FormatSettings): ThinkingFormat["prompt"] =>
  promptStyle(start, !thinking, changeOf(format));

const changeOf = (format: FormatSettings["format"]): FormatChange =>
  Object.fromEntries(Object.entries(format).filter(([, value]) => value !== null)) as FormatChange;

/** Ids of the format's end of turn that a vocabulary has, in the format's order. */
export function endOfTurnIds(
  { endOfTurn }: ThinkingFormat,
  tokenizer: { tokenId(token: string): number | null },
): readonly number[] {
  return endOfTurn.flatMap((token) => tokenizer.tokenId(token) ?? []);
}
