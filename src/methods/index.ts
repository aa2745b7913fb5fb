// Every recipe, in the order in which `zazen recipes` lists them.
import { quickstartRecipe } from "./quickstart.js";
import type { Recipe } from "./recipe.js";
import { rewardModelRecipe } from "./reward-model.js";
import { rlmtRecipe } from "./rlmt.js";
import { warmStartRecipe } from "./rlmt-warm-start.js";
import { rlvrRecipe } from "./rlvr.js";
import { sftRecipe } from "./sft.js";
import { teachRecipe } from "./teach.js";
import { tryRlmtRecipe } from "./try-rlmt.js";

export const recipes: readonly Recipe[] = [
  quickstartRecipe,
  tryRlmtRecipe,
  sftRecipe,
  rewardModelRecipe,
  rlvrRecipe,
  warmStartRecipe,
  rlmtRecipe,
  teachRecipe,
];
