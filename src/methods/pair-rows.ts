// Rows of preferences: a prompt and two answers to it, of which one was chosen, as texts or messages. What a row may look like, its two
// sequences of ids, and the limit on their length. Leaves out where rows come from.
import { createHash } from "node:crypto";
import { z } from "zod";
import { group } from "../config/fragments.js";
import { type Row, rowError } from "../data/rows.js";
import { drop, type SourceReport } from "../data/source.js";
import type { Codec } from "../data/store.js";
import { InputError } from "../errors.js";
import { ChatTemplate, type Message } from "../prompt/chat.js";
import { endToEndTemplate } from "../prompt/end-to-end.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import type { PreferencePair } from "../train/reward-model.js";
import { type ChatSettings, templateOptions } from "./data-settings.js";
import type { Learner } from "./sft-data.js";

/** What becomes of pairs. */
export function pairsPart() {
  return group({
    maxTokens: z.int().min(0).default(0).describe("Longest prompt with an answer; 0 is the model's positions."),
    tooLong: z
      .enum(["error", "right", "left", "drop"])
      .default("error")
      .describe(
        "A longer one stops the run, loses its end or its beginning, or its pair is left out; these are counted.",
      ),
    empty: z
      .enum(["error", "drop"])
      .default("error")
      .describe("An answer without text stops the run, or its pair is left out and counted."),
    asChat: z
      .boolean()
      .default(true)
      .describe("Texts are turns under the model's chat template where it has one; false: texts end to end."),
  });
}

export type PairSettings = z.output<ReturnType<typeof pairsPart>>;

const message = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });
const side = z.union([z.string(), z.array(message).min(1)]);
const rowSchema = z.object({
  prompt: z.union([z.string(), z.array(message)]).nullish(),
  chosen: side,
  rejected: side,
  margin: z.number().nullish(),
});

/** How a row is written: by the model's chat template, as prompt and answer end to end, or as whole texts that have their prompt in them. */
type Form = "chat" | "text" | "whole";

/** Both conversations of a row, each of which ends with its answer. */
interface ParsedRow {
  readonly row: Row;
  readonly form: Form;
  readonly sides: readonly [chosen: readonly Message[], rejected: readonly Message[]];
  readonly margin: number;
}

/** A pair, and what tells whether two are of one prompt. */
export interface EncodedPair extends PreferencePair {
  readonly prompt: string;
}

/** The chat template that a model trained on the pairs is to be read by. */
export interface WrittenTemplate {
  /** Jinja. */
  readonly source: string;
  /** It is none of the model's: it writes messages end to end. */
  readonly endToEnd: boolean;
  /** Rows of plain texts where the template is the model's: it may not have written them. */
  readonly others: number;
}

export class PairEncoder {
  readonly #chat: ChatSettings;
  readonly #settings: PairSettings;
  readonly #learner: Learner;
  readonly #endToEnd: ChatTemplate;
  readonly #maxTokens: number;
  readonly #rows: Record<Form, number> = { chat: 0, text: 0, whole: 0 };
  #template: Promise<ChatTemplate | null> | undefined;

  constructor({ chat, pairs }: { readonly chat: ChatSettings; readonly pairs: PairSettings }, learner: Learner) {
    const { maxPositions, eosTokenIds } = learner.spec;
    this.#chat = chat;
    this.#settings = pairs;
    this.#learner = learner;
    this.#endToEnd = endToEndOf(learner.tokenizer, eosTokenIds[0]);
    this.#maxTokens = pairs.maxTokens === 0 ? maxPositions : Math.min(pairs.maxTokens, maxPositions);
  }

