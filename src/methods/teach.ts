// Recipe `teach`: demonstrations for a warm start from a teacher, which plans and then responds: a model of an OpenAI-compatible endpoint, or
// a model folder (Bhaskar et al., "Language models that think, chat better", 2025, "SFT warm start"). It trains nothing. The run folder has
// answers.jsonl, every answer as it came, and demonstrations.jsonl, the rows that passed the filters, in the order of the prompts.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { dataSetting, showSources } from "../config/data.js";
import { endpointPart } from "../config/endpoint.js";
import { group, onDisk, onResume, sampling } from "../config/fragments.js";
import { Endpoint } from "../endpoint/endpoint.js";
import { Engine } from "../engine/engine.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import type { Workload } from "../engine/memory.js";
import { modelFolders } from "../engine/peft.js";
import { InputError } from "../errors.js";
import { ChatTemplate } from "../prompt/chat.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import { languageDetector, STRAY_TAGS, TEACHER_TAGS, type TeacherTags } from "../prompt/warm-start.js";
import { isFiltered } from "../rollout/sampling.js";
import type { Run } from "../train/run.js";
import { chatPart, templateOptions } from "./data-settings.js";
import { withVocabulary } from "./generation.js";
import { foreseeMemory, policyModel, takeMemory } from "./memory.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { engineSettings, seed } from "./settings.js";
import { journalFile } from "./teach-journal.js";
import { type Lessons, openLessons, TEACHER_TEMPLATE, teacherText } from "./teach-prompts.js";
import { Records, type School } from "./teach-records.js";
import { endpointTeacher, localTeacher } from "./teachers.js";

/** Between two notes on requests that are sent again. */
const RETRY_NOTES_MS = 10_000;

const { device, threads, dtype, kvBytes } = engineSettings;
const tag = (text: string) => z.string().min(1).default(text);
const filter = (what: string) => z.boolean().default(true).describe(what);

const schema = z.strictObject({
  seed: seed(),
  data: dataSetting(
    "",
    "Rows with a prompt: text, or messages with one turn of the user; an answer behind it is left out.",
  ),
  model: z
    .string()
    .default("")
    .describe("Folder of a model that teaches; empty: the endpoint does.")
    .meta(onDisk("folder")),
  endpoint: endpointPart(),
  ...{ device, threads, dtype, kvBytes },
  chat: chatPart(),
  raw: z.boolean().default(false).describe("Ask a model folder by plain text, without its chat template."),
  batch: z
    .int()
    .min(1)
    .max(65_536)
    .default(64)
    .describe("Prompts that a model folder answers at once.")
    .meta(onResume("free")),
  template: z
    .string()
    .refine((text) => text.includes("{prompt}"), "a text with {prompt}")
    .default(TEACHER_TEMPLATE)
    .describe("What is asked, with {prompt} and the tags by their names, {thoughtOpen} and so on, in their places."),
  tags: group({
    thoughtOpen: tag(TEACHER_TAGS.thinking[0]).describe("Opens the plan."),
    thoughtClose: tag(TEACHER_TAGS.thinking[1]).describe("Closes it."),
    responseOpen: tag(TEACHER_TAGS.response[0]).describe("Opens the response."),
    responseClose: tag(TEACHER_TAGS.response[1]).describe("Closes it."),
  }),
  sampling: sampling({ temperature: 0.7, maxTokens: 4096 }),
  tries: z.int().min(1).max(100).default(2).describe("Times a prompt is asked until an answer passes the filters."),
  filters: group({
    strayTags: z
      .array(z.string().min(1))
      .default([...STRAY_TAGS])
      .describe("Texts that neither plan nor response may hold beside their own tags."),
    english: filter("Only English, told by n-grams of letters; what cannot be told stays."),
  }),
  maxFailures: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(20)
    .describe("Prompts in a row that the endpoint may refuse, or answer without a text, before the run stops.")
    .meta(onResume("free")),
  logging: group({
    every: z.int().min(1).default(16).describe("Prompts between two lines of metrics.jsonl."),
  }).meta(onResume("free")),
});

