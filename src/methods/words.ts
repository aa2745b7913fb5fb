// What every recipe says in the same words: how large the model is, and the command that tries it.
import { counted } from "../config/counted.js";
import type { EngineLike } from "../engine/like.js";
import { plainPrompt, type ThinkingFormat } from "../prompt/thinking.js";
import { isFiltered } from "../rollout/sampling.js";
import { decodeTrial, encodePrompt, type TrialProblem } from "../tasks/countdown-trial.js";
import type { Run } from "../train/run.js";
import type { GrpoSettings, LoraSettings } from "./settings.js";

export function saySize(run: Run, { parameters, trainedParameters }: EngineLike): void {
  const count = (n: number) => n.toLocaleString("en-US");
  const adapters = trainedParameters === parameters ? "" : `, trained: ${count(trainedParameters)}`;
  run.note("info", `parameters: ${count(parameters)}${adapters}`);
}

/** What a plan says of LoRA; nothing where it is off. */
export function loraLines({ rank, alpha, rsLora, targets, modulesToSave }: LoraSettings): readonly string[] {
  if (rank === 0) return [];
  const whole = modulesToSave.length === 0 ? "" : `, ${modulesToSave.join(", ")} trained whole`;
  return [`LoRA: rank ${rank}, alpha ${alpha}${rsLora ? ", rank-stabilised" : ""}, on ${targets.join(", ")}${whole}`];
}

/** "64 prompts x 8 samples". */
export const groupsOf = (prompts: number, samplesPerPrompt: number): string =>
  `${counted(prompts, "prompt")} x ${counted(samplesPerPrompt, "sample")}`;

/** What a plan says of steps that sample: "120 steps of 64 prompts x 8 samples". */
export const groupSteps = ({
  steps,
  prompts,
  samplesPerPrompt,
}: Readonly<Record<"steps" | "prompts" | "samplesPerPrompt", number>>): string =>
  `${counted(steps, "step")} of ${groupsOf(prompts, samplesPerPrompt)}`;

/** What a plan says of sampling that is not plain: what changes the distribution, what a ratio is to then, and what ends a sample. */
export function samplingLines({
  sampling,
  loss,
}: Pick<GrpoSettings, "sampling"> & Partial<Pick<GrpoSettings, "loss">>): readonly string[] {
  const { topK, topP, minP, choices, regex, stopStrings, eosTokenIds } = sampling;
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = sampling;
  const filters = [
    ...(topK > 0 ? [`top-k ${topK}`] : []),
    ...(topP < 1 ? [`top-p ${topP}`] : []),
    ...(minP > 0 ? [`min-p ${minP}`] : []),
    ...(repetitionPenalty === 1 ? [] : [`repetition penalty ${repetitionPenalty}`]),
    ...(presencePenalty === 0 ? [] : [`presence penalty ${presencePenalty}`]),
    ...(frequencyPenalty === 0 ? [] : [`frequency penalty ${frequencyPenalty}`]),
    ...(choices.length > 0 ? [`one of ${choices.length} texts`] : []),
    ...(regex === "" ? [] : [`only what matches ${regex}`]),
  ];
  const cap = loss?.importanceCap ?? 0;
  const weighed = cap > 0 ? `, tokens weighed by policy / sampler up to ${cap}` : "";
  const ratio = loss === undefined ? "" : `; the ratio is to the ${loss.oldPolicy}${weighed}`;
  const ends = [...stopStrings.map((text) => JSON.stringify(text)), ...eosTokenIds.map((id) => `token ${id}`)];
  return [
    ...(isFiltered(sampling) ? [`sampling: ${filters.join(", ")}${ratio}`] : []),
    ...(ends.length > 0 ? [`samples also end at ${ends.join(", ")}`] : []),
  ];
}

/** What a user may ask a trained model. */
export interface Question {
  readonly prompt: string;
  /** Text to continue, though the folder may have a chat template. */
  readonly raw?: boolean;
  /** What ends the answer, beside the model's end tokens. */
  readonly stop?: string;
}

/** The command that samples from the model of a run, for a shell in the clone. */
export function sayNext(run: Run, model: string, { prompt, raw = false, stop }: Question): void {
  const flags = [...(raw ? ["--raw"] : []), ...(stop === undefined ? [] : [`--stop ${shellWord(stop)}`])];
  const more = flags.length === 0 ? "" : ` \\\n    ${flags.join(" ")}`;
  run.note(
    "info",
    `\nTry the model:\n  npx zazen generate --model ${shellWord(model)} \\\n    --prompt ${shellWord(prompt)}${more}\n`,
  );
}

const STAND_IN = "YOUR PROMPT";

/** Where the prompts are the user's own: as the format asks, which of a zero start is plain text with an instruction. */
export function standIn({ prompt, answerClose }: Pick<ThinkingFormat, "prompt" | "answerClose">): Question {
  if (prompt.style !== "plain") return { prompt: STAND_IN };
  const text = plainPrompt(prompt.instruction, STAND_IN, prompt.template);
  return { prompt: text, raw: true, ...(answerClose !== null && { stop: answerClose }) };
}

/** The same without a format. */
export const plainQuestion: Question = { prompt: STAND_IN };

/** A problem of the built-in trial as its model reads it. */
export function trialQuestion(problem: TrialProblem, thinking: boolean): Question {
  return { prompt: decodeTrial(encodePrompt(problem, { thinking })) };
}

/** `text` as one word of a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
