// What a warm start learns from: a prompt x, a thought z and a response y (Bhaskar et al., "Language models that think, chat better", 2025,
// "SFT warm start"), as rows, and the filters that a teacher's text has to pass to become one. Pure; leaves out who the teacher is, and how
// a policy writes z and y down: see thinking.ts.

/** One demonstration. */
export interface WarmStartRow {
  readonly prompt: string; // x
  readonly thinking: string; // z
  readonly response: string; // y
}

/** The tags that a teacher is asked to write. */
export interface TeacherTags {
  readonly thinking: readonly [open: string, close: string];
  readonly response: readonly [open: string, close: string];
}

export const TEACHER_TAGS: TeacherTags = {
  thinking: ["<think>", "</think>"],
  response: ["<response>", "</response>"],
};

/** What z and y must not hold beside the teacher's own tags: marks that a policy, a template or a judge could take for its own. */
export const STRAY_TAGS: readonly string[] = [
  ...TEACHER_TAGS.thinking,
  ...TEACHER_TAGS.response,
  ...["<thinking>", "</thinking>", "<answer>", "</answer>", "<query>", "</query>"],
  ...["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>"],
];

/** Why a text is no demonstration. */
export type WarmStartFault =
  | "no thinking first"
  | "not one thinking block"
  | "no response block"
  | "text outside of the blocks"
  | "stray tags"
  | "empty thinking"
  | "empty response"
  | "another language";

export interface WarmStartFilters {
  /** Texts that neither z nor y may hold. */
  readonly strayTags: readonly string[];
  /** ISO 639-1 code of a text's language, "" where it cannot be told; null: every language is welcome. */
  readonly languageOf: ((text: string) => string) | null;
}

/** The language of the paper's demonstrations. */
const LANGUAGE = "en";

/** z and y of a teacher's text, trimmed, or the first filter that it does not pass. */
export function readTeacher(
  text: string,
  tags: TeacherTags = TEACHER_TAGS,
): Omit<WarmStartRow, "prompt"> | WarmStartFault {
  const [think, thought] = tags.thinking;
  const [respond, responded] = tags.response;
  const whole = text.trim();
  if (!whole.startsWith(think)) return "no thinking first";
  if (count(whole, think) !== 1 || count(whole, thought) !== 1) return "not one thinking block";
  if (count(whole, respond) !== 1 || count(whole, responded) !== 1) return "no response block";
  const [thinking, rest] = whole.slice(think.length).split(thought) as [string, string];
  const opened = rest.indexOf(respond);
  const closed = rest.indexOf(responded);
  if (opened < 0 || closed < opened) return "stray tags"; // a response tag within the thought, or the wrong way round
  const [before, after] = [rest.slice(0, opened), rest.slice(closed + responded.length)];
  if (`${before}${after}`.trim() !== "") return "text outside of the blocks";
  return { thinking: thinking.trim(), response: rest.slice(opened + respond.length, closed).trim() };
}

/** The first filter that a row does not pass; null where it passes all. */
export function rowFault(row: WarmStartRow, { strayTags, languageOf }: WarmStartFilters): WarmStartFault | null {
  const { prompt, thinking, response } = row;
  if (thinking.trim() === "") return "empty thinking";
  if (response.trim() === "") return "empty response";
  if (strayTags.some((tag) => thinking.includes(tag) || response.includes(tag))) return "stray tags";
  const language = languageOf?.([prompt, thinking, response].join("\n")) ?? "";
  return language === "" || language === LANGUAGE ? null : "another language";
}

const count = (text: string, part: string): number => text.split(part).length - 1;

/**
 * Tells languages apart by their n-grams (ELD), "" where that cannot be done: of short texts in Latin letters its first guess is often wrong,
 * sure of itself or not ("Define entropy" is Italian to it). Loaded when it is asked for: the table takes a while.
 */
export async function languageDetector(): Promise<(text: string) => string> {
  const { eld } = await import("eld/small");
  return (text) => {
    if (text.length < LATIN_CHARACTERS && !OTHER_LETTERS.test(text)) return "";
    const found = eld.detect(text.slice(0, LANGUAGE_CHARACTERS));
    return found.isReliable() ? found.language : "";
  };
}

/** Of a text in Latin letters that it takes to tell its language. */
const LATIN_CHARACTERS = 40;
const OTHER_LETTERS = /[^\p{Script=Latin}\P{L}]/u;

/** Of a text that are looked at: far more than it takes to be sure. */
const LANGUAGE_CHARACTERS = 4_000;
