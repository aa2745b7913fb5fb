// Thinking formats as data, and the split of a completion into its thought z and its answer y (RLMT, "Splitting z from y"). Rewards see y
// only. Leaves out sampling: nothing here knows tokens.
import { InputError } from "../errors.js";

export interface ThinkingFormat {
  readonly name: string;
  /**
   * "chat": the model's own template, after a system message where the instruction is not empty. "plain": `plainPrompt`, text for a base
   * model. "raw": the task writes the whole prompt.
   */
  readonly prompt:
    | { readonly style: "raw" }
    | { readonly style: "chat"; readonly instruction: string }
    | { readonly style: "plain"; readonly instruction: string; readonly template: string };
  /** Marks of the thought; null when there is none. The opening one may be missing from the completion. */
  readonly thought: { readonly open: string; readonly close: string } | null;
  /** What the answer follows; null: the whole text is the answer. */
  readonly answerOpen: string | null;
  /** What ends the answer; null: the end of the text. */
  readonly answerClose: string | null;
  /** A missing mark makes the answer `NULL_ANSWER`; else the text goes on as it is. */
  readonly strict: boolean;
  /** How a completion is written: a text with {thought}, where there is one, and {answer}. */
  readonly completion: string;
  /** Tokens that end the assistant's turn, by their text: the first that the vocabulary has ends demonstrations, any of them a sample. */
  readonly endOfTurn: readonly string[];
}

export interface Split {
  /** z, trimmed; null where the marks of a thought are missing. */
  readonly thinking: string | null;
  /** y; `NULL_ANSWER` where marks are missing and the split is strict. */
  readonly answer: string;
  /** Every mark of the answer is there. */
  readonly wellFormed: boolean;
}

export interface SplitOptions {
  /** Which opening mark counts when there are several: training takes the first, evaluation the last. */
  readonly mark: "first" | "last";
  /** Default: the format's own. */
  readonly strict?: boolean;
  /** Text of the end token, dropped first. */
  readonly endText?: string | null;
}

/** Stands for an answer that could not be found; reward models score it like any other. */
export const NULL_ANSWER = "[NULL]";

/** How policies begin: from demonstrations, by a chat template, or as a base model, by plain text. */
export type Start = "warm" | "zero";

/** What may differ from the format of a start; what is left out is as there. "" of the answer's marks is none. */
export interface FormatChange {
  readonly thoughtOpen?: string;
  readonly thoughtClose?: string;
  readonly answerOpen?: string;
  readonly answerClose?: string;
  readonly strict?: boolean;
  readonly instruction?: string;
  /** Of a zero start: the prompt's text with {instruction} and {query}. */
  readonly template?: string;
  readonly completion?: string;
  readonly endOfTurn?: readonly string[];
}

const THINK = { open: "<think>", close: "</think>" } as const;
const RESPONSE = { open: "<response>", close: "</response>" } as const;

const THINKING_INSTRUCTION =
  "A conversation between a user and an assistant. The assistant first thinks about how to answer and writes its thoughts between " +
  "{thoughtOpen} and {thoughtClose}, then writes its answer between {answerOpen} and {answerClose}.";
const PLAIN_INSTRUCTION =
  "A conversation between a user and an assistant. The assistant writes its answer between {answerOpen} and {answerClose}.";
const PLAIN_TEMPLATE = "{instruction}\n\nUser: <query>{query}</query>\nAssistant:";
/** Llama 3's and ChatML's, which Qwen and SmolLM have. */
const END_OF_TURN = ["<|eot_id|>", "<|im_end|>"];

const COMPLETIONS = {
  warm: { thinking: "{thoughtOpen}\n{thought}\n{thoughtClose}\n\n{answer}", plain: "{answer}" },
  zero: {
    thinking: " {thoughtOpen} {thought} {thoughtClose} {answerOpen} {answer} {answerClose}",
    plain: " {answerOpen} {answer} {answerClose}",
  },
} as const;

/**
 * The format of a start, with thinking or without: Bhaskar et al., "Language models that think, chat better" (RLMT), 2025. Marks that differ
 * also stand in the instruction. Throws InputError FORMAT where a completion so written does not split into its thought and answer, or a
 * prompt does not hold the query.
 */
export function formatOf(start: Start, thinking: boolean, change: FormatChange = {}): ThinkingFormat {
  const { strict = true, endOfTurn = END_OF_TURN } = change;
  const marks = marksOf(start, thinking, change);
  const { thoughtOpen, thoughtClose, answerOpen, answerClose } = marks;
  const kind = thinking ? "thinking" : "plain";
  const format: ThinkingFormat = {
    name: `${start}-${kind}`,
    prompt: promptOf(start, thinking, change, marks),
    thought: thinking ? { open: thoughtOpen, close: thoughtClose } : null,
    answerOpen: answerOpen === "" ? null : answerOpen,
    answerClose: answerClose === "" ? null : answerClose,
    strict,
    completion: fill(change.completion ?? COMPLETIONS[start][kind], marks),
    endOfTurn,
  };
  requireUsable(format);
  return format;
}

function marksOf(start: Start, thinking: boolean, change: FormatChange) {
  const { thoughtOpen = THINK.open, thoughtClose = THINK.close } = change;
  const inherited = start === "zero" ? RESPONSE : { open: thinking ? thoughtClose : "", close: "" };
  const { answerOpen = inherited.open, answerClose = inherited.close } = change;
  return { thoughtOpen, thoughtClose, answerOpen, answerClose };
}

/** How a format asks, whether or not its marks fit a completion. */
export const promptStyle = (start: Start, thinking: boolean, change: FormatChange): ThinkingFormat["prompt"] =>
  promptOf(start, thinking, change, marksOf(start, thinking, change));

