// Rows of preferences: a prompt and two answers to it, of which one was chosen, as texts or messages. What a row may look like, its two
// sequences of ids, and the limit on their length. Leaves out where rows come from.
import { z } from "zod";
import { group } from "../config/fragments.js";
import { type Row, rowError } from "../data/rows.js";
import { drop, type SourceReport } from "../data/source.js";
import type { Codec } from "../data/store.js";
import { InputError } from "../errors.js";
import { ChatTemplate, type Message } from "../prompt/chat.js";
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

/** A prompt and its answer as plain text, or a conversation that ends with the answer. */
type Side = { readonly prompt: string | null; readonly answer: string } | { readonly messages: readonly Message[] };

interface ParsedRow {
  readonly row: Row;
  readonly sides: readonly [chosen: Side, rejected: Side];
  readonly margin: number;
}

export class PairEncoder {
  readonly #chat: ChatSettings;
  readonly #settings: PairSettings;
  readonly #learner: Learner;
  readonly #endId: number | null;
  readonly #maxTokens: number;
  #template: Promise<ChatTemplate | null> | undefined;

  constructor({ chat, pairs }: { readonly chat: ChatSettings; readonly pairs: PairSettings }, learner: Learner) {
    const { maxPositions, eosTokenIds } = learner.spec;
    this.#chat = chat;
    this.#settings = pairs;
    this.#learner = learner;
    this.#endId = learner.tokenizer.eosId ?? eosTokenIds[0] ?? null;
    this.#maxTokens = pairs.maxTokens === 0 ? maxPositions : Math.min(pairs.maxTokens, maxPositions);
  }

  /** Pairs of rows, in order, without those that are left out, which are counted. */
  async encode(rows: readonly Row[], report: SourceReport): Promise<PreferencePair[]> {
    const template = await this.#loadTemplate();
    const asChat = this.#settings.asChat && template !== null;
    const parsed = rows.flatMap((row) => this.#parse(row, asChat, report) ?? []);
    const ids = await this.#ids(parsed, template);
    return parsed.flatMap(({ row, margin }, i) => {
      const [chosen, rejected] = [this.#fit(ids[2 * i]!, row), this.#fit(ids[2 * i + 1]!, row)];
      const fault = this.#fault(chosen, rejected);
      if (fault !== null) drop(report, fault);
      if (chosen === null || rejected === null || fault !== null) return [];
      if (chosen.length < ids[2 * i]!.length || rejected.length < ids[2 * i + 1]!.length) report.truncated++;
      return [{ chosen, rejected, margin }];
    });
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
    const sides = [sideOf(prompt, chosen, asChat, row), sideOf(prompt, rejected, asChat, row)] as const;
    const empty = (["chosen", "rejected"] as const).find((_, i) => answerOf(sides[i]!).trim() === "");
    if (empty !== undefined) {
      if (this.#settings.empty === "error") {
        const expected = `expected answers with text, got an empty one as ${empty}`;
        throw rowError(row, `${expected}; correct the row, or set pairs.empty to drop`);
      }
      drop(report, "an empty answer");
      return null;
    }
    return { row, sides, margin: margin ?? 0 };
  }

  /** [2 P] chosen and rejected in turn. */
  async #ids(parsed: readonly ParsedRow[], template: ChatTemplate | null): Promise<Int32Array[]> {
    const all = parsed.flatMap(({ row, sides }) => sides.map((own) => ({ own, place: row.place })));
    const chats = all.flatMap(({ own, place }) => ("messages" in own ? [{ messages: own.messages, place }] : []));
    const texts = all.flatMap(({ own }) => ("messages" in own ? [] : [own]));
    const encoded = {
      chats: (await this.#chats(chats, template)).values(),
      texts: (await this.#texts(texts)).values(),
    };
    return all.map(({ own }) => ("messages" in own ? encoded.chats : encoded.texts).next().value as Int32Array);
  }

  async #chats(
    chats: readonly { readonly messages: readonly Message[]; readonly place: string }[],
    template: ChatTemplate | null,
  ): Promise<Int32Array[]> {
    if (chats.length === 0) return [];
    if (template === null) {
      const { folder } = this.#learner;
      throw new InputError(
        "CHAT_TEMPLATE_MISSING",
        `[${chats[0]!.place}] expected a chat template in ${folder} for messages, got none; use texts or another model`,
      );
    }
    const texts = await template.renderEach(chats.map((chat) => ({ ...chat, addGenerationPrompt: false })));
    return this.#learner.tokenizer.encodeAll(texts, { addSpecialTokens: false });
  }

  /** Prompt and answer are encoded each by itself, and the answer is ended. */
  async #texts(texts: readonly { readonly prompt: string | null; readonly answer: string }[]): Promise<Int32Array[]> {
    const { tokenizer } = this.#learner;
    const prompts = await tokenizer.encodeAll(texts.map(({ prompt }) => prompt ?? ""));
    const answers = await tokenizer.encodeAll(
      texts.map(({ answer }) => answer),
      { addSpecialTokens: false },
    );
    return prompts.map((prompt, i) => {
      const answer = answers[i]!;
      const end = this.#endId === null || answer.at(-1) === this.#endId ? [] : [this.#endId];
      return Int32Array.from([...prompt, ...answer, ...end]);
    });
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

/** Answers that are conversations from their beginning have the prompt in them. */
function sideOf(
  prompt: string | readonly Message[] | null,
  answer: string | readonly Message[],
  asChat: boolean,
  row: Row,
): Side {
  const plain = typeof answer === "string";
  if (plain && (prompt === null || (typeof prompt === "string" && !asChat))) return { prompt, answer };
  const whole = !plain && answer[0]!.role !== "assistant";
  if (!whole && prompt === null)
    throw rowError(row, "expected a prompt, or answers that begin with it, got none; correct the row, or set columns");
  const before = typeof prompt === "string" ? [{ role: "user" as const, content: prompt }] : (prompt ?? []);
  const messages = [...(whole ? [] : before), ...(plain ? [{ role: "assistant" as const, content: answer }] : answer)];
  if (messages.at(-1)!.role !== "assistant")
    throw rowError(
      row,
      `expected answers that end with the assistant's turn, got ${messages.at(-1)!.role}'s; correct the row`,
    );
  return { messages };
}

const answerOf = (own: Side): string => ("messages" in own ? own.messages.at(-1)!.content : own.answer);

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
