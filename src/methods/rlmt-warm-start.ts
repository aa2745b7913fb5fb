// Recipe `rlmt-warm-start`: supervised fine-tuning on prompts, thoughts and responses before `rlmt` (Bhaskar et al., "Language models that
// think, chat better", 2025, "SFT warm start"). Filters and defaults are the paper's. thinking=false is its other arm: the same rows in the
// same order, their thoughts dropped.
import { z } from "zod";
import { counted } from "../config/counted.js";
import { dataSetting, showSources } from "../config/data.js";
import { group, onDisk } from "../config/fragments.js";
import { Engine } from "../engine/engine.js";
import type { EngineSource } from "../engine/like.js";
import { InputError } from "../errors.js";
import { writeCompletion } from "../prompt/thinking.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import { languageDetector, STRAY_TAGS } from "../prompt/warm-start.js";
import { openPolicy } from "../train/open-policy.js";
import { startTemplate } from "./chat-start.js";
import { examplesPart } from "./data-settings.js";
import { endOfTurnIds, formatFrom, formatSettings } from "./format-settings.js";
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
import { epochSteps, epochsPart, heldOutSettings } from "./settings.js";
import { fileData, type Shaping, supervise } from "./supervised.js";
import { warmStartShape } from "./warm-start-rows.js";
import { loraLines, standIn } from "./words.js";

const filter = (what: string) => z.boolean().default(true).describe(what);

const settings = z.strictObject({
  ...learnerSettings(),
  model: z.string().min(1).describe("Folder of the model to start from.").meta(onDisk("folder")),
  data: dataSetting(
    "",
    "Rows of {prompt, thinking, response}, or of {prompt, completion} or {messages} whose answer is one text with <think> and <response>.",
  ),
  ...rowsSettings(),
  examples: examplesPart(),
  ...formatSettings,
  filters: group({
    oneTurn: filter("Only one turn of the user and one of the assistant."),
    wellFormed: filter(
      "One text starts with <think>, has one thinking block and a response block, and nothing else; off: the response's tags may be missing.",
    ),
    strayTags: z
      .array(z.string().min(1))
      .default([...STRAY_TAGS])
      .describe("Texts that neither thought nor response may hold."),
    english: filter("Only English, told by n-grams of letters; what cannot be told stays."),
    uniquePrompts: filter("Only the first row of a prompt."),
  }),
  sft: epochsPart({
    epochs: 2,
    batch: 16,
    warmupShare: 0.1,
    optimizer: { learningRate: 4e-6, schedule: "cosine", weightDecay: 1e-4, beta1: 0.9, beta2: 0.95 },
  }),
  evaluation: group({
    data: dataSetting("", "Held-out rows of the same form."),
    demonstrations: z.int().min(1).max(100_000).default(256).describe("Held-out demonstrations, at most."),
    ...heldOutSettings,
  }),
  ...keepingSettings({ every: 100 }),
});
const schema = settings.refine(patienceCan, patienceFault);

export type WarmStartConfig = z.output<typeof schema>;

/** The recipe on engines from `engines`. */
export function makeWarmStart(engines: EngineSource): Recipe<WarmStartConfig> {
  return {
    name: "rlmt-warm-start",
    summary: "Supervised fine-tuning on prompts, thoughts and responses, before rlmt.",
    schema,
    plan: describePlan,
    memory: foresee,
    check: requireWholeTurns,
    run: (config, context) => warmStart(engines, config, context),
  };
}

export const warmStartRecipe = makeWarmStart(Engine);

async function warmStart(engines: EngineSource, config: WarmStartConfig, context: RunContext): Promise<RunSummary> {
  if (config.data === "") {
    throw new InputError("RECIPE_VALUE", "[recipe rlmt-warm-start] data: expected rows, got nothing; set data");
  }
  const format = formatFrom(config);
  const { tokenizer: folder } = await foldersOf(config.model, config.lora);
  await requireWholeTurns(config);
  const { filters } = config;
  const rules = { ...filters, languageOf: filters.english ? await languageDetector() : null };
  const shaping = (tokenizer: Tokenizer): Shaping => ({
    endId: endOfTurnIds(format, tokenizer)[0],
    question: standIn(format),
    shape: () => warmStartShape(format, rules),
  });
  await using engine = await openPolicy(context, "sft", {
    engines,
    from: config.model,
    options: learnerOptions(config),
  });
  using data = await fileData("rlmt-warm-start", config, { folder, engine }, context, shaping);
  const plan = { ...epochSteps(config.sft, data.count), tokensPerStep: config.sft.batch * data.longest };
  return await supervise(engine, { recipe: "rlmt-warm-start", config, data, plan }, context);
}

/** Some templates take the thought out of what the assistant says. Throws InputError CHAT_TEMPLATE_CONTENT for one, CHAT_TEMPLATE_MISSING. */
async function requireWholeTurns(config: WarmStartConfig): Promise<void> {
  const template = await startTemplate("rlmt-warm-start", config);
  if (template === null) return;
  const format = formatFrom(config);
  const completion = writeCompletion(format, "A thought", "An answer");
  const turns = [
    { role: "user", content: "A question" },
    { role: "assistant", content: completion },
  ] as const;
  const text = await template.render(turns, { addGenerationPrompt: false });
  if (text.includes(completion)) return;
  throw new InputError(
    "CHAT_TEMPLATE_CONTENT",
    `[recipe rlmt-warm-start] expected a chat template of ${config.model} that writes the assistant's turn as it is, ${JSON.stringify(completion)}, got ` +
      `${JSON.stringify(text)}; set format.completion to what it leaves whole, chat.kwargs or chat.template`,
  );
}

function foresee(config: WarmStartConfig): Promise<string> {
  const { model, examples, sft, lora } = config;
  return foreseeMemory({
    model: () => policyModel(model, lora),
    options: learnerOptions(config),
    workload: ({ maxPositions }) => {
      const longest = mostTokens(examples.maxTokens, maxPositions);
      return sftWorkload({ tokensPerStep: sft.batch * longest }, longest);
    },
    bounded: true,
  });
}

function describePlan({ model, data, start, thinking, sft, lora }: WarmStartConfig): readonly string[] {
  return [
    `model: ${model}`,
    ...loraLines(lora),
    `data: ${showSources(data)}, ${start} start, ${thinking ? "thinking" : "no thinking: thoughts are dropped"}`,
    `SFT: ${counted(sft.epochs, "epoch")} in steps of ${counted(sft.batch, "demonstration")}, learning rate ${sft.optimizer.learningRate}`,
  ];
}
