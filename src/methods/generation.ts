// What recipes that sample do before they begin: tell the engine what tokens write where that is needed, and the user which recommendations
// of the model's files training leaves out.
import { join } from "node:path";
import type { SamplingSettings } from "../config/fragments.js";
import { namedValues, notFollowed, recommendedSampling, unknownSampling } from "../engine/generation-config.js";
import type { EngineLike } from "../engine/like.js";
import type { TokenBytes } from "../engine/types.js";
import { needsVocabulary } from "../rollout/sampling.js";
import { foldersOf } from "./model-folders.js";
import type { RunContext } from "./recipe.js";

/** The engine, which knows the vocabulary where stop strings or a constraint ask for it; disposed where that fails. */
export async function withVocabulary(
  engine: EngineLike,
  sampling: SamplingSettings,
  vocabulary: () => TokenBytes,
): Promise<EngineLike> {
  if (!needsVocabulary(sampling)) return engine;
  try {
    await engine.useVocabulary(vocabulary());
    return engine;
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}

/** Where a run begins, and how it samples. */
interface StartingModel {
  readonly model: string;
  /** "" is the base that an adapter names. */
  readonly lora: { readonly base: string };
  readonly sampling: SamplingSettings;
  /** The group of settings that has the sampling. */
  readonly group: string;
}

/**
 * Sampling parameters that generation_config.json of the model, or of its base, recommends and the recipe does otherwise, by the file's
 * names; says so where there are any.
 */
export async function ignoredRecommendations(
  { model, lora, sampling, group }: StartingModel,
  context: Pick<RunContext, "emit">,
): Promise<Readonly<Record<string, unknown>>> {
  const { base } = await foldersOf(model, lora);
  const ignored = { ...notFollowed(await recommendedSampling(base), sampling), ...(await unknownSampling(base)) };
  if (Object.keys(ignored).length > 0) {
    const file = join(base, "generation_config.json");
    const text = `${file} recommends ${namedValues(ignored)}: ignored, since training samples as ${group}.sampling says`;
    context.emit({ type: "note", level: "info", text });
  }
  return ignored;
}
