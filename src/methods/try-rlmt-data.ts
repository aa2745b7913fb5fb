// The files that the trial of RLMT makes before it trains: a model of random weights with a tokenizer and a chat template, demonstrations that
// think, preferences, and prompts. All by program and seed: nothing is downloaded.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Random, random } from "../data/random.js";
import {
  type DemonstrationOptions,
  demonstrationText,
  preference,
  sampleProblem,
  type TrialMultiset,
  type TrialProblem,
  trialChatTemplate,
  trialSplit,
} from "../tasks/countdown-trial.js";
import { attempt, nodeDisk } from "../train/disk.js";
import { trialMessages } from "./trial.js";

/** Streams of random numbers of one seed, kept apart. */
const streams = { demonstrations: 11, preferences: 12, heldOutPreferences: 13, prompts: 14 } as const;

/** Paths of the files. */
export interface TrialFiles {
  /** Rows of {prompt, thinking, response}. */
  readonly demonstrations: string;
  /** Rows of {prompt, chosen, rejected}, on the problems of training and on others. */
  readonly preferences: string;
  readonly heldOutPreferences: string;
  /** Rows of {prompt}: problems of training, and held-out ones whose numbers none of them has. */
  readonly prompts: string;
  readonly heldOutPrompts: string;
}

export function trialFiles(folder: string): TrialFiles {
  return {
    demonstrations: join(folder, "demonstrations.jsonl"),
    preferences: join(folder, "preferences.jsonl"),
    heldOutPreferences: join(folder, "held-out-preferences.jsonl"),
    prompts: join(folder, "prompts.jsonl"),
    heldOutPrompts: join(folder, "held-out-prompts.jsonl"),
  };
}

/** How many rows of each, and what they are like. */
export interface TrialDataSettings {
  readonly seed: number;
  readonly demonstrations: Omit<DemonstrationOptions, "thinking"> & { readonly count: number };
  readonly preferences: { readonly pairs: number; readonly heldOut: number; readonly weights: readonly number[] };
  readonly evaluation: { readonly problems: number };
}

/** Problems that training never sees. */
export const heldOutProblems = (count: number): readonly TrialProblem[] => trialSplit().evaluation.slice(0, count);

/** Writes the files below `folder`, which is made if need be. Throws ZazenError DISK. */
export function writeTrialData(folder: string, settings: TrialDataSettings): TrialFiles {
  const { seed, demonstrations, preferences, evaluation } = settings;
  const { train, monitor } = trialSplit();
  const files = trialFiles(folder);
  const stream = (name: keyof typeof streams) => random(seed, streams[name]);
  nodeDisk.makeFolder(folder);
  writeRows(files.demonstrations, demonstrationRows(train, stream("demonstrations"), demonstrations));
  writeRows(files.preferences, preferenceRows(train, stream("preferences"), preferences.pairs, preferences.weights));
  const others = asMultisets(monitor);
  writeRows(
    files.heldOutPreferences,
    preferenceRows(others, stream("heldOutPreferences"), preferences.heldOut, preferences.weights),
  );
  writeRows(
    files.prompts,
    stream("prompts")
      .shuffle(train.flatMap(({ problems }) => problems))
      .map(asked),
  );
  writeRows(files.heldOutPrompts, heldOutProblems(evaluation.problems).map(asked));
  return files;
}

/** The chat template beside the tokenizer's own files. */
export function writeChatTemplate(folder: string): void {
  const path = join(folder, "chat_template.jinja");
  attempt(path, () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path, trialChatTemplate());
  });
}

/** What is asked, word for word: how an answer finds its problem again. */
export const questionOf = (problem: TrialProblem): string => trialMessages(problem)[0]!.content;

const asked = (problem: TrialProblem) => ({ prompt: questionOf(problem) });

function demonstrationRows(
  train: readonly TrialMultiset[],
  stream: Random,
  { count, ...options }: TrialDataSettings["demonstrations"],
) {
  return Array.from({ length: count }, () => {
    const problem = sampleProblem(train, stream);
    return { ...asked(problem), ...demonstrationText(problem, stream, options) };
  });
}

function preferenceRows(
  multisets: readonly TrialMultiset[],
  stream: Random,
  count: number,
  weights: readonly number[],
) {
  return Array.from({ length: count }, () => {
    const { problem, chosen, rejected } = preference(multisets, stream, weights);
    return { ...asked(problem), chosen, rejected };
  });
}

/** Problems by the numbers that they share. */
function asMultisets(problems: readonly TrialProblem[]): readonly TrialMultiset[] {
  const known = new Map<TrialProblem["numbers"], TrialProblem[]>();
  for (const problem of problems) known.set(problem.numbers, [...(known.get(problem.numbers) ?? []), problem]);
  return [...known].map(([numbers, own]) => ({ numbers, problems: own }));
}

function writeRows(path: string, rows: readonly unknown[]): void {
  attempt(path, () => writeFileSync(path, `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`));
}