export type TeachConfig = z.output<typeof schema>;

/** The recipe, with model folders on engines from `engines`. */
export function makeTeach(engines: EngineSource): Recipe<TeachConfig> {
  return {
    name: "teach",
    summary: "Demonstrations for a warm start from a teacher: a model folder, or an OpenAI-compatible endpoint.",
    schema,
    plan: describePlan,
    memory: foresee,
    standing: (out) => (existsSync(join(out, journalFile)) ? `what ${join(out, journalFile)} has` : null),
    run: (config, context) => teach(engines, config, context),
  };
}

export const teachRecipe = makeTeach(Engine);

async function teach(engines: EngineSource, config: TeachConfig, context: RunContext): Promise<RunSummary> {
  if (config.data === "") throw valueError("data", "rows with a prompt, got nothing; set data");
  requireOneTeacher(config);
  const { tags, filters, tries } = config;
  const languageOf = filters.english ? await languageDetector() : null;
  const lessons = await openLessons(config.data, languageOf, context.signal);
  await using school = await openSchool(engines, config, context, lessons);
  // Only now: bad input leaves the folder empty, and the corrected command may use it.
  using records = new Records(context, config, lessons, school);
  return await records.keep({ tags: tagsOf(tags), filters: { strayTags: filters.strayTags, languageOf }, tries });
}

/** Throws InputError RECIPE_VALUE for no teacher or two, and for sampling that an endpoint does not know. */
function requireOneTeacher({ model, endpoint, sampling }: TeachConfig): void {
  const both = model !== "" && endpoint.baseURL !== "";
  if (both || (model === "" && endpoint.baseURL === "")) {
    const got = both ? "both" : "neither";
    throw valueError("model, endpoint.baseURL", `one of the two, got ${got}; set model=DIR or endpoint.baseURL=URL`);
  }
  if (model === "" && (isFiltered({ ...sampling, topP: 1 }) || sampling.eosTokenIds.length > 0)) {
    const known = "temperature, topP, maxTokens and stopStrings";
    throw valueError(
      "sampling",
      `${known} for an endpoint, got others; give them by endpoint.extra, as the endpoint calls them`,
    );
  }
}

function valueError(key: string, message: string): InputError {
  return new InputError("RECIPE_VALUE", `[recipe teach] ${key}: expected ${message}`);
}

const tagsOf = ({ thoughtOpen, thoughtClose, responseOpen, responseClose }: TeachConfig["tags"]): TeacherTags => ({
  thinking: [thoughtOpen, thoughtClose],
  response: [responseOpen, responseClose],
});

function openSchool(
  engines: EngineSource,
  config: TeachConfig,
  context: RunContext,
  { lessons }: Lessons,
): Promise<School> {
  const textOf = (prompt: string) => teacherText(config.template, tagsOf(config.tags), prompt);
  const texts = lessons.map(({ prompt }) => textOf(prompt));
  return config.model === "" ? endpointSchool(config, context, texts) : localSchool(engines, config, context, texts);
}

async function endpointSchool(config: TeachConfig, context: RunContext, texts: readonly string[]): Promise<School> {
  const { sampling, maxFailures: mostFailures, seed } = config;
  let told = Number.NEGATIVE_INFINITY;
  const onRetry = (text: string) => {
    if (performance.now() - told < RETRY_NOTES_MS) return;
    told = performance.now();
    context.emit({ type: "note", level: "warning", text });
  };
  const endpoint = await Endpoint.open(config.endpoint, { seed, onRetry });
  const { concurrency } = config.endpoint;
  const teach = endpointTeacher({
    endpoint,
    concurrency,
    textOf: ({ index }) => texts[index]!,
    sampling,
    mostFailures,
  });
  return { name: endpoint.name, teach, endpoint, [Symbol.asyncDispose]: async () => {} };
}

