// Who teaches: a model of an endpoint, many requests at once, or a model folder of this machine, prompt after prompt in batches. Either gives
// what becomes of the lessons in their order, and puts each answer into the journal as it comes.

import type { SamplingSettings } from "../config/fragments.js";
import type { Endpoint } from "../endpoint/endpoint.js";
import { EndpointError } from "../endpoint/faults.js";
import { inOrder } from "../endpoint/in-order.js";
import type { ChatAnswer } from "../endpoint/types.js";
import { endTokens } from "../engine/generation-config.js";
import type { EngineLike } from "../engine/like.js";
import { ZazenError } from "../errors.js";
import { beforeStop } from "../prompt/stop-strings.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import { sampleCompletions } from "../rollout/sample.js";
import { samplingParams } from "../rollout/sampling.js";
import type { Sample } from "../rollout/types.js";
import { type Answer, type Journal, type Marking, type Outcome, settle } from "./teach-journal.js";
import type { Lesson } from "./teach-prompts.js";

/** A run's lessons, and where their answers go. */
export interface Desk {
  readonly lessons: readonly Lesson[];
  readonly journal: Journal;
  readonly marking: Marking;
  /** From then on nothing more is asked. */
  readonly stop: AbortSignal;
}

/** What became of the lessons, in their order. Rejects with the reason of `stop`, and with what makes going on useless. */
export type Teacher = (desk: Desk) => AsyncGenerator<Outcome, void, void>;

/** Lessons in hand for each request that may be under way: one that takes long holds up the order, not the others. */
const LESSONS_PER_PLACE = 4;

/** Failures that are of the one request, not of the endpoint. */
const REFUSED = "ENDPOINT_REFUSED";
const EMPTY = "ENDPOINT_EMPTY";

export interface EndpointTeaching {
  readonly endpoint: Endpoint;
  readonly concurrency: number;
  /** What is asked. */
  readonly textOf: (lesson: Lesson) => string;
  readonly sampling: SamplingSettings;
  /** Lessons in a row that the endpoint refuses, or answers without a text, that end the run. */
  readonly mostFailures: number;
}

/** Requests that are under way when the run is to stop, or fails, are finished: they are paid for. */
export function endpointTeacher(teaching: EndpointTeaching): Teacher {
  const { concurrency, mostFailures } = teaching;
  return async function* teach(desk) {
    const halt = new AbortController();
    const onStop = () => halt.abort(desk.stop.reason);
    desk.stop.addEventListener("abort", onStop);
    if (desk.stop.aborted) onStop();
    const learn = (lesson: Lesson) =>
      askUntilSettled(lesson, desk, teaching, halt.signal).catch((error: unknown) => {
        halt.abort(error); // the first failure is the one that the others end with
        throw error;
      });
    let failures = 0;
    try {
      for await (const { outcome, failure } of inOrder(desk.lessons, LESSONS_PER_PLACE * concurrency, learn)) {
        failures = failure === null ? 0 : failures + 1;
        if (failures > mostFailures) throw failure;
        yield outcome;
      }
    } finally {
      halt.abort(new Error("no more is asked"));
      desk.stop.removeEventListener("abort", onStop);
    }
  };
}

interface Learnt {
  readonly outcome: Outcome;
  /** Of the endpoint for this one lesson. */
  readonly failure: ZazenError | null;
}

