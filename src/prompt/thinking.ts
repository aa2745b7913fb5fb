// Thinking formats as data, and the split of a completion into its thought z and its answer y (RLMT, "Splitting z from y"). Rewards see y
// only. Leaves out sampling: nothing here knows tokens.

export interface ThinkingFormat {
  readonly name: string;
  /** "chat": the model's own template. "plain": `plainPrompt`, text for a base model. "raw": the task writes the whole prompt. */
  readonly prompt: { readonly style: "chat" | "raw" } | { readonly style: "plain"; readonly instruction: string };
  /** Marks of the thought; null when there is none. The opening one may be missing from the completion. */
  readonly thought: { readonly open: string; readonly close: string } | null;
  /** What the answer follows; null: the whole text is the answer. */
  readonly answerOpen: string | null;
  /** What ends the answer; null: the end of the text. */
  readonly answerClose: string | null;
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
  /** A missing mark makes the answer `NULL_ANSWER`; else the text goes on as it is. Default true. */
  readonly strict?: boolean;
  /** Text of the end token, dropped first. */
  readonly endText?: string | null;
}

/** Stands for an answer that could not be found; reward models score it like any other. */
export const NULL_ANSWER = "[NULL]";

const THINK = { open: "<think>", close: "</think>" } as const;
const RESPONSE = { open: "<response>", close: "</response>" } as const;

const THINKING_INSTRUCTION =
  "A conversation between a user and an assistant. The assistant first thinks about how to answer and writes its thoughts between " +
  "<think> and </think>, then writes its answer between <response> and </response>.";
const PLAIN_INSTRUCTION =
  "A conversation between a user and an assistant. The assistant writes its answer between <response> and </response>.";

/** Marks follow Bhaskar et al., "Language models that think, chat better" (RLMT), 2025; "trial" is the built-in trial's. */
export const THINKING_FORMATS = {
  "warm-thinking": format("warm-thinking", { style: "chat" }, THINK, THINK.close, null),
  "warm-plain": format("warm-plain", { style: "chat" }, null, null, null),
  "zero-thinking": format(
    "zero-thinking",
    { style: "plain", instruction: THINKING_INSTRUCTION },
    THINK,
    RESPONSE.open,
    RESPONSE.close,
  ),
  "zero-plain": format(
    "zero-plain",
    { style: "plain", instruction: PLAIN_INSTRUCTION },
    null,
    RESPONSE.open,
    RESPONSE.close,
  ),
  trial: format("trial", { style: "raw" }, THINK, "<answer>", "</answer>"),
} satisfies Readonly<Record<string, ThinkingFormat>>;

function format(
  name: string,
  prompt: ThinkingFormat["prompt"],
  thought: ThinkingFormat["thought"],
  answerOpen: string | null,
  answerClose: string | null,
): ThinkingFormat {
  return { name, prompt, thought, answerOpen, answerClose };
}

/** Prompt of a question for a base model: an instruction, then `User: <query>x</query>` and the opening of the assistant's turn. */
export function plainPrompt(instruction: string, query: string): string {
  return `${instruction}\n\nUser: <query>${query}</query>\nAssistant:`;
}

/** Thought and answer of a completion's text. */
export function splitThinking(completion: string, format: ThinkingFormat, options: SplitOptions): Split {
  const { mark, strict = true, endText = null } = options;
  const text = endText !== null && completion.endsWith(endText) ? completion.slice(0, -endText.length) : completion;
  const opened = afterMark(text, format.answerOpen, mark);
  const closed = opened === null ? null : beforeMark(opened.after, format.answerClose);
  const thinking = thoughtIn(opened?.before ?? text, format);
  if (closed !== null) return { thinking, answer: closed, wellFormed: true };
  return { thinking, answer: strict ? NULL_ANSWER : (opened?.after ?? text), wellFormed: false };
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
