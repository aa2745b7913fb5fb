// Rows to demonstrations: what a row may look like, its text, its ids with a mask, and the limit on its length.
import { z } from "zod";
import { type Row, rowError } from "../data/rows.js";
import { drop, type SourceReport } from "../data/source.js";
import type { Codec } from "../data/store.js";
import { InputError } from "../errors.js";
import { assistantTurns, type Lesson, lessonTexts, type MaskedIds, maskedIds } from "../prompt/assistant-mask.js";
import { ChatTemplate, type Message } from "../prompt/chat.js";
import { withoutDoubledStart } from "../prompt/start-token.js";
import type { Demonstration } from "../train/sft.js";
import { templateOptions } from "./data-settings.js";
import type { DemonstrationSettings, Learner } from "./sft-data.js";

const message = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });
const plain = z.object({ prompt: z.string().min(1), completion: z.string().min(1) });
const messages = z.object({ messages: z.array(message).min(2) });
const turns = z.object({
  prompt: z.array(message).min(1),
  completion: z.union([z.string().min(1), z.array(message).min(1)]),
});

interface Chat {
  readonly messages: readonly Message[];
  /** Messages of the prompt; the turns in it are not trained on. */
  readonly prompt: number;
}

type Text = z.output<typeof plain>;

/** The forms of a row. Throws for another one. */
function parseRow(row: Row): Text | Chat {
  const asPlain = plain.safeParse(row.value);
  if (asPlain.success) return asPlain.data;
  const chat = parseChat(row.value);
  if (chat?.messages.at(-1)?.role === "assistant") return chat;
  throw rowError(
    row,
    "expected {prompt, completion} as texts or messages, or {messages: [{role, content}, ...]}, that ends with the assistant's, " +
      `got keys ${Object.keys(row.value as object).join(", ")}; correct the row, or set columns`,
  );
}

function parseChat(value: unknown): Chat | null {
  const whole = messages.safeParse(value);
  if (whole.success) return { messages: whole.data.messages, prompt: 0 };
  const parts = turns.safeParse(value);
  if (!parts.success) return null;
  const { prompt, completion } = parts.data;
  const answer = typeof completion === "string" ? [{ role: "assistant" as const, content: completion }] : completion;
  return { messages: [...prompt, ...answer], prompt: prompt.length };
}

export class ExampleEncoder {
  readonly #settings: DemonstrationSettings;
  readonly #learner: Learner;
  readonly #endId: number | null;
  readonly #maxTokens: number;
  #template: ChatTemplate | null | undefined;

  constructor(settings: DemonstrationSettings, learner: Learner) {
    const { maxTokens } = settings.examples;
    const { maxPositions, eosTokenIds } = learner.spec;
    this.#settings = settings;
    this.#learner = learner;
    this.#endId = learner.endId ?? learner.tokenizer.eosId ?? eosTokenIds[0] ?? null;
    this.#maxTokens = maxTokens === 0 ? maxPositions : Math.min(maxTokens, maxPositions);
  }

