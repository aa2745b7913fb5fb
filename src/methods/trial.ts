// The built-in trial, Countdown with three numbers, as parts: model, warm start, reinforcement, evaluation. Recipes put them in order.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type EvaluationSamplingSettings, group } from "../config/fragments.js";
import { random } from "../data/random.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import type { EngineOptions, ModelSpec, TokenBytes } from "../engine/types.js";
import { evaluateTrial, type TrialEvaluation, thoughtFigures } from "../eval/countdown-trial.js";
import type { Message } from "../prompt/chat.js";
import { NULL_ANSWER } from "../prompt/thinking.js";
import { type Spelling, tokenBytes } from "../prompt/token-bytes.js";
import { heldOutSampling } from "../rollout/sampling.js";
import type { Sample } from "../rollout/types.js";
import {
  DEMONSTRATION_DEFAULTS,
  type DemonstrationOptions,
  decodeTrial,
  demonstration,
  encodePrompt,
  gradeTrial,
  sampleProblem,
  symbolId,
  TRIAL_TOKENS,
  TRIAL_VOCAB_SIZE,
  type TrialGrade,
  type TrialMultiset,
  type TrialProblem,
  trialSplit,
  trialTokenizerFiles,
} from "../tasks/countdown-trial.js";
import type { TokenizerWriter } from "../train/checkpoint.js";
import { logHeldOut } from "../train/held-out-log.js";
import { roomMetrics } from "../train/metrics.js";
import { openPolicy } from "../train/open-policy.js";
import { type PolicyTask, reinforce, taskSampling } from "../train/reinforce.js";
import type { Metrics, Run, RunHost, ShownSample } from "../train/run.js";
import { type Demonstration, type DemonstrationSource, trainSft } from "../train/sft.js";
import type { TrainCost } from "../train/steps.js";
import type { ReadSample, SampleReader } from "../train/watch.js";
import { withVocabulary } from "./generation.js";
import { grpoWorkload, sftWorkload } from "./memory.js";
import { referenceOf } from "./policy-start.js";
import {
  type EngineSettings,
  engineOptions,
  type GrpoSettings,
  llamaSpec,
  type ScratchModel,
  type SftSettings,
} from "./settings.js";

/** Settings of the demonstrations. */
export function demonstrationPart() {
  const { startAtSolution, closestSecond, attemptWeights } = DEMONSTRATION_DEFAULTS;
  const weights = z.array(z.number().min(0)).min(1).max(16);
  return group({
    startAtSolution: z
      .number()
      .min(0)
      .max(1)
      .default(startAtSolution)
      .describe("Chance that a search starts at a solution."),
    closestSecond: z
      .number()
      .min(0)
      .max(1)
      .default(closestSecond)
      .describe("Chance that a second step goes for the target."),
    attemptWeights: weights.default([...attemptWeights]).describe("Weights of giving up after 1, 2, ... attempts."),
  });
}

/** What the parts of one run share. */
export interface Trial {
  readonly host: RunHost;
  readonly run: Run;
  readonly engines: EngineSource;
  readonly settings: TrialSettings;
  readonly train: readonly TrialMultiset[];
  /** Held-out problems: no multiset of numbers is in `train`. */
  readonly heldOut: readonly TrialProblem[];
}

export interface TrialSettings extends EngineSettings {
  readonly seed: number;
  readonly model: ScratchModel;
  readonly demonstrations: z.output<ReturnType<typeof demonstrationPart>>;
  readonly sft: SftSettings;
  readonly grpo: GrpoSettings;
  readonly evaluation: { readonly problems: number; readonly sampling: EvaluationSamplingSettings };
  readonly logging: { readonly rolloutGroups: number; readonly showEvery: number };
}

export function openTrial(host: RunHost, run: Run, engines: EngineSource, settings: TrialSettings): Trial {
  const split = trialSplit();
  return {
    host,
    run,
    engines,
    settings,
    train: split.train,
    heldOut: split.evaluation.slice(0, settings.evaluation.problems),
  };
}

/** Its recipes train every weight. */
export const trialProposals = { adapters: false } as const;

/** Streams of random numbers of one seed, kept apart. */
const streams = { demonstrations: 1, problems: 2, heldOut: 3 } as const;

export function trialSpec(model: ScratchModel): ModelSpec {
  return llamaSpec({ ...model, vocabSize: TRIAL_VOCAB_SIZE, eosTokenId: symbolId("<eos>") });
}