/** Marks follow `formatOf`; "trial" is the built-in trial's. */
export const THINKING_FORMATS = {
  "warm-thinking": formatOf("warm", true),
  "warm-plain": formatOf("warm", false),
  "zero-thinking": formatOf("zero", true),
  "zero-plain": formatOf("zero", false),
  trial: {
    name: "trial",
    prompt: { style: "raw" },
    thought: THINK,
    answerOpen: "<answer>",
    answerClose: "</answer>",
    strict: true,
    completion: "<think> {thought} </think> <answer> {answer} </answer>",
    endOfTurn: [],
  },
} satisfies Readonly<Record<string, ThinkingFormat>>;

function promptOf(
  start: Start,
  thinking: boolean,
  { instruction, template }: FormatChange,
  marks: Readonly<Record<string, string>>,
): ThinkingFormat["prompt"] {
  if (start === "warm") return { style: "chat", instruction: fill(instruction ?? "", marks) };
  const own = instruction ?? (thinking ? THINKING_INSTRUCTION : PLAIN_INSTRUCTION);
  return { style: "plain", instruction: fill(own, marks), template: template ?? PLAIN_TEMPLATE };
}

function requireUsable(format: ThinkingFormat): void {
  const { prompt, thought } = format;
  if (prompt.style === "plain" && prompt.template.split("{query}").length !== 2) {
    throw formatError(
      format,
      "a prompt that has {query} once",
      prompt.template,
      "write {query} where the question goes",
    );
  }
  const [z, y] = ["a thought", "an answer"];
  const written = writeCompletion(format, z, y);
  const split = splitThinking(written, format, { mark: "first", strict: true });
  if (split.answer === y && split.thinking === (thought === null ? null : z)) return;
  const expected = "a completion that the marks split into its thought and its answer";
  throw formatError(format, expected, written, "set completion, or the marks, so that they agree");
}

function formatError({ name }: ThinkingFormat, expected: string, got: string, advice: string): InputError {
  return new InputError("FORMAT", `[format ${name}] expected ${expected}, got ${JSON.stringify(got)}; ${advice}`);
}

/** The text with values for its {names}, in one pass: a value that looks like a name stays as it is. */
function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\{(\w+)\}/g, (place, name: string) => (Object.hasOwn(values, name) ? values[name]! : place));
}

/** Prompt of a question for a base model: an instruction, then `User: <query>x</query>` and the opening of the assistant's turn. */
export function plainPrompt(instruction: string, query: string, template: string = PLAIN_TEMPLATE): string {
  return fill(template, { instruction, query });
}

/** What the policy is to write for a thought and an answer, without the end token; a format without thinking drops the thought. */
export function writeCompletion({ completion }: ThinkingFormat, thought: string, answer: string): string {
  return fill(completion, { thought, answer });
}

export interface Answer {
  /** z, trimmed; null where there is none. */
  readonly thought: string | null;
  /** y, what reward models see: `NULL_ANSWER` where a mark is missing and the format is strict. */
  readonly answer: string;
  /** A mark of the answer is missing. */
  readonly malformed: boolean;
}

/** Thought and answer of a completion. Training splits at the first opening mark, evaluation at the last; a last end of turn is dropped. */
export function answerOf(format: ThinkingFormat, text: string, phase: "training" | "evaluation"): Answer {
  const endText = format.endOfTurn.find((end) => text.endsWith(end)) ?? null;
  const mark = phase === "training" ? "first" : "last";
  const { thinking, answer, wellFormed } = splitThinking(text, format, { mark, endText });
  return { thought: thinking, answer, malformed: !wellFormed };
}

/** Thought and answer of a completion's text. */
export function splitThinking(completion: string, format: ThinkingFormat, options: SplitOptions): Split {
  const { mark, strict = format.strict, endText = null } = options;
  const text = endText !== null && completion.endsWith(endText) ? completion.slice(0, -endText.length) : completion;
  const opened = afterMark(text, format.answerOpen, mark);
  const closed = opened === null ? null : beforeMark(opened.after, format.answerClose);
  const thinking = thoughtIn(opened?.before ?? text, format);
  if (closed !== null) return { thinking, answer: closed, wellFormed: true };
  return { thinking, answer: strict ? NULL_ANSWER : (opened?.after ?? text), wellFormed: false };
}

/** The part of a completion's text up to its answer, the opening mark included; null where that is missing. */
export function beforeAnswer(text: string, { answerOpen }: ThinkingFormat, mark: SplitOptions["mark"]): string | null {
  return afterMark(text, answerOpen, mark)?.before ?? null;
}

/** What stands before the mark, itself included, and after it, trimmed on the left. */
function afterMark(
  text: string,
  mark: string | null,
  which: "first" | "last",
): { before: string; after: string } | null {
  if (mark === null) return { before: "", after: text };
  const at = which === "first" ? text.indexOf(mark) : text.lastIndexOf(mark);
  if (at < 0) return null;
  const end = at + mark.length;
  return { before: text.slice(0, end), after: text.slice(end).trimStart() };
}

function beforeMark(text: string, mark: string | null): string | null {
  if (mark === null) return text;
  const at = text.indexOf(mark);
  return at < 0 ? null : text.slice(0, at).trimEnd();
}

/** The thought in the part of a completion up to its answer: to the last closing mark, from the first opening mark or the start. */
function thoughtIn(text: string, { thought }: ThinkingFormat): string | null {
  if (thought === null) return null;
  const end = text.lastIndexOf(thought.close);
  if (end < 0) return null;
  const inside = text.slice(0, end);
  const start = inside.indexOf(thought.open);
  return inside.slice(start < 0 ? 0 : start + thought.open.length).trim();
}
