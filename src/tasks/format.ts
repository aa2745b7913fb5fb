// The form of a completion: thinking tags that are well formed, sections that are there, a pattern that it matches. All or nothing. Sees the
// whole completion, where other verifiers see the answer. Leaves out what stands in the sections.
import { InputError } from "../errors.js";
import type { Grade } from "./task.js";

export interface FormatRules {
  /**
   * The tag of the thought, such as "think"; null asks for none. It opens once, at the start, and closes once with something in between
   * and something behind. The opening one may be missing: prompts often end in it. Default null.
   */
  readonly thinking?: string | null;
  /** Tags that stand once each behind the thought, in this order, not empty: "answer" is `<answer>...</answer>`. Default none. */
  readonly sections?: readonly string[];
  /** What the completion has to match somewhere. Default none. */
  readonly pattern?: RegExp | null;
}

export type FormatFault = "thinking" | "section" | "pattern";

export interface FormatGrade extends Grade {
  /** What is wrong first: "thinking: closes twice", "section answer: missing", "pattern: no match". */
  readonly reason: `${FormatFault}${string}` | null;
}

const CORRECT: FormatGrade = { correct: true, reason: null };

/**
 * A pattern from settings. Throws InputError FORMAT_PATTERN. It may be slow on some texts: match it where a deadline holds, as the reward
 * pool does. Flags g and y, which make a match depend on the one before, are refused.
 */
export function formatPattern(source: string, flags = ""): RegExp {
  try {
    if (/[gy]/.test(flags)) throw new Error("flags g and y keep a place between texts");
    return new RegExp(source, flags);
  } catch (error) {
    throw new InputError(
      "FORMAT_PATTERN",
      `[format] expected a regular expression with flags among d, i, m, s, u, v, got /${source}/${flags}: ` +
        `${(error as Error).message}; correct the pattern`,
      { cause: error },
    );
  }
}

/** Grades a completion without its end token. */
export function gradeFormat(completion: string, rules: FormatRules): FormatGrade {
  const { thinking = null, sections = [], pattern = null } = rules;
  const thought = thinking === null ? { rest: completion, fault: null } : thoughtFault(completion, thinking);
  const reason = thought.fault ?? sectionFault(thought.rest, sections) ?? patternFault(completion, pattern);
  return reason === null ? CORRECT : { correct: false, reason };
}

type Reason = FormatGrade["reason"];

function occurrences(text: string, mark: string): number[] {
  const places: number[] = [];
  for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + mark.length)) places.push(at);
  return places;
}

/** What is wrong with the thought, and the text behind it. */
function thoughtFault(text: string, tag: string): { rest: string; fault: Reason } {
  const [open, close] = [`<${tag}>`, `</${tag}>`];
  const [opens, closes] = [occurrences(text, open), occurrences(text, close)];
  const fault = (what: string): { rest: string; fault: Reason } => ({ rest: text, fault: `thinking: ${what}` });
  if (closes.length === 0) return fault("does not close");
  if (closes.length > 1) return fault("closes twice");
  if (opens.length > 1) return fault("opens twice");
  const [end] = closes as [number];
  const start = opens[0] ?? 0;
  if (opens.length === 1 && text.slice(0, start).trim() !== "") return fault("opens late");
  const inside = text.slice(opens.length === 1 ? start + open.length : 0, end);
  if (start > end || inside.trim() === "") return fault("empty");
  const rest = text.slice(end + close.length);
  return rest.trim() === "" ? fault("nothing behind it") : { rest, fault: null };
}

function sectionFault(text: string, sections: readonly string[]): Reason {
  let from = 0;
  for (const name of sections) {
    const [open, close] = [`<${name}>`, `</${name}>`];
    const [opens, closes] = [occurrences(text, open), occurrences(text, close)];
    if (opens.length === 0 || closes.length === 0) return `section ${name}: missing`;
    if (opens.length > 1 || closes.length > 1) return `section ${name}: twice`;
    const [start, end] = [opens[0]! + open.length, closes[0]!];
    if (opens[0]! < from || end < start) return `section ${name}: out of order`;
    if (text.slice(start, end).trim() === "") return `section ${name}: empty`;
    from = end + close.length;
  }
  return null;
}

const patternFault = (text: string, pattern: RegExp | null): Reason =>
  pattern === null || pattern.test(text) ? null : "pattern: no match";
