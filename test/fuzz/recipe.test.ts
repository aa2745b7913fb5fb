// Fuzz of recipe files with --set: YAML and JSON to complete settings. An accepted file, written with every setting as YAML and as JSON,
// gives the same settings.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { stringify } from "yaml";
import { findRecipe, resolveTarget } from "../../src/cli/find-recipe.js";
import { checkChanges } from "../../src/config/changes.js";
import { applySets, formatRecipe, readRecipeFile } from "../../src/config/recipe-file.js";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import type { Random } from "../../src/data/random.js";
import { recipes } from "../../src/methods/index.js";
import type { Recipe } from "../../src/methods/recipe.js";
import { fuzzTests } from "./define.js";
import { asJson, type Files, type Target } from "./fuzz.js";
import { damageBytes, mutateJsonFile, mutateLines, mutateValue, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";

const resolve = (recipe: Recipe, settings: Settings): Settings =>
  resolveSettings(recipe.name, recipe.schema, settings) as Settings;

/** Every recipe with every setting, and what a user writes by hand. */
const SEEDS: readonly Settings[] = [
  ...recipes.map((recipe) => ({
    recipe: recipe.name,
    ...resolve(recipe, ["rlvr", "rlmt-warm-start", "rlmt"].includes(recipe.name) ? { model: "m" } : {}),
  })),
  {
    recipe: "sft",
    model: "m",
    data: [
      { source: "a.jsonl", weight: 3 },
      { hub: "a/b", where: { lang: ["en", null] }, limit: 5 },
    ],
  },
  { recipe: "sft", chat: { kwargs: { on: true, deep: { x: [1, null] } }, date: "2025-01-31" }, sft: { steps: 3 } },
  { recipe: "rlvr", rewards: [{ kind: "maths" }, { kind: "format", weight: 0.1 }], grpo: { loss: { clipHigh: 0.28 } } },
  { recipe: "rlvr", lora: { rank: 4, targets: ["q_proj"] }, grpo: { optimizer: { learningRate: 1e-5 }, steps: 2 } },
];
const WORDS = wordsOf(SEEDS);
const BY_HAND = [
  "# a comment\nrecipe: sft\nsft:\n  steps: 5 # few\n  optimizer: { learningRate: 1.0e-3 }\nmodel: &m some/folder\n",
  "recipe: rlvr\nrewards:\n  - kind: maths\n  - { kind: format, weight: 0.5 }\nquestion: |\n  Solve\n  {problem}\n",
  'recipe: "quickstart"\nseed: 0x10\nthreads: 2\ngrpo: {steps: 1, prompts: 2, samplesPerPrompt: 2}\n',
];
const PIECES = [
  "&a ",
  "*a",
  "*a: 1",
  "<<: *a",
  "!!binary aGk=",
  "!!set {a, b}",
  "!!omap [a: 1]",
  "!x ",
  "---",
  "...",
  "? a",
  ": b",
]
  .concat([
    "|",
    ">-",
    "%YAML 1.1",
    "2025-01-31",
    "yes",
    "~",
    ".inf",
    ".nan",
    "0o17",
    "1_000",
    "'",
    '"',
    "\t",
    "- - - x",
    "a: b: c",
  ])
  .concat([
    "[",
    "{",
    "__proto__: {x: 1}",
    "recipe: sft",
    "\u0085",
    "\ufeff",
    "steps: 9999999999999999999",
    "null: null",
    "1e3: 2",
  ]);
const SETS = [
  "sft.steps=2",
  "grpo.loss.clipLow=1",
  "seed=1e3",
  "data=[{source: a.jsonl}]",
  "lora.rank=4",
  "a.b=",
  "x=*a",
].concat([
  "model=&a b",
  "chat.kwargs={a: [1]}",
  "__proto__.x=1",
  "rewards=[{kind: exact}]",
  "threads=null",
  "seed",
  "=1",
]);

function yaml(stream: Random): Buffer {
  const seed = stream.choice(SEEDS);
  const text = stream.int(2) === 0 ? stream.choice(BY_HAND) : stringify(seed, { indentSeq: stream.int(2) === 0 });
  const edited =
    stream.int(5) === 0 ? mutateValue(seed, stream, WORDS) : mutateLines(text, stream, [...PIECES, ...WORDS]);
  return stream.int(5) === 0 ? damageBytes(Buffer.from(edited), stream, WORDS) : Buffer.from(edited);
}

function make(stream: Random): Files {
  const isYaml = stream.int(2) === 0;
  const file = isYaml ? yaml(stream) : mutateJsonFile(stream.choice(SEEDS), stream, WORDS);
  const sets = Array.from({ length: stream.int(4) === 0 ? 1 + stream.int(2) : 0 }, () => {
    const set = stream.choice(SETS);
    return stream.int(2) === 0 ? set : mutateLines(set, stream, [...PIECES, ...WORDS]);
  });
  return { [isYaml ? "recipe.yaml" : "recipe.json"]: file, "sets.json": JSON.stringify(sets) };
}

async function read(folder: string): Promise<void> {
  const sets = JSON.parse(readFileSync(join(folder, "sets.json"), "utf8")) as string[];
  const path = join(folder, readdirSync(folder).find((name) => name.startsWith("recipe."))!);
  const { recipe, config } = await resolveTarget(recipes, path, sets);
  const settings = config as Settings;
  await same(settings, join(folder, "again.yaml"), formatRecipe(recipe.name, settings));
  const json = JSON.stringify({ recipe: recipe.name, ...settings });
  await same(asJson(settings) as Settings, join(folder, "again.json"), json);
  checkChanges(recipe.schema, asJson(settings) as Settings, settings, null); // as a resumed run compares them
}

async function same(settings: Settings, path: string, text: string): Promise<void> {
  writeFileSync(path, text);
  const { config } = await resolveTarget(recipes, path, []);
  if (!isDeepStrictEqual(config, settings)) throw new Error(`settings that read back otherwise from ${text}`);
}

const sft = recipes.find(({ name }) => name === "sft")!;

const target: Target = {
  name: "recipe",
  inputs: { quick: 300, full: 12_000 },
  readers: READERS.recipe,
  elsewhere: { BAD_ARGUMENT: "test/config/resolve.test.ts" }, // of arguments of the library
  make,
  read,
  directed: [
    ["RECIPE_FILE", { "recipe.yaml": "a: [1", "sets.json": "[]" }],
    ["RECIPE_FILE", (folder) => readRecipeFile(join(folder, "none.yaml"))],
    [
      "RECIPE_FILE",
      {
        "recipe.json": `{"recipe": "sft", "chat": ${'{"kwargs":'.repeat(9_999)}1${"}".repeat(10_000)}`,
        "sets.json": "[]",
      },
    ],
    ["RECIPE_SET", { "recipe.yaml": "recipe: sft", "sets.json": '["x"]' }],
    ["RECIPE_SET", () => applySets({}, [`a=${"[".repeat(9_999)}${"]".repeat(9_999)}`])],
    ["RECIPE_KEY", { "recipe.yaml": "recipe: sft\nstep: 3", "sets.json": "[]" }],
    ["RECIPE_KEY", () => resolve(sft, Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key${i}`, i])))],
    ["RECIPE_VALUE", { "recipe.yaml": "recipe: sft\nsft: {steps: -3}", "sets.json": "[]" }],
    ["RECIPE_UNKNOWN", () => findRecipe(recipes, "nothing")],
    ["RESUME_SETTING", () => checkChanges(sft.schema, resolve(sft, {}), resolve(sft, { seed: 7 }), null)],
  ],
};

fuzzTests("recipe", () => target);
