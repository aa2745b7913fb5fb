// Demonstrations from a user's JSONL file: {prompt, completion} as plain text, or {messages} through the model's chat template, where
// the last message is the assistant's and the only one trained on. Leaves out multi-turn losses.
import { z } from "zod";
import { readJsonl } from "../data/jsonl.js";
import { InputError } from "../errors.js";
import { ChatTemplate, type Message } from "../prompt/chat.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import type { Demonstration } from "../train/sft.js";

const message = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });
const plain = z.object({ prompt: z.string().min(1), completion: z.string().min(1) });
const chat = z.object({ messages: z.array(message).min(2) });

type TextRecord = { prompt: string; completion: string } | { messages: Message[] };

interface TextPair {
  readonly prompt: string;
  readonly completion: string;
  /** Whether the text holds its own special tokens, as chat templates write them. */
  readonly templated: boolean;
  readonly line: number;
}

function parseRecord(value: unknown): TextRecord {
  const asPlain = plain.safeParse(value);
  if (asPlain.success) return asPlain.data;
  const asChat = chat.safeParse(value);
  if (asChat.success && asChat.data.messages.at(-1)?.role === "assistant") return asChat.data;
  const keys = typeof value === "object" && value !== null ? `keys ${Object.keys(value).join(", ")}` : typeof value;
  throw new Error(
    "expected {prompt, completion} as texts, or {messages: [{role, content}, ...]} that ends with the assistant's, " +
      `got ${keys}; correct the line`,
  );
}

/**
 * Reads and tokenises a file. `folder` holds the chat template; sequences end with `eosId` where their text does not.
 * Throws InputError: JSONL_*, CHAT_TEMPLATE_MISSING, DATA_LENGTH for a demonstration longer than `maxTokens`.
 */
export async function loadDemonstrations(
  file: string,
  folder: string,
  tokenizer: Tokenizer,
  eosId: number | null,
  maxTokens: number,
): Promise<Demonstration[]> {
  const records: { value: TextRecord; line: number }[] = [];
  for await (const record of readJsonl(file, parseRecord)) records.push(record);
  if (records.length === 0) {
    throw new InputError("JSONL_EMPTY", `[${file}] expected at least one demonstration, got none; add one a line`);
  }
  const pairs = await toPairs(file, folder, records);
  return pairs.map((pair) => checkLength(file, pair.line, encodePair(pair, tokenizer, eosId), maxTokens));
}

async function toPairs(file: string, folder: string, records: readonly { value: TextRecord; line: number }[]) {
  const chats = records.flatMap(({ value, line }) => ("messages" in value ? [{ messages: value.messages, line }] : []));
  const rendered = new Map<number, TextPair>();
  if (chats.length > 0) {
    const template = await requireTemplate(file, chats[0]!.line, folder);
    const openings = await template.renderAll(chats.map((one) => one.messages.slice(0, -1)));
    const wholes = await template.renderAll(
      chats.map((one) => one.messages),
      { addGenerationPrompt: false },
    );
    chats.forEach(({ line }, i) => {
      rendered.set(line, cut(file, line, openings[i]!, wholes[i]!));
    });
  }
  return records.map(
    ({ value, line }): TextPair => rendered.get(line) ?? { ...(value as TextPair), templated: false, line },
  );
}

async function requireTemplate(file: string, line: number, folder: string): Promise<ChatTemplate> {
  const template = await ChatTemplate.load(folder);
  if (template !== null) return template;
  throw new InputError(
    "CHAT_TEMPLATE_MISSING",
    `[${file}:${line}] expected a chat template in ${folder} for {messages}, got none; use {prompt, completion} or another model`,
  );
}

function cut(file: string, line: number, opening: string, whole: string): TextPair {
  if (!whole.startsWith(opening) || whole.length === opening.length) {
    throw new InputError(
      "CHAT_TEMPLATE_PREFIX",
      `[${file}:${line}] expected the chat template to write the assistant's turn after the turns before it, got another text; ` +
        "use {prompt, completion}",
    );
  }
  return { prompt: opening, completion: whole.slice(opening.length), templated: true, line };
}

function encodePair(pair: TextPair, tokenizer: Tokenizer, eosId: number | null): Demonstration {
  const prompt = tokenizer.encode(pair.prompt, { addSpecialTokens: !pair.templated });
  const text = tokenizer.encode(pair.completion, { addSpecialTokens: false });
  const completion = eosId === null || text.includes(eosId) ? text : [...text, eosId];
  return { prompt, completion };
}

function checkLength(file: string, line: number, demonstration: Demonstration, maxTokens: number): Demonstration {
  const { prompt, completion } = demonstration;
  const length = prompt.length + completion.length;
  if (length <= maxTokens && prompt.length > 0 && completion.length > 0) return demonstration;
  const got = length > maxTokens ? `${length}` : "an empty prompt or completion";
  throw new InputError(
    "DATA_LENGTH",
    `[${file}:${line}] expected 1 to ${maxTokens} tokens, the model's positions, got ${got}; shorten or remove the line`,
  );
}
