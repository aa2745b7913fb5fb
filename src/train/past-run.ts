// Reads a run folder as a record for comparisons: recipe.json, metrics.jsonl, held-out.jsonl and whether there is a summary. Only reads. A
// damaged last line, what a killed run leaves, is passed over and told; damage elsewhere is an error.
import { join } from "node:path";
import { z } from "zod";
import { exists, isObject, readJsonObject } from "../config/files.js";
import { readJsonl } from "../data/jsonl.js";
import { InputError } from "../errors.js";
import type { HeldOutSet, HeldOutText, RunRecord, StepFigures } from "../eval/comparison/record.js";
import { heldOutFile, metricsFile, recipeFile, summaryFile } from "./run-folder.js";

/** Separates a run folder from the part of it that is meant. */
const PART_MARK = "#";

const metricsLine = z.looseObject({ phase: z.string(), step: z.int().min(0) });
type MetricsLine = z.output<typeof metricsLine>;

const heldOutLine = z.object({
  phase: z.string(),
  step: z.int().min(0),
  decoded: z.enum(["sampled", "greedy"]),
  figure: z.string(),
  problem: z.int(),
  messages: z.array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() })),
  answer: z.string(),
  reward: z.number().nullable(),
  thinking: z.string().nullable().default(null),
  malformed: z.boolean().default(false),
  thoughtTokens: z.number().nullable().default(null),
  answerTokens: z.number().nullable().default(null),
});
/** An answer as a line of held-out.jsonl has it; what older lines lack is null. */
export type HeldOutLine = z.output<typeof heldOutLine>;

/**
 * The run in a folder; "FOLDER#PART" takes another part than the first that trained a policy. Throws InputError COMPARE_FOLDER for a folder
 * that is no run's, COMPARE_METRICS for one without steps of a policy, JSONL_LINE for a damaged line.
 */
export async function readPastRun(name: string): Promise<RunRecord> {
  const { folder, part } = await placeOf(name);
  const { recipe, config } = await readRecipe(folder);
  const notes: string[] = [];
  const lines = await readLines(join(folder, metricsFile), metricsLine, notes);
  const phases = trainedPhases(lines);
  const phase = choosePhase(folder, phases, part);
  const others = phases.filter((each) => each !== phase);
  if (part === null && others.length > 0) {
    notes.push(
      `part ${phase}; it has also trained in ${others.join(", ")}: name one as ${folder}${PART_MARK}${others[0]}`,
    );
  }
  const offline = offlineNotes(lines, phase);
  notes.push(...offline);
  const answers = await readLines(join(folder, heldOutFile), heldOutLine, notes);
  return {
    ...{ name, recipe, config, phase, notes },
    steps: lines.filter((line) => line.phase === phase && line["reward/mean"] !== undefined).map(stepOf),
    seconds: secondsOf(lines, phase),
    evaluations: evaluationsOf(lines, answers, phase),
    trainedAfterSampling: offline.length > 0,
    ...(await dataOf(folder)),
    finished: await exists(join(folder, summaryFile)),
  };
}

/** The held-out answers of the run in a folder, in order; none where it kept none. Throws InputError JSONL_LINE. */
export function readHeldOut(folder: string): Promise<readonly HeldOutLine[]> {
  return readLines(join(folder, heldOutFile), heldOutLine, []);
}

const summaryData = z.looseObject({ data: z.array(z.looseObject({ dropped: z.record(z.string(), z.int()) })) });
const summaryPrompts = z.looseObject({ prompts: z.looseObject({ sha256: z.string() }) });

/** What the summary says of the rows, over all sources and reasons; null where it does not. */
async function dataOf(folder: string): Promise<Pick<RunRecord, "prompts" | "rowsLeftOut">> {
  const summary = await readJsonObject(join(folder, summaryFile), { code: "COMPARE_FOLDER" });
  const dropped = summaryData.safeParse(summary).data?.data.flatMap((source) => Object.values(source.dropped));
  return {
    prompts: summaryPrompts.safeParse(summary).data?.prompts.sha256 ?? null,
    rowsLeftOut: dropped?.reduce((sum, count) => sum + count, 0) ?? null,
  };
}

async function placeOf(name: string): Promise<{ readonly folder: string; readonly part: string | null }> {
  const at = name.lastIndexOf(PART_MARK);
  if (at < 0 || (await exists(name))) return { folder: name, part: null };
  return { folder: name.slice(0, at), part: name.slice(at + 1) };
}

async function readRecipe(folder: string): Promise<Pick<RunRecord, "recipe" | "config">> {
  const path = join(folder, recipeFile);
  const stated = await readJsonObject(path, { code: "COMPARE_FOLDER" });
  if (stated === undefined)
    throw folderError(folder, `a run folder with ${recipeFile}`, "none", "name the folder of a run");
  const { recipe, config } = stated;
  if (typeof recipe === "string" && isObject(config)) return { recipe, config };
  throw folderError(path, "{recipe, config}", "something else", "put the file back as the run wrote it");
}

/** The lines of a file; none where there is no file. */
async function readLines<T>(path: string, schema: z.ZodType<T>, notes: string[]): Promise<readonly T[]> {
  if (!(await exists(path))) return [];
  const lines: T[] = [];
  const onDamagedEnd = ({ message }: Error) => notes.push(`its last line is left out: ${message}`);
  for await (const { value } of readJsonl(path, (line) => parseLine(schema, line), { onDamagedEnd })) lines.push(value);
  return lines;
}

function parseLine<T>(schema: z.ZodType<T>, line: unknown): T {
  const parsed = schema.safeParse(line);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Error(
    `expected a line as a run writes it, got ${issue?.path.join(".") || "another"}: ${issue?.message}; put the file back`,
  );
}

