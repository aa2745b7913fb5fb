// A reward model's reading: a conversation and its answer under the model's own chat template, as ids of its own vocabulary, cut on the right.
// What crosses from the policy is text, never ids. Templates write their own begin token, so none is added and none is doubled. A text that
// cannot be written or spelt costs its own sample. Leaves out what scores the ids.
import { InputError } from "../../errors.js";
import { ChatTemplate, type Message } from "../../prompt/chat.js";
import { Tokenizer } from "../../prompt/tokenizer.js";
import { type Fault, faultOf } from "../faults.js";
import type { RewardModelSettings } from "./settings.js";

/** What a reward model sees of a sample. */
export interface ModelInput {
  /** The problem's own conversation, which ends with the user's turn. */
  readonly messages: readonly Message[];
  readonly answer: string;
}

export interface ReadTexts {
  /** Ids [T] of each text, or why there are none. */
  readonly ids: readonly (Int32Array | Fault)[];
  /** Texts that lost their end. */
  readonly truncated: number;
}

/** A conversation, and the same with another answer. */
const TRIALS: readonly (readonly Message[])[] = ["2", "4"].map((content) => [
  { role: "user", content: "1 + 1?" },
  { role: "assistant", content },
]);

/** Errors that are about one text among others. */
const OF_A_TEXT = ["CHAT_TEMPLATE_FAILED", "TOKENIZER_TEXT"];

export class RewardText implements Disposable {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #maxTokens: number;
  readonly #where: string;

  private constructor(tokenizer: Tokenizer, template: ChatTemplate, maxTokens: number, where: string) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#maxTokens = maxTokens;
    this.#where = where;
  }

  /** Throws InputError CHAT_TEMPLATE_*, TOKENIZER_*; CHAT_TEMPLATE_ANSWER where the template leaves out the assistant's turn. */
  static async load(
    { template: file, kwargs, date }: Pick<RewardModelSettings, "template" | "kwargs" | "date">,
    { folder, maxTokens, where }: { readonly folder: string; readonly maxTokens: number; readonly where: string },
  ): Promise<RewardText> {
    const template = await ChatTemplate.load(folder, { file, kwargs, date });
    if (template === null) {
      throw new InputError(
        "CHAT_TEMPLATE_MISSING",
        `[${where}] expected a chat template of the reward model's own, got none in ${folder}; set template to a file that writes ` +
          "messages as the model was trained on them",
      );
    }
    await requireAnswerWritten(template, where); // a template that would spoil every score is found before the run
    return new RewardText(await Tokenizer.load(folder), template, maxTokens, where);
  }

  /** Id of a token's own spelling, or null. */
  tokenId(token: string): number | null {
    return this.#tokenizer.tokenId(token);
  }

  /** Ids of texts, in order. Throws what is not about one text alone, and where more than `mostFailures` have failed. */
  async read(inputs: readonly ModelInput[], mostFailures: number): Promise<ReadTexts> {
    const limit = { left: mostFailures };
    const conversations = inputs.map(({ messages, answer }) => ({
      messages: [...messages, { role: "assistant", content: answer } as const],
      addGenerationPrompt: false,
    }));
    const texts = await eachOf(conversations, (some) => this.#template.renderEach(some), limit);
    const written = texts.flatMap((text, at) => (text instanceof Error ? [] : [{ text, at }]));
    const encode = (some: readonly { readonly text: string }[]) =>
      this.#tokenizer.encodeAll(
        some.map(({ text }) => text),
        { addSpecialTokens: false },
      );
    const spelt = await eachOf(written, encode, limit);
    const all: (Int32Array | Error)[] = texts.map((text) => (text instanceof Error ? text : new Int32Array(0)));
    for (const [k, { at }] of written.entries()) all[at] = spelt[k]!;
    let truncated = 0;
    const ids = all.map((own) => {
      if (own instanceof Error) return faultOf(own, "REWARD_TEXT", this.#where);
      if (own.length === 0) return this.#nothing();
      truncated += Number(own.length > this.#maxTokens);
      return own.subarray(0, this.#maxTokens);
    });
    return { ids, truncated };
  }

  #nothing(): Fault {
    const message = `[${this.#where}] expected a text of at least one token, got none; correct the chat template`;
    return { code: "REWARD_TEXT", message };
  }

  [Symbol.dispose](): void {
    this.#tokenizer[Symbol.dispose]();
  }
}

/** Two answers of one problem must be two texts: of equal ones every score would be the same. */
async function requireAnswerWritten(template: ChatTemplate, where: string): Promise<void> {
  const [one, other] = await template.renderAll(TRIALS, { addGenerationPrompt: false });
  if (one !== other) return;
  throw new InputError(
    "CHAT_TEMPLATE_ANSWER",
    `[${where}] expected a chat template that writes the assistant's turn, got the same text for two answers: ${JSON.stringify(one)}; ` +
      "correct the template, or set template to a file that writes it",
  );
}

/**
 * Results of `work` on all items. Where it refuses them for one text among them, the halves are tried apart, until that item is alone; its
 * error takes the place of its result. Throws errors that are not about a text, and the last one where `limit.left` is used up.
 */
export async function eachOf<T, R>(
  items: readonly T[],
  work: (items: readonly T[]) => Promise<readonly R[]>,
  limit: { left: number },
): Promise<readonly (R | Error)[]> {
  if (items.length === 0) return [];
  try {
    return await work(items);
  } catch (error) {
    if (!(error instanceof InputError && OF_A_TEXT.includes(error.code))) throw error;
    if (items.length === 1) {
      if (limit.left-- < 1) throw error;
      return [error];
    }
    const half = items.length >> 1;
    return [...(await eachOf(items.slice(0, half), work, limit)), ...(await eachOf(items.slice(half), work, limit))];
  }
}
