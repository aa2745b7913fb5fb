// `zazen recipes`: the recipes there are, or all settings of one with their defaults, ranges and help.
import { Command } from "commander";
import type { Setting } from "../config/describe.js";
import { InputError } from "../errors.js";
import type { Recipe } from "../methods/recipe.js";
import { clip, wrap } from "../report/format.js";
import { commonHelp, printJson, printLines } from "./output.js";

export interface RecipesOptions {
  /** A group of settings, or one setting, by its dotted key. */
  readonly section?: string;
  readonly schema?: boolean;
  readonly json?: boolean;
}

const defaultWidth = 15; // characters of a default in the table; --json has all of it
const widest = 100; // columns; longer lines are hard to read

const help = `
Examples:
  zazen recipes
  zazen recipes quickstart
  zazen recipes rlmt grpo.loss
  zazen recipes sft --schema > sft.schema.json

JSON: {recipes: [{name, summary}]}; with NAME {name, summary, settings: [{key, type, default, range, help, resume}]}, where
a setting that has to be given has no default, and resume is "free" or "raise" of one that may change on resume. --schema prints the JSON Schema of NAME's settings, with or without --json.`;

export function recipesCommand(): Command {
  return new Command("recipes")
    .summary("list recipes, or the settings of one")
    .description("Lists the recipes, or all settings of one with their defaults, ranges and help.")
    .argument("[NAME]", "name of a recipe")
    .argument("[SECTION]", "settings of one group alone, such as data or grpo.loss")
    .option("--schema", "print the JSON Schema of the recipe's settings")
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (name: string | undefined, section: string | undefined, options: RecipesOptions) => {
      const { recipes } = await import("../methods/index.js");
      await showRecipes(recipes, name, { ...options, ...(section !== undefined && { section }) });
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
  return showSettings(recipe, options);
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

async function showSettings(recipe: Recipe, { section, json }: RecipesOptions): Promise<void> {
  const { describeSettings, expectation } = await import("../config/describe.js");
  const all = describeSettings(recipe.schema);
  const settings = section === undefined ? all : await inSection(recipe.name, all, section);
  const { name, summary } = recipe;
  if (json) return printJson({ name, summary, settings });
  const { sectionLines } = await import("../report/table.js");
  const what = (each: Setting) =>
    [each.help.replace(/\.$/, ""), unbroken(expectation(each)), onResume(each)].filter(Boolean).join("; ");
  const sections = parts(settings).map(([part, own]) => ({
    title: `${part === "" ? "the whole run" : part}: --set ${assignment(own[0]?.key ?? "")} ...`,
    rows: own.map((each) => [each.key.slice(part.length).replace(/^\./, ""), showDefault(each), what(each)]),
  }));
  const lines = sectionLines(["setting", "default", "what it is; what it takes"], sections, { width: width() });
  const groups = new Set(parts(all).flatMap(([part]) => (part === "" ? [] : [part.replace("[]", "")])));
  const head = [
    `${name}: ${summary}`,
    ...(section === undefined && groups.size > 0
      ? [`sections: ${[...groups].join(", ")}; \`zazen recipes ${name} SECTION\` shows one`]
      : []),
  ];
  printLines([
    ...head.flatMap((line) => wrap(line, width())),
    "",
    ...lines.map((line) => line.replaceAll(noBreak, " ")),
  ]);
}

/** The settings of a group, or the one of that key. Throws InputError RECIPE_KEY where there is none. */
async function inSection(recipe: string, all: readonly Setting[], section: string): Promise<readonly Setting[]> {
  const own = all.filter(
    ({ key }) => key === section || key.startsWith(`${section}.`) || key.startsWith(`${section}[`),
  );
  if (own.length > 0) return own;
  const { knownKeys } = await import("../config/describe.js");
  const { didYouMean } = await import("../config/nearest.js");
  const advice = didYouMean(section, knownKeys(all)) || `; \`zazen recipes ${recipe}\` lists them`;
  throw new InputError("RECIPE_KEY", `[recipes ${recipe}] expected a group of its settings, got "${section}"${advice}`);
}

/** What `zazen train --resume --set` may do to a setting. */
const onResume = ({ resume }: Setting): string =>
  resume === undefined ? "" : resume === "free" ? "may change on resume" : "may be raised on resume";

const noBreak = "\u00a0";

/** "[0, 1]" as one word. */
const unbroken = (range: string): string =>
  range.replace(/, (\S+[\])])/, `,${noBreak}$1`).replace(/>= /, `>=${noBreak}`);

/** Settings by the part of the run that they belong to: the first word of a dotted key, or "" where there is no dot. */
function parts(settings: readonly Setting[]): readonly (readonly [part: string, settings: readonly Setting[]])[] {
  const groups = new Map<string, Setting[]>();
  for (const each of settings) {
    const part = each.key.includes(".") ? each.key.slice(0, each.key.indexOf(".")) : "";
    groups.set(part, [...(groups.get(part) ?? []), each]);
  }
  return [...groups];
}

/** How a setting is given; the fields of a list's groups only within the list. */
function assignment(key: string): string {
  const [list, field] = key.split("[].");
  return field === undefined ? `${key}=VALUE` : `'${list}=[{${field}: VALUE}]'`;
}

const width = (): number => Math.min(widest, process.stdout.columns || widest);

function showDefault({ key, default: value }: Setting): string {
  if (value === undefined) return key.includes("[].") ? "" : "(required)"; // an entry may be of another kind
  return clip(typeof value === "string" ? value : JSON.stringify(value), defaultWidth);
}

async function table(columns: readonly string[], rows: readonly (readonly string[])[]): Promise<readonly string[]> {
  const { tableLines } = await import("../report/table.js");
  return tableLines(columns, rows, { width: width() });
}
