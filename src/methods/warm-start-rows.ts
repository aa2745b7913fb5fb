// Rows of prompts, thoughts and responses as demonstrations in a format of thinking: columns, or one text with tags; filters, each counted;
// and the thought dropped where the format has none, so that both arms learn from the same rows.
import { z } from "zod";
import { isObject, type JsonObject } from "../config/files.js";
import { type Row, rowError } from "../data/rows.js";
import { drop } from "../data/source.js";
import type { Message } from "../prompt/chat.js";
import { answerOf, plainPrompt, THINKING_FORMATS, type ThinkingFormat, writeCompletion } from "../prompt/thinking.js";
import { readTeacher, rowFault } from "../prompt/warm-start.js";
import { instructed } from "./problems.js";
import type { RowShape } from "./sft-data.js";

export interface WarmStartRules {
  readonly oneTurn: boolean;
  readonly wellFormed: boolean;
  readonly uniquePrompts: boolean;
  readonly strayTags: readonly string[];
  /** ISO 639-1 code of a text's language, "" where it cannot be told; null: every language is welcome. */
  readonly languageOf: ((text: string) => string) | null;
}

/** What a row has: z and y apart, or the text that has both. */
interface Told {
  readonly asked: readonly Message[];
  readonly told: { readonly thinking: string; readonly response: string } | string;
}

const message = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });
const conversation = z.array(message).min(1);

/** A pass over rows: it remembers the prompts that it has seen. */
export function warmStartShape(format: ThinkingFormat, rules: WarmStartRules): RowShape {
  const seen = new Set<string>();
  return (row, report) => {
    const { asked, told } = tellRow(row);
    if (rules.oneTurn && !(asked.length === 1 && asked[0]!.role === "user")) return leave("more than one turn");
    const read = typeof told === "string" ? (rules.wellFormed ? readTeacher(told) : readLoosely(told)) : told;
    if (typeof read === "string") return leave(read);
    const prompt = asked.map(({ content }) => content).join("\n");
    const fault = rowFault({ prompt, ...read }, rules);
    if (fault !== null) return leave(fault);
    const key = JSON.stringify(asked);
    if (rules.uniquePrompts && seen.has(key)) return leave("prompt seen before");
    seen.add(key);
    const completion = writeCompletion(format, read.thinking.trim(), read.response.trim());
    return { ...row, value: { prompt: promptOf(format, asked, row), completion } };

    function leave(reason: string): null {
      drop(report, reason);
      return null;
    }
  };
}

/** Conversations for a chat template, a text for a base model. */
function promptOf({ prompt }: ThinkingFormat, asked: readonly Message[], row: Row): readonly Message[] | string {
  if (prompt.style !== "plain") return instructed(asked, prompt.style === "chat" ? prompt.instruction : "");
  if (asked.length === 1) return plainPrompt(prompt.instruction, asked[0]!.content, prompt.template);
  throw rowError(
    row,
    `expected one user message for a zero start, got ${asked.length} messages; remove the row, or set filters.oneTurn`,
  );
}

function tellRow(row: Row): Told {
  const value = isObject(row.value) ? row.value : {};
  const asked = messagesOf(value.prompt);
  const told = toldOf(value);
  if (asked !== null && told !== null) return { asked, told };
  const talk = conversation.safeParse(value.messages);
  const last = talk.data?.at(-1);
  if (last?.role === "assistant" && talk.data!.length > 1)
    return { asked: talk.data!.slice(0, -1), told: last.content };
  throw rowError(
    row,
    "expected {prompt, thinking, response}, or {prompt, completion} or {messages} whose answer is one text with <think> and <response>, " +
      `got keys ${Object.keys(value).join(", ")}; correct the row, or set columns`,
  );
}

function messagesOf(prompt: unknown): readonly Message[] | null {
  if (typeof prompt === "string") return prompt === "" ? null : [{ role: "user", content: prompt }];
  const parsed = conversation.safeParse(prompt);
  return parsed.success && parsed.data.at(-1)!.role === "user" ? parsed.data : null;
}

function toldOf({ thinking = "", response, completion }: JsonObject): Told["told"] | null {
  if (typeof response === "string" && typeof thinking === "string") return { thinking, response };
  if (typeof completion === "string") return completion;
  const parsed = conversation.safeParse(completion);
  const [first, ...others] = parsed.data ?? [];
  return first?.role === "assistant" && others.length === 0 ? first.content : null;
}

/** z and y of a text whose tags are as a policy writes them: the response's may be missing. */
function readLoosely(text: string): Exclude<Told["told"], string> | string {
  const tagged = answerOf(THINKING_FORMATS["zero-thinking"], text, "training");
  const read = tagged.malformed ? answerOf(THINKING_FORMATS["warm-thinking"], text, "training") : tagged;
  if (read.malformed || read.thought === null) return "no thinking block";
  return { thinking: read.thought, response: read.answer };
}
