// The tasks of recipe `rlvr` with their prompts and verifiers: what a problem is, how it is asked, when an answer is right.
import { z } from "zod";
import { type DataSettings, dataSetting, type MixtureSettings, mixturePart } from "../config/data.js";
import { Mixture } from "../data/mixture.js";
import { type LoadedSource, loadRecords } from "../data/records.js";
import type { SourceReport } from "../data/source.js";
import type { EngineLike } from "../engine/like.js";
import { InputError } from "../errors.js";
import { ChatTemplate } from "../prompt/chat.js";
import { plainPrompt, splitThinking, THINKING_FORMATS, type ThinkingFormat } from "../prompt/thinking.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import type { Sample } from "../rollout/types.js";
import { type CountdownProblem, checkCountdownProblem, gradeCountdown } from "../tasks/countdown.js";
import { gradeTrial, TRIAL_VOCAB_SIZE, type TrialProblem, trialSplit } from "../tasks/countdown-trial.js";
import type { TokenizerWriter } from "../train/checkpoint.js";
import type { PolicyTask } from "../train/reinforce.js";
import type { Numbered } from "../train/rollout-log.js";
import { copyTokenizer } from "../train/run-folder.js";
import { type ChatSettings, chatPart, templateOptions } from "./data-settings.js";
import { trialTask } from "./trial.js";
import { standInPrompt, trialPrompt } from "./words.js";

const formats = ["warm-thinking", "warm-plain", "zero-thinking", "zero-plain"] as const;

const question =
  "Use each of the numbers {numbers} exactly once, with + - * / and parentheses, to make {target}. " +
  "Answer with the expression alone.";

/** The settings that choose and shape the task. */
export const taskSettings = {
  task: z.enum(["countdown", "countdown-trial"]).default("countdown").describe("What the policy has to solve."),
  data: dataSetting("", "Rows of {numbers, target} for countdown."),
  mixture: mixturePart(),
  chat: chatPart(),
  thinking: z.boolean().default(true).describe("Whether the policy of countdown-trial thinks."),
  format: z
    .enum(formats)
    .default("zero-thinking")
    .describe("How countdown is asked: warm by chat template, zero as text."),
  question: z
    .string()
    .refine((text) => text.includes("{numbers}") && text.includes("{target}"), "text with {numbers} and {target}")
    .default(question)
    .describe("The question of countdown; {numbers} and {target} are filled in."),
};

export interface TaskConfig {
  readonly seed: number;
  readonly model: string;
  readonly task: "countdown" | "countdown-trial";
  readonly data: DataSettings;
  readonly mixture: MixtureSettings;
  readonly chat: ChatSettings;
  readonly thinking: boolean;
  readonly format: (typeof formats)[number];
  readonly question: string;
  readonly evaluation: { readonly problems: number; readonly data: DataSettings };
}

/** A task with its held-out problems. */
export interface RlvrTask<P extends Numbered> extends PolicyTask<P> {
  readonly heldOut: readonly P[];
  /** Held-out problems that a run is watched by while it trains; other than `heldOut` where there are others. */
  readonly watched: readonly P[];
  readonly isCorrect: (problem: P, sample: Sample) => boolean;
  readonly tokenizer: TokenizerWriter;
  /** What became of the rows of each source; none of the built-in trial. */
  readonly sources: readonly SourceReport[];
  /** What a user may ask the trained model; a stand-in where prompts are long. */
  readonly tryPrompt: string;
}

/** The built-in trial. Throws InputError where the model has another vocabulary. */
export function trialVerified(
  { seed, thinking, model, evaluation }: TaskConfig,
  { spec }: EngineLike,
): RlvrTask<TrialProblem> {
  if (spec.vocabSize !== TRIAL_VOCAB_SIZE) {
    throw new InputError(
      "RECIPE_VALUE",
      `[recipe rlvr] model: expected the trial's vocabulary of ${TRIAL_VOCAB_SIZE} tokens, got ${spec.vocabSize}; ` +
        "make such a model with the recipe sft",
    );
  }
  const split = trialSplit();
  return {
    ...trialTask(split.train, seed, thinking),
    heldOut: split.evaluation.slice(0, evaluation.problems),
    watched: split.monitor.slice(0, evaluation.problems),
    isCorrect: (problem, sample) => gradeTrial(problem, sample.completion, { thinking }).correct,
    tokenizer: copyTokenizer(model),
    sources: [],
    tryPrompt: trialPrompt(split.evaluation[0]!, thinking),
  };
}

/** A problem from a file with its prompt. */
interface AskedProblem extends CountdownProblem, Numbered {
  readonly promptText: string;
  readonly prompt: Int32Array;
}