export function trialTokenizer(maxPositions: number): TokenizerWriter {
  return async (folder) => {
    await mkdir(folder, { recursive: true });
    for (const [name, content] of Object.entries(trialTokenizerFiles(maxPositions))) {
      await writeFile(join(folder, name), content);
    }
  };
}

/** What the trial's tokens write, by the tokenizer of its folders. */
export function trialVocabulary(): TokenBytes {
  const { added_tokens: added, decoder } = JSON.parse(trialTokenizerFiles(0)["tokenizer.json"]!);
  return tokenBytes({ tokens: TRIAL_TOKENS, added, decoder } satisfies Spelling);
}

/** The policy that `part` trains, from random weights. */
export async function newPolicy({ host, engines, settings }: Trial, part: string): Promise<EngineLike> {
  const { model, seed, grpo } = settings;
  const origin = { engines, from: { spec: trialSpec(model), seed }, options: engineOptions(settings) };
  return withVocabulary(await openPolicy(host, part, origin), grpo.sampling, trialVocabulary);
}

/** The policy that `part` trains, from a saved folder with fresh moments, and a frozen copy of it where the loss asks for one. */
export async function savedPolicy(
  { host, engines, settings }: Trial,
  part: string,
  folder: string,
): Promise<EngineLike> {
  const origin = { engines, from: folder, options: policyOptions(settings) };
  return withVocabulary(await openPolicy(host, part, origin), settings.grpo.sampling, trialVocabulary);
}

/** Options of a policy's engine with the reference that the loss asks for. */
export function policyOptions(settings: TrialSettings): EngineOptions {
  return { ...engineOptions(settings), reference: referenceOf(settings.grpo) };
}

/** Demonstrations made on the fly; `round` keeps a second round of training from repeating the first. */
export function trialDemonstrations(
  train: readonly TrialMultiset[],
  seed: number,
  round: number,
  options: DemonstrationOptions,
): DemonstrationSource {
  const stream = random(seed, streams.demonstrations, round);
  return {
    next: () => {
      const problem = sampleProblem(train, stream);
      return { prompt: encodePrompt(problem, options), completion: demonstration(problem, stream, options) };
    },
    save: () => stream.save(),
    restore: (state) => stream.restore(state),
  };
}

/** A demonstration of each problem, the same ones for a seed. */
export function heldOutDemonstrations(
  problems: readonly TrialProblem[],
  seed: number,
  options: DemonstrationOptions,
): Demonstration[] {
  const stream = random(seed, streams.heldOut);
  return problems.map((problem) => ({
    prompt: encodePrompt(problem, options),
    completion: demonstration(problem, stream, options),
  }));
}

/** Supervised warm start. */
export async function warmStart(
  trial: Trial,
  engine: EngineLike,
  thinking: boolean,
  round = 0,
  steps = trial.settings.sft.steps,
) {
  const { seed, sft, demonstrations } = trial.settings;
  const source = trialDemonstrations(trial.train, seed, round, { ...demonstrations, thinking });
  const { tokensPerStep, optimizer } = sft;
  await engine.reserve(sftWorkload(trial.settings.sft, engine.spec.maxPositions), trialProposals);
  return trainSft(trial.run, engine, { steps, tokensPerStep, optimizer, demonstrations: source });
}

/** GRPO on the verifier's reward: 1 for a right answer, else 0. */
export async function improve(
  trial: Trial,
  engine: EngineLike,
  phase: string,
  thinking: boolean,
  steps: number,
): Promise<TrainCost> {
  const { seed, grpo, logging } = trial.settings;
  await engine.reserve(grpoWorkload(grpo, engine.spec, engine.spec.maxPositions - 1), trialProposals);
  return reinforce(trial.run, engine, trialTask(trial.train, seed, thinking), grpo, { phase, steps, seed, logging });
}

/** A task whose samples can be read. */
export type TrialTask = PolicyTask<TrialProblem> & { readonly read: SampleReader<TrialProblem> };

