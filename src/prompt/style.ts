// How a thought is written, counted by its words and marks: steps, lists, revisions, constraints, questions. Bhaskar et al., "Language
// models that think, chat better", 2025, section 5, describe what changes over training; the expressions here are this project's own, for
// English, and say nothing of whether a thought is good. Text comes from models, so no expression backtracks far.

/** What is counted, by name: every match in the whole text. */
export const STYLE_MARKS = {
  /** Lines that name a step: "Step 2", "First,", "Next,", "Finally". */
  steps:
    /^[ \t]{0,8}(?:#{1,6} |\*\*)?(?:step \d|(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|finally|lastly)\b)/gim,
  /** Lines that begin with a list's mark: "- ", "* ", "3. ", "b) ". */
  list_items: /^[ \t]{0,16}(?:[-*+•–]|\(?(?:\d{1,3}|[a-z])[.)])[ \t]+\S/gim,
  /** Where the thought turns on itself: "wait", "actually", "let me reconsider". */
  revisions:
    /\b(?:wait|hmm+|actually|on second thoughts?|scratch that|alternatively|i was wrong|that(?:['’]s| is) (?:wrong|not right)|let(?: me|['’]s) (?:reconsider|rethink|revise|(?:double[- ]|re-?)check|try again|start over))\b/gi,
  /** What the answer has to keep to: "must", "should not", "the user wants", "at most". */
  constraints:
    /\b(?:must(?:n['’]t)?|should(?:n['’]t)?|needs? to|ha(?:s|ve) to|required?|requirements?|constraints?|avoid|at (?:least|most)|no more than|the user (?:wants?|asks?|asked|needs?|requests?|requested|specified|expects?))\b/gi,
  /** Questions, a run of marks counted once. */
  questions: /[?？]+/g,
} as const satisfies Readonly<Record<string, RegExp>>;

export type StyleMark = keyof typeof STYLE_MARKS;

/** Counts in one thought: each of `STYLE_MARKS`, and paragraphs, which are runs of lines that are not blank. */
export type Style = Readonly<Record<StyleMark | "paragraphs", number>>;

const marks = Object.entries(STYLE_MARKS) as [StyleMark, RegExp][];

/** The style of a thought. */
export function thinkingStyle(thought: string): Style {
  const isText = thought.split("\n").map((line) => line.trim() !== "");
  const paragraphs = isText.filter((text, i) => text && isText[i - 1] !== true).length;
  const counted = marks.map(([name, pattern]) => [name, thought.match(pattern)?.length ?? 0]);
  return { paragraphs, ...Object.fromEntries(counted) };
}