  /** Demonstrations of rows, in order, without those that are left out, which are counted. */
  async encode(rows: readonly Row[], report: SourceReport): Promise<Demonstration[]> {
    const parsed = rows.map((row) => ({ row, record: parseRow(row) }));
    const texts = parsed.flatMap(({ record }) => ("messages" in record ? [] : [record]));
    const chats = parsed.flatMap(({ row, record }) => ("messages" in record ? [this.#lesson(record, row)] : []));
    const encoded = { texts: (await this.#texts(texts)).values(), chats: (await this.#chats(chats)).values() };
    return parsed.flatMap(({ row, record }) => {
      const example = ("messages" in record ? encoded.chats : encoded.texts).next().value as MaskedIds;
      const fitting = this.#fit(this.#mask(example), row, report);
      return fitting === null ? [] : [toDemonstration(fitting)];
    });
  }

  #lesson({ messages, prompt }: Chat, { place }: Row): Lesson {
    const all = assistantTurns(messages).filter((turn) => turn >= prompt);
    return { messages, place, turns: this.#settings.examples.trainOn === "last" ? all.slice(-1) : all };
  }

  /** Prompt and completion are encoded each by itself, as the prompt is when the model answers. */
  async #texts(records: readonly Text[]): Promise<MaskedIds[]> {
    const { tokenizer } = this.#learner;
    const prompts = await tokenizer.encodeAll(records.map(({ prompt }) => prompt));
    const completions = await tokenizer.encodeAll(
      records.map(({ completion }) => completion),
      { addSpecialTokens: false },
    );
    return prompts.map((ids, i) => {
      const prompt = withoutDoubledStart(ids, tokenizer.bosId);
      return joined(prompt, completions[i]!, this.#ending(completions[i]!));
    });
  }

  async #chats(lessons: readonly Lesson[]): Promise<MaskedIds[]> {
    if (lessons.length === 0) return [];
    const template = await this.#requireTemplate(lessons[0]!.place);
    const texts = await lessonTexts(template, lessons);
    const encoded = await maskedIds(this.#learner.tokenizer, texts, this.#endId);
    return encoded.map((one, i) => (texts[i]!.differences ? this.#ended(one) : one));
  }

  /** The end token, unless the last trained part holds it. */
  #ended({ ids, mask }: MaskedIds): MaskedIds {
    const last = ids.subarray(mask.lastIndexOf(0, mask.lastIndexOf(1)) + 1);
    const end = this.#ending(last);
    return { ids: Int32Array.from([...ids, ...end]), mask: Uint8Array.from([...mask, ...end.map(() => 1)]) };
  }

  #ending(completion: Int32Array): number[] {
    return this.#endId === null || completion.includes(this.#endId) ? [] : [this.#endId];
  }

  async #requireTemplate(place: string): Promise<ChatTemplate> {
    const { folder } = this.#learner;
    this.#template ??= await ChatTemplate.load(folder, templateOptions(this.#settings.chat));
    if (this.#template !== null) return this.#template;
    throw new InputError(
      "CHAT_TEMPLATE_MISSING",
      `[${place}] expected a chat template in ${folder} for messages, got none; use {prompt, completion} of texts or another model`,
    );
  }

  /** What is trained on: no token comes before the first, so it never is. */
  #mask({ ids, mask }: MaskedIds): MaskedIds {
    const trained = this.#settings.examples.trainOn === "all" ? new Uint8Array(ids.length).fill(1) : mask;
    trained[0] = 0;
    return { ids, mask: trained };
  }

  /** The example within the limit, or null where it is left out. */
  #fit(example: MaskedIds, row: Row, report: SourceReport): MaskedIds | null {
    const { tooLong } = this.#settings.examples;
    const { ids, mask } = example;
    this.#checkVocabulary(ids, row);
    if (ids.length <= this.#maxTokens && mask.includes(1)) return example;
    if (tooLong === "error" || ids.length <= this.#maxTokens) return this.#refuse(example, row);
    if (tooLong === "drop") return left(report, `longer than ${this.#maxTokens} tokens`);
    const cut = { ids: ids.slice(0, this.#maxTokens), mask: mask.slice(0, this.#maxTokens) };
    if (!cut.mask.includes(1)) return left(report, `nothing to train on in the first ${this.#maxTokens} tokens`);
    report.truncated++;
    return cut;
  }

  #refuse({ ids }: MaskedIds, { place }: Row): never {
    const got = ids.length > this.#maxTokens ? `${ids.length}` : "an empty prompt or completion";
    throw new InputError(
      "DATA_LENGTH",
      `[${place}] expected 1 to ${this.#maxTokens} tokens, got ${got}; shorten or remove the row, or set examples.tooLong`,
    );
  }

  #checkVocabulary(ids: Int32Array, { place }: Row): void {
    const { vocabSize } = this.#learner.spec;
    const beyond = ids.find((id) => id >= vocabSize);
    if (beyond === undefined) return;
    throw new InputError(
      "DATA_VOCABULARY",
      `[${place}] expected ids of the model's ${vocabSize} tokens, got ${beyond}; the tokenizer is another model's`,
    );
  }
}

function left(report: SourceReport, reason: string): null {
  drop(report, reason);
  return null;
}

function joined(prompt: Int32Array, completion: Int32Array, end: readonly number[]): MaskedIds {
  const ids = Int32Array.from([...prompt, ...completion, ...end]);
  return { ids, mask: Uint8Array.from(ids, (_, t) => (t < prompt.length ? 0 : 1)) };
}

/** The prompt ends where the first trained token begins. */
function toDemonstration({ ids, mask }: MaskedIds): Demonstration {
  const first = mask.indexOf(1);
  const inner = mask.subarray(first);
  const demonstration = { prompt: ids.subarray(0, first), completion: ids.subarray(first) };
  return inner.includes(0) ? { ...demonstration, mask: inner } : demonstration;
}

/** Length of the prompt, length of the whole, ids, one byte of mask a completion token. */
export const demonstrationCodec: Codec<Demonstration> = {
  encode({ prompt, completion, mask }) {
    const words = Int32Array.from([prompt.length, completion.length, ...Array.from(prompt), ...Array.from(completion)]);
    const marks = mask === undefined ? new Uint8Array(completion.length).fill(1) : Uint8Array.from(mask);
    const bytes = new Uint8Array(words.byteLength + marks.length);
    bytes.set(new Uint8Array(words.buffer));
    bytes.set(marks, words.byteLength);
    return bytes;
  },
  decode(bytes) {
    const [prompt, completion] = new Int32Array(bytes.buffer, 0, 2) as unknown as [number, number];
    const ids = new Int32Array(bytes.buffer, 2 * Int32Array.BYTES_PER_ELEMENT, prompt + completion);
    const mask = bytes.subarray(bytes.length - completion);
    const demonstration = { prompt: ids.subarray(0, prompt), completion: ids.subarray(prompt) };
    return mask.includes(0) ? { ...demonstration, mask } : demonstration;
  },
};
