// Recipe `sft`: supervised fine-tuning of a model folder, or of a model made from scratch, on a JSONL file or on the built-in trial.
import { z } from "zod";
import { OrderedSource } from "../data/order.js";
import { Engine } from "../engine/engine.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import { InputError } from "../errors.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import { TRIAL_VOCAB_SIZE, trialSplit } from "../tasks/countdown-trial.js";
import { Run } from "../train/run.js";
import { copyTokenizer, type TokenizerWriter } from "../train/run-folder.js";
import { type DemonstrationSource, trainSft } from "../train/sft.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { engineOptions, llamaSpec, logging, scratchModel, seed, sftPart, threads } from "./settings.js";
import { loadDemonstrations } from "./sft-data.js";
import { demonstrationPart, trialDemonstrations, trialSpec, trialTokenizer } from "./trial.js";
import { sayNext, saySize, standInPrompt, trialPrompt } from "./words.js";

const trialName = "countdown-trial";

const schema = z.strictObject({
  seed: seed(),
  threads: threads(),
  model: z.string().default("").describe("Folder of the model to start from; empty makes one from scratch."),
  scratch: scratchModel(),
  tokenizer: z.string().default("").describe("Folder with the tokenizer of a model from scratch that learns a file."),
  data: z
    .string()
    .min(1)
    .default(trialName)
    .describe(`JSONL file of {prompt, completion} or {messages}, or ${trialName}, the built-in trial.`),
  thinking: z.boolean().default(true).describe("Whether demonstrations of the built-in trial think."),
  demonstrations: demonstrationPart(),
  sft: sftPart({
    steps: 500,
    tokensPerStep: 4096,
    optimizer: { learningRate: 1e-4, schedule: "cosine", warmupSteps: 20 },
  }),
  logging: logging(),
});

export type SftConfig = z.output<typeof schema>;

/** The recipe on engines from `engines`. */
export function makeSft(engines: EngineSource): Recipe<SftConfig> {
  return {
    name: "sft",
    summary: "Supervised fine-tuning on demonstrations: a JSONL file or the built-in trial.",
    schema,
    plan: describePlan,
    run: (config, context) => sft(engines, config, context),
  };
}

export const sftRecipe = makeSft(Engine);

async function sft(engines: EngineSource, config: SftConfig, context: RunContext): Promise<RunSummary> {
  const { steps, tokensPerStep, optimizer } = config.sft;
  await using engine = await openModel(engines, config);
  const { demonstrations, tokenizer, tryPrompt } = await openData(config, engine);
  // Only now: bad input leaves the folder empty, and the corrected command may use it.
  using run = new Run(context, "sft", config, [{ name: "sft", title: "SFT on demonstrations", steps, work: 1 }]);
  saySize(run, engine);
  run.begin("sft");
  const cost = await trainSft(run, engine, { steps, tokensPerStep, optimizer, demonstrations });
  const model = await run.folder.saveModel("model", engine, tokenizer);
  sayNext(run, model, tryPrompt);
  const summary = { recipe: "sft", seed: config.seed, parameters: engine.parameters, model, train: cost };
  run.folder.summary(summary);
  return summary;
}

async function openModel(engines: EngineSource, config: SftConfig): Promise<EngineLike> {
  if (config.model !== "") return engines.load(config.model, engineOptions(config));
  const spec = config.data === trialName ? trialSpec(config.scratch) : await fileSpec(config);
  return engines.create(spec, { seed: config.seed }, engineOptions(config));
}

async function fileSpec({ scratch, tokenizer: folder }: SftConfig) {
  if (folder === "") {
    throw new InputError(
      "RECIPE_VALUE",
      "[recipe sft] tokenizer: expected a folder with tokenizer.json for a model from scratch, got nothing; set tokenizer or model",
    );
  }
  const { vocabSize, bosId, eosId } = await Tokenizer.load(folder);
  return llamaSpec({ ...scratch, vocabSize, bosTokenId: bosId, eosTokenId: eosId });
}

interface Data {
  readonly demonstrations: DemonstrationSource;
  readonly tokenizer: TokenizerWriter;
  /** What a user may ask the trained model. */
  readonly tryPrompt: string;
}

async function openData(config: SftConfig, engine: EngineLike): Promise<Data> {
  return config.data === trialName ? trialData(config, engine) : fileData(config, engine);
}

function trialData(config: SftConfig, { spec }: EngineLike): Data {
  if (spec.vocabSize !== TRIAL_VOCAB_SIZE) {
    throw new InputError(
      "RECIPE_VALUE",
      `[recipe sft] model: expected the trial's vocabulary of ${TRIAL_VOCAB_SIZE} tokens, got ${spec.vocabSize}; set data to a file`,
    );
  }
  const { seed, thinking } = config;
  const { train, evaluation } = trialSplit();
  const demonstrations = trialDemonstrations(train, seed, 0, { ...config.demonstrations, thinking });
  const tryPrompt = trialPrompt(evaluation[0]!, thinking);
  return { demonstrations, tokenizer: trialTokenizer(spec.maxPositions), tryPrompt };
}

async function fileData(config: SftConfig, { spec }: EngineLike): Promise<Data> {
  const folder = config.model === "" ? config.tokenizer : config.model;
  const tokenizer = await Tokenizer.load(folder);
  const eosId = tokenizer.eosId ?? spec.eosTokenIds[0] ?? null;
  const records = await loadDemonstrations(config.data, folder, tokenizer, eosId, spec.maxPositions);
  const source = new OrderedSource(records, { seed: config.seed, epoch: 0, position: 0 });
  const demonstrations: DemonstrationSource = {
    next: () => source.next(1)[0]!,
    save: () => source.save(),
    restore: (state) => source.restore(state),
  };
  return { demonstrations, tokenizer: copyTokenizer(folder), tryPrompt: standInPrompt };
}

function describePlan({ model, scratch, data, sft }: SftConfig): readonly string[] {
  const fresh = `from scratch, width ${scratch.width}, ${scratch.layers} layers`;
  return [
    `model: ${model === "" ? fresh : model}`,
    `data: ${data}`,
    `SFT: ${sft.steps} steps of ${sft.tokensPerStep} tokens, learning rate ${sft.optimizer.learningRate}`,
  ];
}