async function localSchool(
  engines: EngineSource,
  config: TeachConfig,
  context: RunContext,
  texts: readonly string[],
): Promise<School> {
  const { model, sampling, seed, batch } = config;
  const folders = await modelFolders(model);
  const tokenizer = await Tokenizer.load(folders.tokenizer);
  let engine: EngineLike | null = null;
  const dispose = async () => {
    tokenizer[Symbol.dispose]();
    await engine?.dispose();
  };
  try {
    const prompts = await encodeTexts(config, folders.tokenizer, tokenizer, texts);
    const loaded = await engines.load(model, inferenceOptions(config));
    engine = await withVocabulary(loaded, sampling, () => tokenizer.tokenBytes());
    await reserve(engine, config, prompts, context);
    const teach = localTeacher({ engine, tokenizer, prompts, sampling, seed, batch });
    return { name: model, teach, endpoint: null, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Says what the run takes, and takes it. Throws InputError MEMORY_PLAN. */
async function reserve(
  engine: EngineLike,
  config: TeachConfig,
  prompts: readonly Int32Array[],
  context: RunContext,
): Promise<void> {
  const longest = prompts.reduce((most, { length }) => Math.max(most, length), 1);
  const count = Math.min(config.batch, prompts.length);
  const workload = workloadOf(config, count, Math.min(longest, engine.spec.maxPositions - 1));
  const note: Run["note"] = (level, text) => context.emit({ type: "note", level, text });
  await takeMemory({ note }, engine, workload);
}

const inferenceOptions = ({ device, threads, dtype, kvBytes }: TeachConfig) => ({
  ...{ trainable: false, device, dtype, kvBytes },
  ...(threads === 0 ? {} : { threads }),
});

function workloadOf({ sampling }: TeachConfig, prompts: number, promptTokens: number): Workload {
  const { maxTokens } = sampling;
  return { generate: [{ prompts, promptTokens, samplesPerPrompt: 1, maxTokens }] };
}

/** Throws InputError CHAT_TEMPLATE_MISSING. */
async function encodeTexts(
  { raw, chat }: TeachConfig,
  folder: string,
  tokenizer: Tokenizer,
  texts: readonly string[],
): Promise<readonly Int32Array[]> {
  if (raw) return tokenizer.encodeAll(texts);
  const template = await ChatTemplate.load(folder, templateOptions(chat));
  if (template !== null) {
    const rendered = await template.renderAll(texts.map((content) => [{ role: "user", content }] as const));
    return tokenizer.encodeAll(rendered, { addSpecialTokens: false });
  }
  const message = `[${folder}] expected a chat template of the teacher, got none; set raw=true to ask by plain text`;
  throw new InputError("CHAT_TEMPLATE_MISSING", message);
}

function foresee(config: TeachConfig): Promise<string> {
  const { model, sampling } = config;
  if (model === "") return Promise.resolve("memory: next to none, the endpoint has the model");
  return foreseeMemory({
    model: () => policyModel(model, { base: "" }),
    options: inferenceOptions(config),
    workload: ({ maxPositions }) => workloadOf(config, config.batch, Math.max(1, maxPositions - sampling.maxTokens)),
    bounded: true,
  });
}

function describePlan({ model, endpoint, data, sampling, tries, filters }: TeachConfig): readonly string[] {
  const rows = data === "" ? "none" : showSources(data);
  return [
    `teacher: ${model === "" ? endpointWords(endpoint) : model}`,
    `data: ${rows}, each prompt up to ${tries} times${filters.english ? ", English only" : ""}`,
    `sampling: temperature ${sampling.temperature}, up to ${sampling.maxTokens} new tokens`,
  ];
}

function endpointWords({ baseURL, model, concurrency, price }: TeachConfig["endpoint"]): string {
  if (baseURL === "") return "none";
  const paid = price.input + price.output > 0 ? `, ${price.input} and ${price.output} a million tokens in and out` : "";
  return `${model} at ${baseURL}, ${concurrency} requests at once${paid}`;
}
