// Problems of reinforcement learning from a user's records: which field is asked, as messages or through a template, and the texts that the
// model reads. A record keeps all its fields: rewards see them. Leaves out where records come from and how answers are graded.
import { isObject } from "../config/files.js";
import { didYouMean } from "../config/nearest.js";
import { InputError } from "../errors.js";
import { ChatTemplate, type Message, type TemplateOptions } from "../prompt/chat.js";
import { plainPrompt, type ThinkingFormat } from "../prompt/thinking.js";

export type ProblemRecord = Readonly<Record<string, unknown>>;

/** Fields that hold a prompt, the first that is there. */
const PROMPT_FIELDS = ["prompt", "messages", "question", "problem"] as const;
const ROLES: readonly unknown[] = ["system", "user", "assistant"];
const PLACE = /\{([A-Za-z_]\w*)\}/g;

const COUNTDOWN_QUESTION =
  "Use each of the numbers {numbers} exactly once, with + - * / and parentheses, to make {target}. " +
  "Answer with the expression alone.";

/** Whether a record is a Countdown problem: {numbers, target}, or {nums, target}. */
export const isCountdown = (record: ProblemRecord): boolean =>
  "target" in record && ("numbers" in record || "nums" in record);

/**
 * What the model is asked: the template filled with the record's fields, or else the record's own prompt, with its choices below. Throws an
 * Error that says what was expected and what came.
 */
export function askRecord(record: ProblemRecord, template: string): readonly Message[] {
  const own = template !== "" ? template : isCountdown(record) ? COUNTDOWN_QUESTION : "";
  if (own !== "") return [user(fill(own, record))];
  const field = PROMPT_FIELDS.find((name) => record[name] !== undefined);
  const prompt = field === undefined ? undefined : record[field];
  if (typeof prompt === "string" && prompt !== "") return [user(withChoices(prompt, record.choices))];
  if (isMessages(prompt)) return prompt;
  const got = field === undefined ? `fields ${Object.keys(record).join(", ")}` : `${field}: ${preview(prompt)}`;
  throw new Error(
    `expected a prompt as text, or as messages that end with the user's, in ${PROMPT_FIELDS.join(", ")}, got ${got}; ` +
      "set question to a text with {field}",
  );
}

/** Throws InputError RECIPE_VALUE for a template that shows a field with the right answer. */
export function refuseLeak(template: string, answerFields: readonly string[]): void {
  const shown = [...template.matchAll(PLACE)].map((match) => match[1]!).find((name) => answerFields.includes(name));
  if (shown === undefined) return;
  throw new InputError(
    "RECIPE_VALUE",
    `[recipe rlvr] question: expected a text that does not show the right answer, got {${shown}}, the field that a reward compares with`,
  );
}

/** The texts that the model reads. Throws InputError CHAT_TEMPLATE_MISSING, CHAT_TEMPLATE_FAILED, PROMPT_MESSAGES. */
export async function promptTexts(
  asked: readonly (readonly Message[])[],
  { name, prompt }: ThinkingFormat,
  folder: string,
  options: TemplateOptions,
): Promise<string[]> {
  if (prompt.style === "plain") {
    const { instruction, template } = prompt;
    return asked.map((messages) => plainPrompt(instruction, only(messages, name), template));
  }
  const template = await ChatTemplate.load(folder, options);
  const instruction = prompt.style === "chat" ? prompt.instruction : "";
  if (template !== null) return template.renderAll(asked.map((messages) => instructed(messages, instruction)));
  throw new InputError(
    "CHAT_TEMPLATE_MISSING",
    `[${folder}] expected a chat template for the format ${name}, got none; take a format of a zero start, whose prompts are plain text`,
  );
}

const user = (content: string): Message => ({ role: "user", content });

/** The messages after the format's instruction, which goes before what their own system message says. */
export function instructed(messages: readonly Message[], instruction: string): readonly Message[] {
  if (instruction === "") return messages;
  const [first, ...others] = messages;
  if (first?.role !== "system") return [{ role: "system", content: instruction }, ...messages];
  return [{ role: "system", content: `${instruction}\n\n${first.content}` }, ...others];
}

function fill(template: string, record: ProblemRecord): string {
  return template.replaceAll(PLACE, (_, name: string) => {
    const value = name === "numbers" ? (record.numbers ?? record.nums) : record[name];
    if (value !== undefined && value !== null) return show(value);
    const names = Object.keys(record);
    throw new Error(
      `expected a record with the field {${name}} of the question, got ${names.join(", ")}${didYouMean(name, names)}`,
    );
  });
}

/** Numbers in a row; options line by line with their letters. */
function show(value: unknown): string {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return JSON.stringify(value);
  return value.every((each) => typeof each === "string") ? lettered(value) : value.join(", ");
}

const lettered = (texts: readonly string[]): string =>
  texts.map((text, at) => `${String.fromCharCode("A".charCodeAt(0) + at)}. ${text}`).join("\n");

function withChoices(prompt: string, choices: unknown): string {
  const texts = Array.isArray(choices) && choices.length > 0 && choices.every((each) => typeof each === "string");
  return texts ? `${prompt}\n${lettered(choices)}` : prompt;
}

function isMessages(value: unknown): value is Message[] {
  if (!Array.isArray(value) || value.length === 0) return false;
  return value.every(isMessage) && value.at(-1)!.role === "user";
}

function isMessage(value: unknown): value is Message {
  return isObject(value) && ROLES.includes(value.role) && typeof value.content === "string";
}

function only(messages: readonly Message[], format: string): string {
  const [first] = messages;
  if (messages.length === 1 && first?.role === "user") return first.content;
  throw new InputError(
    "PROMPT_MESSAGES",
    `[prompt] expected one user message for the format ${format}, got ${messages.length} messages; take a format of a warm start, whose ` +
      "prompts go through the chat template",
  );
}

const PREVIEW = 60;

function preview(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > PREVIEW ? `${text.slice(0, PREVIEW)}...` : text;
}
