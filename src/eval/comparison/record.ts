// What a comparison knows of a run: its settings, the steps of its policy, its held-out answers. Plain data; where it is read from is the
// caller's business.
import type { JsonObject } from "../../config/files.js";
import type { Message } from "../../prompt/chat.js";

/** A run of a policy. */
export interface RunRecord {
  /** As the user named it. */
  readonly name: string;
  readonly recipe: string;
  readonly config: JsonObject;
  /** The part that trained the policy. */
  readonly phase: string;
  /** Its steps that sampled, in order. */
  readonly steps: readonly StepFigures[];
  /** What the part took, so far; null where it is not known. */
  readonly seconds: number | null;
  /** Evaluations before it, in it and after it, in order. */
  readonly evaluations: readonly HeldOutSet[];
  /** The part went on training after it had sampled for the last time: figures of its last steps are not those of the policy that it ends with. */
  readonly trainedAfterSampling: boolean;
  /** SHA-256 of the prompts that it trains on, where the run says so. */
  readonly prompts: string | null;
  /** Rows of data that were left out, where the run says so. */
  readonly rowsLeftOut: number | null;
  /** Whether the run came to its end. */
  readonly finished: boolean;
  /** What a reader should know: damage that was passed over, parts left aside. */
  readonly notes: readonly string[];
}

/** One step's fields of metrics.jsonl. */
export interface StepFigures {
  readonly step: number;
  readonly figures: Readonly<Record<string, number>>;
}

/** One evaluation. */
export interface HeldOutSet {
  readonly when: "before" | "while" | "after";
  /** Of training; 0 before it. */
  readonly step: number;
  readonly decoded: "sampled" | "greedy";
  /** What the mean is called, such as "pass@1". */
  readonly figure: string;
  readonly mean: number;
  /** Null where the run kept the mean only. */
  readonly answers: readonly HeldOutText[] | null;
}

/** The answer to one held-out problem. */
export interface HeldOutText {
  readonly problem: number;
  /** The turns that asked for it. */
  readonly messages: readonly Message[];
  readonly answer: string;
  /** Null where it could not be graded. */
  readonly reward: number | null;
  readonly malformed: boolean;
  /** Tokens of the thought and of the rest; null where malformed or unknown. 0 without thinking. */
  readonly thoughtTokens: number | null;
  readonly answerTokens: number | null;
}

/** The evaluation that says what a run came to: the last one of its kind. */
export function lastSet(run: RunRecord, decoded: HeldOutSet["decoded"]): HeldOutSet | null {
  return run.evaluations.findLast((set) => set.decoded === decoded && set.when !== "before") ?? null;
}

/** Problems that both sets have, asked in the same words, with both answers. */
export function commonAnswers(a: HeldOutSet, b: HeldOutSet): readonly (readonly [HeldOutText, HeldOutText])[] {
  const known = new Map((b.answers ?? []).map((each) => [each.problem, each]));
  return (a.answers ?? []).flatMap((one) => {
    const other = known.get(one.problem);
    const same = other !== undefined && JSON.stringify(one.messages) === JSON.stringify(other.messages);
    return same ? [[one, other] as const] : [];
  });
}
