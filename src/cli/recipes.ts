// `zazen recipes`: the recipes there are, or all settings of one with their defaults, ranges and help.
import { Command } from "commander";
import type { Setting } from "../config/describe.js";
import type { Recipe } from "../methods/recipe.js";
import { clip } from "../report/format.js";
import { commonHelp, printJson, printLines } from "./output.js";

export interface RecipesOptions {
  readonly schema?: boolean;
  readonly json?: boolean;
}

const defaultWidth = 24; // characters of a default in the table; --json has all of it

const help = `
Examples:
  zazen recipes
  zazen recipes quickstart
  zazen recipes sft --schema > sft.schema.json

JSON: {recipes: [{name, summary}]}; with NAME {name, summary, settings: [{key, type, default, range, help}]}, where a
setting that has to be given has no default. --schema prints the JSON Schema of NAME's settings, with or without --json.`;

export function recipesCommand(): Command {
  return new Command("recipes")
    .summary("list recipes, or the settings of one")
    .description("Lists the recipes, or all settings of one with their defaults, ranges and help.")
    .argument("[NAME]", "name of a recipe")
    .option("--schema", "print the JSON Schema of the recipe's settings")
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (name: string | undefined, options: RecipesOptions) => {
      const { recipes } = await import("../methods/index.js");
      await showRecipes(recipes, name, options);
    });
}

export async function showRecipes(
  recipes: readonly Recipe[],
  name: string | undefined,
  options: RecipesOptions,
): Promise<void> {
  const { findRecipe } = await import("./find-recipe.js");
  if (name === undefined && options.schema !== true) return showList(recipes, options.json === true);
  const recipe = findRecipe(recipes, name ?? "");
  if (options.schema === true) return showSchema(recipe);
  return showSettings(recipe, options.json === true);
}

async function showList(recipes: readonly Recipe[], json: boolean): Promise<void> {
  const list = recipes.map(({ name, summary }) => ({ name, summary }));
  if (json) return printJson({ recipes: list });
  printLines(
    await table(
      ["recipe", "summary"],
      list.map(({ name, summary }) => [name, summary]),
    ),
  );
}

async function showSchema(recipe: Recipe): Promise<void> {
  const { jsonSchema } = await import("../config/describe.js");
  printJson(jsonSchema(recipe.schema));
}

async function showSettings(recipe: Recipe, json: boolean): Promise<void> {
  const { describeSettings, expectation } = await import("../config/describe.js");
  const settings = describeSettings(recipe.schema);
  const { name, summary } = recipe;
  if (json) return printJson({ name, summary, settings });
  const row = (each: Setting) => [each.key, showDefault(each.default), expectation(each), each.help];
  const rows = await table(["setting", "default", "takes", "help"], settings.map(row));
  printLines([`${name}: ${summary}`, "", ...rows]);
}

function showDefault(value: unknown): string {
  if (value === undefined) return "(required)";
  return clip(typeof value === "string" ? value : JSON.stringify(value), defaultWidth);
}

async function table(columns: readonly string[], rows: readonly (readonly string[])[]): Promise<readonly string[]> {
  const { tableLines } = await import("../report/table.js");
  return tableLines(columns, rows, process.stdout.isTTY ? { width: process.stdout.columns } : {});
}