/** The trial as a task: fresh training problems each step, graded by the verifier. */
export function trialTask(train: readonly TrialMultiset[], seed: number, thinking: boolean): TrialTask {
  const grades = new WeakMap<Sample, TrialGrade>(); // reward, metrics and log ask for the same ones
  const grade = (problem: TrialProblem, sample: Sample) => {
    const known = grades.get(sample) ?? gradeTrial(problem, sample.completion, { thinking });
    grades.set(sample, known);
    return known;
  };
  return {
    problems: (step, count, first) => {
      const stream = random(seed, streams.problems, step);
      return Array.from({ length: first + count }, () => sampleProblem(train, stream)).slice(first);
    },
    promptOf: (problem) => Int32Array.from(encodePrompt(problem, { thinking })),
    reward: (problem, sample) => (grade(problem, sample).correct ? 1 : 0),
    describe: (problem, sample) => describeTrial(problem, [...sample.completion], grade(problem, sample), thinking),
    read: (problem, sample) => readTrial(sample, grade(problem, sample), thinking),
    metrics: (groups) =>
      thinking ? thoughtMetrics(groups.flatMap(({ problem, samples }) => samples.map((s) => grade(problem, s)))) : {},
  };
}

function thoughtMetrics(grades: readonly TrialGrade[]): Metrics {
  const { attempts, thoughtTokens, gaveUp } = thoughtFigures(grades);
  return { "thought/attempts": attempts, "thought/tokens": thoughtTokens, "thought/gave_up": gaveUp };
}

/** Thought and answer of a sample; the answer follows `</think>` and `<answer>`. */
function readTrial({ completion }: Sample, grade: TrialGrade, thinking: boolean): ReadSample {
  const { answerText, wellFormed, thoughtTokens } = grade;
  const closed = thinking && thoughtTokens < completion.length;
  const thought = closed ? decodeTrial(Array.from(completion.subarray(0, thoughtTokens))) : null;
  const text = { thinking: thought, answer: answerText ?? NULL_ANSWER, malformed: !wellFormed };
  if (!wellFormed) return { ...text, thoughtTokens: null, answerTokens: null };
  const marked = thinking ? thoughtTokens + 2 : 0;
  return { ...text, thoughtTokens: marked, answerTokens: completion.length - marked };
}

export interface Judged {
  readonly sampled: TrialEvaluation;
  readonly greedy: TrialEvaluation;
}

/** Held-out pass@1, sampled and greedy, as the part of the run that has begun (two steps). */
export async function judge(
  trial: Trial,
  engine: EngineLike,
  thinking: boolean,
  banned: readonly number[] = [],
): Promise<Judged> {
  const { run, heldOut: problems, settings } = trial;
  const own = heldOutSampling(settings.grpo.sampling, settings.evaluation.sampling);
  const sampling = { ...taskSampling(engine, {}, own), bannedTokenIds: banned };
  const question = { problems, thinking, seed: settings.seed, signal: run.signal };
  const measure = async (step: number, label: "sampled" | "greedy", temperature: number): Promise<TrialEvaluation> => {
    const { stats, samples, ...evaluation } = await evaluateTrial(engine, {
      ...question,
      sampling: { ...sampling, temperature },
    });
    run.step(step, { ...passMetrics(evaluation), ...roomMetrics([stats]) }, label);
    const answers = samples.map((sample, p) => {
      const [problem, grade] = [problems[p]!, evaluation.grades[p]!];
      const read = readTrial(sample, grade, thinking);
      return { problem, messages: trialMessages(problem), sample, read, reward: Number(grade.correct) };
    });
    logHeldOut(run, { step, decoded: label, figure: "pass@1" }, answers);
    return evaluation;
  };
  const sampled = await measure(1, "sampled", own.temperature);
  return { sampled, greedy: await measure(2, "greedy", 0) };
}

function passMetrics({ score }: TrialEvaluation): Record<string, number> {
  const { pass, attempts, thoughtTokens } = score;
  return { "pass@1": pass.rate, attempts, thought_tokens: thoughtTokens, tokens_per_second: pass.tokensPerSecond };
}

/** What the user asks: the numbers and their target. */
export function trialMessages({ numbers, target }: TrialProblem): readonly Message[] {
  return [{ role: "user", content: trialQuestion(numbers, target) }];
}

const trialQuestion = (numbers: readonly number[], target: number) => `${numbers.join(" ")} -> ${target}`;

/** A sample as text: the prompt without its opening mark, the thought, the answer. */
export function describeTrial(
  problem: TrialProblem,
  completion: readonly number[], // ids
  { answerText }: TrialGrade,
  thinking: boolean,
): Omit<ShownSample, "reward"> {
  const end = completion.indexOf(symbolId("</think>"));
  const thought = completion.slice(0, end < 0 ? completion.length : end);
  return {
    prompt: trialQuestion(problem.numbers, problem.target),
    thinking: thinking ? decodeTrial(thought) : null,
    answer: answerText ?? "(no answer)",
  };
}
