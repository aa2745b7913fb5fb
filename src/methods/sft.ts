// Recipe `sft`: supervised fine-tuning of a model folder, or of a model made from scratch, on files, data sets of the
// hub, or the built-in trial.
import { z } from "zod";
import { counted } from "../config/counted.js";
import { dataSetting, showSources } from "../config/data.js";
import { group, onDisk } from "../config/fragments.js";
import { Engine } from "../engine/engine.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import type { ModelSpec } from "../engine/types.js";
import { InputError } from "../errors.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import { TRIAL_VOCAB_SIZE, trialSplit } from "../tasks/countdown-trial.js";
import { openPolicy, type PolicyOrigin } from "../train/open-policy.js";
import { examplesPart } from "./data-settings.js";
import {
  keepingSettings,
  learnerOptions,
  learnerSettings,
  patienceCan,
  patienceFault,
  rowsSettings,
} from "./learner-settings.js";
import { foreseeMemory, mostTokens, policyModel, sftWorkload } from "./memory.js";
import { foldersOf } from "./model-folders.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { heldOutSettings, llamaSpec, scratchModel, sftPart } from "./settings.js";
import { fileData, type SupervisedData, supervise } from "./supervised.js";
import { demonstrationPart, heldOutDemonstrations, trialDemonstrations, trialSpec, trialTokenizer } from "./trial.js";
import { loraLines, trialQuestion } from "./words.js";

const trialName = "countdown-trial";
/** Nobody means to train a toy by leaving out what they have. */
const demonstrationLine =
  "neither model nor data is set: this is the built-in demonstration, a tiny model from scratch that learns Countdown; set model and data for your own";

const settings = z.strictObject({
  ...learnerSettings(),
  model: z
    .string()
    .default("")
    .describe("Folder of the model to start from; empty makes one from scratch.")
    .meta(onDisk("folder")),
  scratch: scratchModel(),
  tokenizer: z
    .string()
    .default("")
    .describe("Folder with the tokenizer of a model from scratch that learns a file.")
    .meta(onDisk("folder")),
  data: dataSetting(trialName, `Rows of {prompt, completion} or {messages}, or ${trialName}, the built-in trial.`),
  ...rowsSettings(),
  examples: examplesPart(),
  thinking: z.boolean().default(true).describe("Whether demonstrations of the built-in trial think."),
  demonstrations: demonstrationPart(),
  sft: sftPart({
    steps: 500,
    tokensPerStep: 4096,
    optimizer: { learningRate: 1e-4, schedule: "cosine", warmupSteps: 20 },
  }),
  evaluation: group({
    data: dataSetting("", "Held-out demonstrations; the built-in trial has its own."),
    demonstrations: z.int().min(1).max(100_000).default(256).describe("Held-out demonstrations, at most."),
    ...heldOutSettings,
  }),
  ...keepingSettings({ every: 100 }),
});
const schema = settings.refine(patienceCan, patienceFault);

export type SftConfig = z.output<typeof schema>;

/** The recipe on engines from `engines`. */
export function makeSft(engines: EngineSource): Recipe<SftConfig> {
  return {
    name: "sft",
    summary: "Supervised fine-tuning on demonstrations: files, data sets of the hub, or the built-in trial.",
    schema,
    plan: describePlan,
    memory: foresee,
    run: (config, context) => sft(engines, config, context),
  };
}

export const sftRecipe = makeSft(Engine);

async function sft(engines: EngineSource, config: SftConfig, context: RunContext): Promise<RunSummary> {
  await using engine = await openPolicy(context, "sft", await origin(engines, config));
  using data = await openData(config, engine, context);
  return await supervise(engine, { recipe: "sft", config, data, plan: config.sft }, context);
}

async function origin(engines: EngineSource, config: SftConfig): Promise<PolicyOrigin> {
  const options = learnerOptions(config);
  if (config.model !== "") return { engines, from: config.model, options };
  if (config.lora.rank > 0 || config.lora.base !== "") throw noBase();
  return { engines, from: { spec: await scratchSpec(config), seed: config.seed }, options };
}

/** Of a policy from scratch. */
async function scratchSpec(config: SftConfig): Promise<ModelSpec> {
  return config.data === trialName ? trialSpec(config.scratch) : fileSpec(config);
}

/** Adapters of random weights that no file has would be of no use. */
function noBase(): InputError {
  const message = "[recipe sft] lora: expected a model for it to stand on, got one from scratch; set model";
  return new InputError("RECIPE_VALUE", message);
}

async function fileSpec({ scratch, tokenizer: folder }: SftConfig) {
  if (folder === "") {
    throw new InputError(
      "RECIPE_VALUE",
      "[recipe sft] tokenizer: expected a folder with tokenizer.json for a model from scratch, got nothing; set tokenizer or model",
    );
  }
  using tokenizer = await Tokenizer.load(folder);
  const { vocabSize, bosId, eosId } = tokenizer;
  return llamaSpec({ ...scratch, vocabSize, bosTokenId: bosId, eosTokenId: eosId });
}

async function openData(config: SftConfig, engine: EngineLike, context: RunContext): Promise<SupervisedData> {
  if (config.data === trialName) return trialData(config, engine);
  const { model, lora } = config;
  const folder = model === "" ? config.tokenizer : (await foldersOf(model, lora)).tokenizer;
  return fileData("sft", config, { folder, engine }, context);
}

function trialData(config: SftConfig, { spec }: EngineLike): SupervisedData {
  if (spec.vocabSize !== TRIAL_VOCAB_SIZE) {
    throw new InputError(
      "RECIPE_VALUE",
      `[recipe sft] model: expected the trial's vocabulary of ${TRIAL_VOCAB_SIZE} tokens, got ${spec.vocabSize}; set data to a file`,
    );
  }
  const { seed, thinking } = config;
  const { train, evaluation, monitor } = trialSplit();
  const options = { ...config.demonstrations, thinking };
  const watched = config.evaluation.every === 0 ? [] : monitor.slice(0, config.evaluation.demonstrations);
  return {
    demonstrations: trialDemonstrations(train, seed, 0, options),
    longest: spec.maxPositions,
    heldOut: heldOutDemonstrations(watched, seed, options),
    tokenizer: trialTokenizer(spec.maxPositions),
    question: trialQuestion(evaluation[0]!, thinking),
    reports: [],
    [Symbol.dispose]: () => {},
  };
}

function foresee(config: SftConfig): Promise<string> {
  const { model, data, examples, sft, lora } = config;
  return foreseeMemory({
    model: async () => (model === "" ? { spec: await scratchSpec(config) } : policyModel(model, lora)),
    options: learnerOptions(config),
    workload: ({ maxPositions }) => sftWorkload(sft, mostTokens(examples.maxTokens, maxPositions)),
    proposals: { adapters: model !== "" },
    bounded: data !== trialName,
  });
}

function describePlan({ model, scratch, data, sft, lora }: SftConfig): readonly string[] {
  const fresh = `from scratch, width ${scratch.width}, ${scratch.layers} layers`;
  const isTrial = model === "" && data === trialName;
  return [
    ...(isTrial ? [demonstrationLine] : []),
    `model: ${model === "" ? fresh : model}`,
    ...loraLines(lora),
    `data: ${showSources(data)}`,
    `SFT: ${counted(sft.steps, "step")} of ${counted(sft.tokensPerStep, "token")}, learning rate ${sft.optimizer.learningRate}`,
  ];
}