  /** Pairs of rows, in order, without those that are left out, which are counted. */
  async encode(rows: readonly Row[], report: SourceReport): Promise<EncodedPair[]> {
    const template = await this.#loadTemplate();
    const asChat = this.#settings.asChat && template !== null;
    const parsed = rows.flatMap((row) => this.#parse(row, asChat, report) ?? []);
    const ids = await this.#ids(parsed, template);
    return parsed.flatMap(({ row, form, sides, margin }, i) => {
      const [chosen, rejected] = [this.#fit(ids[2 * i]!, row), this.#fit(ids[2 * i + 1]!, row)];
      const fault = this.#fault(chosen, rejected);
      if (fault !== null) drop(report, fault);
      if (chosen === null || rejected === null || fault !== null) return [];
      if (chosen.length < ids[2 * i]!.length || rejected.length < ids[2 * i + 1]!.length) report.truncated++;
      return [{ chosen, rejected, margin, prompt: promptOf(form, sides) }];
    });
  }

  /** What the rows encoded so far were written by. Whole texts may have been written by the model's own template, so it stays theirs. */
  async written(): Promise<WrittenTemplate> {
    const own = await this.#loadTemplate();
    const { chat, text, whole } = this.#rows;
    if (own === null || (text > 0 && chat === 0)) return { source: this.#endToEnd.source, endToEnd: true, others: 0 };
    return { source: own.source, endToEnd: false, others: text + whole };
  }

  /** Why a pair is left out, or null. */
  #fault(chosen: Int32Array | null, rejected: Int32Array | null): string | null {
    if (chosen === null || rejected === null) return `longer than ${this.#maxTokens} tokens`;
    return isAlike(chosen, rejected) ? "chosen and rejected alike" : null;
  }

  #loadTemplate(): Promise<ChatTemplate | null> {
    this.#template ??= ChatTemplate.load(this.#learner.folder, templateOptions(this.#chat));
    return this.#template;
  }

  /** Null where the pair is left out. */
  #parse(row: Row, asChat: boolean, report: SourceReport): ParsedRow | null {
    const { prompt = null, chosen, rejected, margin } = requireRow(row);
    const form = formOf(prompt, [chosen, rejected], asChat);
    const sides = [turnsOf(prompt, chosen, form, row), turnsOf(prompt, rejected, form, row)] as const;
    const empty = (["chosen", "rejected"] as const).find((_, i) => sides[i]!.at(-1)!.content.trim() === "");
    if (empty !== undefined) {
      if (this.#settings.empty === "error") {
        const expected = `expected answers with text, got an empty one as ${empty}`;
        throw rowError(row, `${expected}; correct the row, or set pairs.empty to drop`);
      }
      drop(report, "an empty answer");
      return null;
    }
    this.#rows[form]++;
    return { row, form, sides, margin: margin ?? 0 };
  }

  /** [2 P] chosen and rejected in turn. */
  async #ids(parsed: readonly ParsedRow[], template: ChatTemplate | null): Promise<Int32Array[]> {
    const chats = parsed.filter(({ form }) => form === "chat");
    const texts = parsed.filter(({ form }) => form !== "chat");
    const encoded = {
      chats: (await this.#encodeBy(chats.length === 0 ? null : this.#required(template, chats[0]!), chats)).values(),
      texts: (await this.#encodeBy(this.#endToEnd, texts)).values(),
    };
    return parsed.flatMap(({ form, sides }) =>
      sides.map(() => (form === "chat" ? encoded.chats : encoded.texts).next().value as Int32Array),
    );
  }

  #required(template: ChatTemplate | null, { row }: ParsedRow): ChatTemplate {
    if (template !== null) return template;
    const { folder } = this.#learner;
    throw new InputError(
      "CHAT_TEMPLATE_MISSING",
      `[${row.place}] expected a chat template in ${folder} for messages, got none; use texts or another model`,
    );
  }

  /** As a reward model's reading is made, so that the same texts get the same ids. */
  async #encodeBy(template: ChatTemplate | null, rows: readonly ParsedRow[]): Promise<Int32Array[]> {
    if (template === null || rows.length === 0) return [];
    const conversations = rows.flatMap(({ row: { place }, sides }) =>
      sides.map((messages) => ({ messages, place, addGenerationPrompt: false })),
    );
    const texts = await template.renderEach(conversations);
    return this.#learner.tokenizer.encodeAll(texts, { addSpecialTokens: false });
  }

  /** The sequence within the limit, or null where its pair is left out. */
  #fit(ids: Int32Array, { place }: Row): Int32Array | null {
    const { vocabSize } = this.#learner.spec;
    const beyond = ids.find((id) => id >= vocabSize);
    if (beyond !== undefined) {
      const message = `[${place}] expected ids of the model's ${vocabSize} tokens, got ${beyond}; the tokenizer is another model's`;
      throw new InputError("DATA_VOCABULARY", message);
    }
    const { tooLong } = this.#settings;
    if (ids.length > 0 && ids.length <= this.#maxTokens) return ids;
    if (ids.length === 0 || tooLong === "error") {
      const message = `[${place}] expected 1 to ${this.#maxTokens} tokens, got ${ids.length}; shorten or remove the row, or set pairs.tooLong`;
      throw new InputError("DATA_LENGTH", message);
    }
    if (tooLong === "drop") return null;
    return tooLong === "right" ? ids.slice(0, this.#maxTokens) : ids.slice(-this.#maxTokens);
  }
}

