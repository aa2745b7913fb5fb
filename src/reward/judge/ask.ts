// Questions to a judge at an endpoint, answered in their order: so many at once, answers that are kept not asked for again, and an answer that
// the endpoint refuses or leaves empty passed over, unless too many in a row are. Leaves out what is asked and how an answer is read.
import { createHash } from "node:crypto";
import { inOrder } from "../../endpoint/in-order.js";
import type { ChatSource } from "../../endpoint/types.js";
import { ZazenError } from "../../errors.js";

export interface AskOptions {
  /** Default 0: the same question, the same answer, as far as the endpoint can. */
  readonly temperature?: number;
  /** New tokens of an answer at most. Default 1,024. */
  readonly maxTokens?: number;
  /** Questions in hand at once; the endpoint's own limit holds besides. Default 32. */
  readonly window?: number;
  /** Questions in a row that may be refused, or answered with no text, before it is the judge's fault. Default 20. */
  readonly maxFailures?: number;
  readonly signal?: AbortSignal;
  /** Answers that are there already, by `key`: they are not asked for. */
  readonly known?: ReadonlyMap<string, string>;
  /** Told of each answer as it comes. */
  readonly onAnswer?: (answer: JudgeAnswer) => void;
}

export interface JudgeAnswer {
  /** Of the question's text. */
  readonly key: string;
  readonly text: string;
}

const KEY_CHARACTERS = 32;
const WINDOW = 32;
const MAX_FAILURES = 20;
const MAX_TOKENS = 1024;
const PASSED_OVER = ["ENDPOINT_EMPTY", "ENDPOINT_REFUSED"];

interface Answered {
  readonly text: string;
  readonly failure: ZazenError | null;
}

/**
 * Answers in the order of the questions; "" where the endpoint refused, or had none. The first error ends the waits of the others. Throws as
 * the judge does, its last refusal where too many come in a row, and the reason of the signal.
 */
export async function* askAll(
  judge: ChatSource,
  questions: readonly string[],
  options: AskOptions,
): AsyncGenerator<string, void, void> {
  const halt = new AbortController();
  const { signal, window = WINDOW, maxFailures = MAX_FAILURES } = options;
  const onAbort = () => halt.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  if (signal?.aborted) onAbort();
  const ask = (text: string, key: number) =>
    answerTo(judge, text, key, options, halt.signal).catch((error: unknown) => {
      halt.abort(error);
      throw error;
    });
  let failures = 0;
  try {
    for await (const { text, failure } of inOrder(questions, window, ask)) {
      failures = failure === null ? 0 : failures + 1;
      if (failures > maxFailures) throw failure;
      yield text;
    }
  } finally {
    halt.abort(new Error("no more is asked"));
    signal?.removeEventListener("abort", onAbort);
  }
}

async function answerTo(
  judge: ChatSource,
  question: string,
  key: number,
  { known, onAnswer, temperature = 0, maxTokens = MAX_TOKENS }: AskOptions,
  stop: AbortSignal,
): Promise<Answered> {
  stop.throwIfAborted();
  const name = createHash("sha256").update(question).digest("hex").slice(0, KEY_CHARACTERS);
  const before = known?.get(name);
  if (before !== undefined) return { text: before, failure: null };
  const request = { messages: [{ role: "user", content: question }] as const, temperature, maxTokens };
  try {
    const { text } = await judge.chat(request, { stop, key });
    onAnswer?.({ key: name, text });
    return { text, failure: null };
  } catch (error) {
    if (!(error instanceof ZazenError) || !PASSED_OVER.includes(error.code)) throw error;
    return { text: "", failure: error };
  }
}
