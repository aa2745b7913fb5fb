// From what the user names (a recipe or a recipe file, and --set) to a recipe and its complete, frozen settings.
import { didYouMean } from "../config/nearest.js";
import { applySets, looksLikeFile, type RecipeFile, readRecipeFile } from "../config/recipe-file.js";
import { resolveSettings } from "../config/resolve.js";
import { InputError } from "../errors.js";
import type { Recipe } from "../methods/recipe.js";

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
  return { recipe, config: resolveSettings(recipe.name, recipe.schema, applySets(file.settings, sets)) };
}