/** Countdown on a file. Throws InputError where the data, the tokenizer or the template do not fit. */
export async function countdownVerified(config: TaskConfig): Promise<RlvrTask<AskedProblem>> {
  if (config.data === "") {
    throw new InputError(
      "RECIPE_VALUE",
      "[recipe rlvr] data: expected rows of {numbers, target}, got nothing; set data",
    );
  }
  const tokenizer = await Tokenizer.load(config.model);
  const train = await loadProblems(config.data, config, tokenizer);
  const held = config.evaluation.data === "" ? [] : await loadProblems(config.evaluation.data, config, tokenizer);
  const heldOut = held.flatMap(({ records }) => records).slice(0, config.evaluation.problems);
  const source = new Mixture(train, { seed: config.seed, exhausted: config.mixture.exhausted });
  const read = answerReader(tokenizer, THINKING_FORMATS[config.format]);
  const isCorrect = (problem: AskedProblem, sample: Sample) =>
    gradeCountdown(read(sample, true).answer, problem).correct;
  return {
    problems: (_, count) => source.next(count),
    source,
    promptOf: (problem) => problem.prompt,
    reward: (problem, sample) => (isCorrect(problem, sample) ? 1 : 0),
    describe: (problem, sample) => ({ prompt: problem.promptText, ...read(sample, false) }),
    metrics: () => ({}),
    heldOut,
    watched: heldOut,
    isCorrect,
    tokenizer: copyTokenizer(config.model),
    sources: [...train, ...held].map(({ report }) => report),
    tryPrompt: standInPrompt,
  };
}

/** Splits a sample's text, which is decoded once; not strict, a text without the marks of an answer is shown as it is. */
function answerReader(tokenizer: Tokenizer, format: ThinkingFormat) {
  const endText = tokenizer.eosId === null ? null : tokenizer.token(tokenizer.eosId);
  const texts = new WeakMap<Sample, string>();
  return (sample: Sample, strict: boolean) => {
    const text = texts.get(sample) ?? tokenizer.decode(sample.completion);
    texts.set(sample, text);
    const { thinking, answer } = splitThinking(text, format, {
      mark: "first",
      endText,
      strict,
    });
    return { thinking, answer };
  };
}

const whole = z.int();
const record = z.union([
  z.object({ numbers: z.array(whole), target: whole }),
  z.object({ nums: z.array(whole), target: whole }).transform(({ nums, target }) => ({ numbers: nums, target })),
]);

function parseProblem(value: unknown): CountdownProblem {
  const parsed = record.safeParse(value);
  if (!parsed.success) {
    throw new Error(
      `expected {numbers: [whole numbers], target: whole number}, got ${JSON.stringify(value)}; correct the line`,
    );
  }
  checkCountdownProblem(parsed.data);
  return parsed.data;
}

/** The problems of each source with their prompts, numbered through all of them. */
async function loadProblems(
  data: DataSettings,
  config: TaskConfig,
  tokenizer: Tokenizer,
): Promise<LoadedSource<AskedProblem>[]> {
  const problems: LoadedSource<AskedProblem>[] = [];
  let count = 0;
  for (const source of await loadRecords(data, parseProblem)) {
    problems.push({ ...source, records: await askAll(source.records, count, config, tokenizer) });
    count += source.records.length;
  }
  return problems;
}

async function askAll(
  problems: readonly CountdownProblem[],
  firstId: number,
  config: TaskConfig,
  tokenizer: Tokenizer,
) {
  const format = THINKING_FORMATS[config.format];
  const questions = problems.map(({ numbers, target }) =>
    config.question.replaceAll("{numbers}", numbers.join(", ")).replaceAll("{target}", String(target)),
  );
  const texts = await ask(questions, format, config);
  const addSpecialTokens = format.prompt.style === "plain"; // a chat template writes its own
  const prompts = await tokenizer.encodeAll(texts, { addSpecialTokens });
  return problems.map((problem, i) => ({ ...problem, id: firstId + i, promptText: texts[i]!, prompt: prompts[i]! }));
}

async function ask(
  questions: readonly string[],
  { prompt }: ThinkingFormat,
  { model: folder, chat }: TaskConfig,
): Promise<string[]> {
  if (prompt.style === "plain") return questions.map((text) => plainPrompt(prompt.instruction, text));
  const template = await ChatTemplate.load(folder, templateOptions(chat));
  if (template !== null) return template.renderAll(questions.map((content) => [{ role: "user", content }]));
  throw new InputError(
    "CHAT_TEMPLATE_MISSING",
    `[${folder}] expected a chat template for the format, got none; set format to zero-thinking or zero-plain`,
  );
}