function requireRow(row: Row): z.output<typeof rowSchema> {
  const parsed = rowSchema.safeParse(row.value);
  if (parsed.success) return parsed.data;
  const keys = Object.keys(row.value as object).join(", ");
  throw rowError(
    row,
    `expected {prompt, chosen, rejected} as texts or messages, with a number as margin if there is one, got keys ${keys}; correct the row, or set columns`,
  );
}

/** Messages end to end, between the token that the tokenizer begins texts with and its end token, or else the model's. */
function endToEndOf(tokenizer: Tokenizer, modelEnd: number | undefined): ChatTemplate {
  const [first] = tokenizer.encode("");
  const endId = tokenizer.eosId ?? (modelEnd !== undefined && modelEnd < tokenizer.vocabSize ? modelEnd : undefined);
  const begin = first === undefined || first !== tokenizer.bosId ? null : tokenizer.token(first);
  const end = endId === undefined ? null : tokenizer.token(endId);
  return ChatTemplate.from(endToEndTemplate({ begin, end }), "pairs end to end");
}

type Answer = string | readonly Message[];

function formOf(prompt: Answer | null, answers: readonly Answer[], asChat: boolean): Form {
  const plain = answers.every((answer) => typeof answer === "string");
  if (plain && prompt === null) return "whole";
  return plain && typeof prompt === "string" && !asChat ? "text" : "chat";
}

/** The conversation of an answer. Answers that are conversations from their beginning have the prompt in them. */
function turnsOf(prompt: Answer | null, answer: Answer, form: Form, row: Row): readonly Message[] {
  const plain = typeof answer === "string";
  const whole = form === "whole" || (!plain && answer[0]!.role !== "assistant");
  if (!whole && prompt === null)
    throw rowError(row, "expected a prompt, or answers that begin with it, got none; correct the row, or set columns");
  const before = typeof prompt === "string" ? [{ role: "user" as const, content: prompt }] : (prompt ?? []);
  const messages = [...(whole ? [] : before), ...(plain ? [{ role: "assistant" as const, content: answer }] : answer)];
  if (messages.at(-1)!.role === "assistant") return messages;
  throw rowError(
    row,
    `expected answers that end with the assistant's turn, got ${messages.at(-1)!.role}'s; correct the row`,
  );
}

/** What both answers answer; of whole texts what they have in common at their beginning. */
function promptOf(form: Form, [chosen, rejected]: ParsedRow["sides"]): string {
  if (form !== "whole") return shaOf(JSON.stringify(chosen.slice(0, -1)));
  const [a, b] = [chosen.at(-1)!.content, rejected.at(-1)!.content];
  let end = 0;
  while (end < a.length && a[end] === b[end]) end++;
  return shaOf(a.slice(0, end));
}

const SHA_CHARACTERS = 16;
const shaOf = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, SHA_CHARACTERS);

const isAlike = (a: Int32Array, b: Int32Array): boolean => a.length === b.length && a.every((id, t) => id === b[t]);

const HEAD = 3; // words before the ids

/** Lengths of both, the margin, ids. */
export const pairCodec: Codec<PreferencePair> = {
  encode({ chosen, rejected, margin }) {
    const words = new Int32Array(HEAD + chosen.length + rejected.length);
    words.set([chosen.length, rejected.length]);
    new Float32Array(words.buffer, 2 * Int32Array.BYTES_PER_ELEMENT, 1)[0] = margin;
    words.set(chosen, HEAD);
    words.set(rejected, HEAD + chosen.length);
    return new Uint8Array(words.buffer);
  },
  decode(bytes) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / Int32Array.BYTES_PER_ELEMENT);
    const middle = HEAD + words[0]!;
    const margin = new Float32Array(bytes.buffer, bytes.byteOffset + 2 * Int32Array.BYTES_PER_ELEMENT, 1)[0]!;
    return { chosen: words.subarray(HEAD, middle), rejected: words.subarray(middle), margin };
  },
};