async function askUntilSettled(
  lesson: Lesson,
  { journal, marking }: Desk,
  { endpoint, textOf, sampling }: EndpointTeaching,
  stop: AbortSignal,
): Promise<Learnt> {
  const { temperature, topP, maxTokens, stopStrings } = sampling;
  const request = {
    messages: [{ role: "user", content: textOf(lesson) }] as const,
    ...{ temperature, topP, maxTokens, stop: stopStrings },
  };
  let failure: ZazenError | null = null;
  for (;;) {
    const answers = journal.answersOf(lesson.index);
    const outcome = settle(lesson, answers, marking);
    if (outcome !== null) return { outcome, failure: outcome.row === null ? failure : null };
    stop.throwIfAborted();
    const key = lesson.index * marking.tries + answers.length;
    try {
      journal.add(answerOf(lesson, answers.length, await endpoint.chat(request, { stop, key })));
    } catch (error) {
      if (!(error instanceof ZazenError) || ![REFUSED, EMPTY].includes(error.code)) throw error;
      failure = error;
      if (error.code === REFUSED)
        return {
          outcome: { lesson, row: null, reason: "refused by the endpoint", tries: answers.length + 1 },
          failure,
        };
      const usage = error instanceof EndpointError ? error.usage : null;
      journal.add(answerOf(lesson, answers.length, { text: "", finish: "empty", usage }));
    }
  }
}

function answerOf(
  { index, sha }: Lesson,
  before: number,
  { text, finish, usage }: Pick<ChatAnswer, "text" | "finish" | "usage">,
): Answer {
  return { index, sha, try: before + 1, text, finish, usage };
}

export interface LocalTeaching {
  readonly engine: EngineLike;
  readonly tokenizer: Tokenizer;
  /** Of each lesson, what the model reads. */
  readonly prompts: readonly Int32Array[]; // [lessons][P]
  readonly sampling: SamplingSettings;
  readonly seed: number;
  /** Prompts at once. */
  readonly batch: number;
}

/** A batch that the run's stop interrupts is given up: asked again, it gets the same answers. */
export function localTeacher(teaching: LocalTeaching): Teacher {
  const fits = ({ index }: Lesson) => teaching.prompts[index]!.length < teaching.engine.spec.maxPositions;
  return async function* teach(desk) {
    const settled = (lesson: Lesson): Outcome | null =>
      fits(lesson)
        ? settle(lesson, desk.journal.answersOf(lesson.index), desk.marking)
        : { lesson, row: null, reason: "prompt longer than the model's positions", tries: 0 };
    for (let from = 0; from < desk.lessons.length; from += teaching.batch) {
      const batch = desk.lessons.slice(from, from + teaching.batch);
      const open = () => batch.filter((lesson) => settled(lesson) === null);
      for (let asked = open(); asked.length > 0; asked = open()) await tryOnce(asked, desk, teaching);
      for (const lesson of batch) yield settled(lesson)!;
    }
  };
}

/**
 * A try of those lessons that had the fewest so far, with one call. Tries are the steps of the random key: each draws anew, and a repeated one
 * draws the same.
 */
async function tryOnce(lessons: readonly Lesson[], { journal, stop }: Desk, teaching: LocalTeaching): Promise<void> {
  stop.throwIfAborted();
  const { engine, prompts, sampling, seed, tokenizer } = teaching;
  const triesOf = ({ index }: Lesson) => journal.answersOf(index).length;
  const step = Math.min(...lessons.map(triesOf));
  const now = lessons.filter((lesson) => triesOf(lesson) === step);
  const { samples } = await sampleCompletions(engine, {
    prompts: now.map(({ index }) => prompts[index]!),
    samplesPerPrompt: 1,
    sampling: samplingParams(sampling, endTokens(engine.spec, tokenizer.eosId, sampling.eosTokenIds)),
    ...{ seed, step, problemIds: Int32Array.from(now, ({ index }) => index), signal: stop },
  });
  now.forEach((lesson, i) => {
    journal.add(answerOf(lesson, step, saidIn(samples[i]![0]!, tokenizer)));
  });
}

function saidIn(sample: Sample, tokenizer: Tokenizer): Pick<ChatAnswer, "text" | "finish" | "usage"> {
  const { prompt, completion, finish, stopToken = null, stopString = null } = sample;
  const written = stopToken === null ? completion : completion.subarray(0, -1);
  const text = beforeStop(tokenizer.decode(written), stopString);
  return { text, finish, usage: { promptTokens: prompt.length, completionTokens: completion.length } };
}