/** Parts that trained on rewards, in order. */
const trainedPhases = (lines: readonly MetricsLine[]): readonly string[] => [
  ...new Set(lines.filter((line) => line["reward/mean"] !== undefined).map(({ phase }) => phase)),
];

function choosePhase(folder: string, phases: readonly string[], part: string | null): string {
  const [first] = phases;
  if (first === undefined) {
    const message = `[${folder}] expected steps with reward/mean in ${metricsFile}, got none`;
    throw new InputError("COMPARE_METRICS", `${message}; compare runs that trained a policy for at least one step`);
  }
  if (part === null || phases.includes(part)) return part ?? first;
  throw folderError(`${folder}${PART_MARK}${part}`, `one of the parts ${phases.join(", ")}`, part, "correct its name");
}

function secondsOf(lines: readonly MetricsLine[], phase: string): number | null {
  const seconds = lines.findLast((line) => line.phase === phase)?.seconds;
  return typeof seconds === "number" ? seconds : null;
}

/** Of a part that goes on training when it has sampled for the last time: its rewards are not those of the policy that it ends with. */
function offlineNotes(lines: readonly MetricsLine[], phase: string): readonly string[] {
  const own = lines.filter((line) => line.phase === phase);
  const last = own.findLastIndex((line) => line["reward/mean"] !== undefined);
  const later = own.slice(last + 1).filter((line) => line.loss !== undefined).length;
  if (later === 0) return [];
  return [
    `${later === 1 ? "its last step trains" : `its last ${later} steps train`} on what was sampled before: only held-out figures are of the policy that it ends with`,
  ];
}

const stepOf = ({ step, ...line }: MetricsLine): StepFigures => ({ step, figures: numbersOf(line) });

const numbersOf = (line: Readonly<Record<string, unknown>>): Record<string, number> =>
  Object.fromEntries(Object.entries(line).filter((entry): entry is [string, number] => typeof entry[1] === "number"));

/** Where a part's evaluations stand to the training of `phase`; null for those of other trainings. */
type Places = ReadonlyMap<string, HeldOutSet["when"]>;

/** Evaluations count for a training from the training before it to the one after it. */
function placesOf(lines: readonly MetricsLine[], answers: readonly HeldOutLine[], phase: string): Places {
  const order = [...new Set([...lines, ...answers].map((line) => line.phase))];
  const trains = new Set(
    lines.filter((line) => line.loss !== undefined || line["reward/mean"] !== undefined).map((line) => line.phase),
  );
  const places = new Map<string, HeldOutSet["when"]>([[phase, "while"]]);
  const at = order.indexOf(phase);
  for (let i = at - 1; i >= 0 && !trains.has(order[i]!); i--) places.set(order[i]!, "before");
  for (let i = at + 1; i < order.length && !trains.has(order[i]!); i++) places.set(order[i]!, "after");
  return places;
}

/** From the answers; where a run kept none, the means of metrics.jsonl. */
function evaluationsOf(
  lines: readonly MetricsLine[],
  answers: readonly HeldOutLine[],
  phase: string,
): readonly HeldOutSet[] {
  const places = placesOf(lines, answers, phase);
  const last = lines.findLast((line) => line.phase === phase)?.step ?? 0;
  const sets = answers.length > 0 ? setsOf(answers) : lines.flatMap(meansIn);
  return sets.flatMap(({ part, ...set }) => {
    const when = places.get(part);
    if (when === undefined) return [];
    return [{ ...set, when, step: when === "while" ? set.step : when === "before" ? 0 : last }];
  });
}

type PlacelessSet = Omit<HeldOutSet, "when"> & { readonly part: string };

function setsOf(answers: readonly HeldOutLine[]): readonly PlacelessSet[] {
  const sets = new Map<string, HeldOutLine[]>();
  for (const line of answers) {
    const key = JSON.stringify([line.phase, line.step, line.decoded]);
    const set = sets.get(key) ?? [];
    sets.set(key, set);
    set.push(line);
  }
  return [...sets.values()].map((set) => {
    const { phase: part, step, decoded, figure } = set[0]!;
    return { part, step, decoded, figure, mean: meanOf(set), answers: set.map(textOf) };
  });
}

/** Held-out means in a line of metrics.jsonl; the second evaluation of a part is the greedy one. */
function meansIn(line: MetricsLine): readonly PlacelessSet[] {
  const { phase: part, step } = line;
  const isSampled = line["eval/reward"] !== undefined || line["eval/pass@1"] !== undefined || step === 1;
  return FIGURES.flatMap((figure) => {
    const mean = line[`eval/${figure}`] ?? line[figure];
    if (typeof mean !== "number") return [];
    return [
      { part, step, decoded: isSampled ? ("sampled" as const) : ("greedy" as const), figure, mean, answers: null },
    ];
  });
}

const FIGURES = ["pass@1", "reward"];

const textOf = ({
  problem,
  messages,
  answer,
  reward,
  malformed,
  thoughtTokens,
  answerTokens,
}: HeldOutLine): HeldOutText => ({
  ...{ problem, messages, answer, reward },
  ...{ malformed, thoughtTokens, answerTokens },
});

function meanOf(set: readonly HeldOutLine[]): number {
  const grades = set.flatMap(({ reward }) => reward ?? []);
  return grades.reduce((sum, grade) => sum + grade, 0) / grades.length;
}

function folderError(place: string, expected: string, got: string, advice: string): InputError {
  return new InputError("COMPARE_FOLDER", `[${place}] expected ${expected}, got ${got}; ${advice}`);
}
