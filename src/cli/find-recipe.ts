// From what the user names (a recipe or a recipe file, and --set) to a recipe and its complete, frozen settings.
import { describeSettings } from "../config/describe.js";
import { didYouMean } from "../config/nearest.js";
import { applySets, looksLikeFile, type RecipeFile, readRecipeFile } from "../config/recipe-file.js";
import { resolveSettings } from "../config/resolve.js";
import { InputError } from "../errors.js";
import type { Recipe } from "../methods/recipe.js";
import { log } from "./output.js";

export interface RecipeRun {
  readonly recipe: Recipe;
  readonly config: unknown;
}

/** @throws InputError RECIPE_UNKNOWN */
export function findRecipe(recipes: readonly Recipe[], name: string): Recipe {
  const recipe = recipes.find((each) => each.name === name);
  if (recipe !== undefined) return recipe;
  const names = recipes.map((each) => each.name);
  const advice = didYouMean(name, names) || "; `zazen recipes` lists them";
  const message = `[recipe] expected one of ${names.join(", ")}, or a .yaml or .json file; got "${name}"${advice}`;
  throw new InputError("RECIPE_UNKNOWN", message);
}

/** A recipe of that name goes before a file; `target` is a file when it looks like one. */
export async function resolveTarget(
  recipes: readonly Recipe[],
  target: string,
  sets: readonly string[],
): Promise<RecipeRun> {
  const known = recipes.some((each) => each.name === target);
  const isFile = !known && looksLikeFile(target);
  const file: RecipeFile = isFile ? await readRecipeFile(target) : { recipe: target, settings: {} };
  const recipe = findRecipe(recipes, file.recipe);
  const config = resolveSettings(recipe.name, recipe.schema, applySets(file.settings, sets));
  for (const hint of emptyHints(recipe, sets)) log(hint);
  return { recipe, config };
}

/** `--set key=` is null in YAML: where null and texts are allowed, an empty text may have been meant. */
function emptyHints({ schema }: Recipe, sets: readonly string[]): readonly string[] {
  const keys = sets.filter((set) => set.trimEnd().endsWith("=")).map((set) => set.trimEnd().slice(0, -1));
  if (keys.length === 0) return [];
  const types = new Map(describeSettings(schema).map(({ key, type }) => [key, type.split(" | ")]));
  const isEither = (key: string) => ["null", "string"].every((type) => types.get(key)?.includes(type));
  return keys
    .filter(isEither)
    .map((key) => `--set ${key}= sets null, the default; for an empty text write --set '${key}=""'`);
}
