// How a thought is written, counted by its words and marks: steps, lists, revisions, constraints, questions. Bhaskar et al., "Language
// models that think, chat better", 2025, section 5, describe what changes over training; the expressions here are this project's own, for
// English, and say nothing of whether a thought is good. Text comes from models, so each expression looks at one line and never backtracks
// far.

/** What is counted, by name. `line`: at most once a line; else every match. */
export const STYLE_MARKS = {
  /** Lines that name a step: "Step 2", "First,", "Next,", "Finally". */
  steps: {
    line: true,
    pattern:
      /^\s{0,8}(?:#{1,6} |\*\*)?(?:step \d|(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|finally|lastly)\b)/i,
  },
  /** Lines that begin with a list's mark: "- ", "* ", "3. ", "b) ". */
  list_items: { line: true, pattern: /^\s{0,16}(?:[-*+•–]|\(?(?:\d{1,3}|[a-z])[.)])\s+\S/i },
  /** Where the thought turns on itself: "wait", "actually", "let me reconsider". */
  revisions: {
    line: false,
    pattern:
      /\b(?:wait|hmm+|actually|on second thoughts?|scratch that|alternatively|i was wrong|that(?:['’]s| is) (?:wrong|not right)|let(?: me|['’]s) (?:reconsider|rethink|revise|(?:double[- ]|re-?)check|try again|start over))\b/gi,
  },
  /** What the answer has to keep to: "must", "should not", "the user wants", "at most". */
  constraints: {
    line: false,
    pattern:
      /\b(?:must(?:n['’]t)?|should(?:n['’]t)?|needs? to|ha(?:s|ve) to|required?|requirements?|constraints?|avoid|at (?:least|most)|no more than|the user (?:wants?|asks?|asked|needs?|requests?|requested|specified|expects?))\b/gi,
  },
  /** Questions, a run of marks counted once. */
  questions: { line: false, pattern: /[?？]+/g },
} as const satisfies Readonly<Record<string, { readonly line: boolean; readonly pattern: RegExp }>>;

export type StyleMark = keyof typeof STYLE_MARKS;

/** Counts in one thought: each of `STYLE_MARKS`, and paragraphs, which are runs of lines that are not blank. */
export type Style = Readonly<Record<StyleMark | "paragraphs", number>>;

const marks = Object.entries(STYLE_MARKS) as [StyleMark, { readonly line: boolean; readonly pattern: RegExp }][];

/** The style of a thought. */
export function thinkingStyle(thought: string): Style {
  const lines = thought.split(/\r?\n/);
  const isText = lines.map((line) => line.trim() !== "");
  const paragraphs = isText.filter((text, i) => text && isText[i - 1] !== true).length;
  const counted = marks.map(([name, mark]) => [name, lines.reduce((sum, line) => sum + countIn(line, mark), 0)]);
  return { paragraphs, ...Object.fromEntries(counted) };
}

function countIn(line: string, { line: once, pattern }: { readonly line: boolean; readonly pattern: RegExp }): number {
  if (once) return pattern.test(line) ? 1 : 0;
  return line.match(pattern)?.length ?? 0;
}
