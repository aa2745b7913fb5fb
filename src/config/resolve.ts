// From what a user wrote to a recipe's settings: validated once through the recipe's schema, complete, frozen.
// Every problem is named at once, as `[recipe NAME] key: expected X, got Y`. A message given to a schema's `refine` is a noun
// phrase that says what is expected ("0 or a number > 1").
import type { ZodType, z } from "zod";
import { InputError } from "../errors.js";
import { describeSettings, expectation, knownKeys, type Setting } from "./describe.js";
import { didYouMean } from "./nearest.js";
import { trlKey } from "./trl-names.js";

export type Settings = Readonly<Record<string, unknown>>;

const shownCharacters = 80; // of a value in a message
const shownProblems = 30;

/** Who speaks of settings: a recipe, or a command of its own. */
export interface Speaker {
  /** As messages begin: "recipe sft". */
  readonly where: string;
  /** The command that shows all settings. */
  readonly help: string;
}

/**
 * The complete settings of a recipe.
 * @throws InputError RECIPE_KEY for an unknown key, RECIPE_VALUE for a value outside its type or range.
 */
export function resolveSettings<Config>(
  name: string,
  schema: ZodType<Config>,
  settings: Settings,
  { where, help }: Speaker = { where: `recipe ${name}`, help: `zazen recipes ${name}` },
): Config {
  const parsed = schema.safeParse(settings);
  if (parsed.success) return deepFreeze(parsed.data);
  const { unknown, wrong } = problemsOf(where, schema, parsed.error, settings);
  const code = unknown.length > 0 ? "RECIPE_KEY" : "RECIPE_VALUE";
  throw new InputError(code, [...firstLines([...unknown, ...wrong]), `See \`${help}\` for all settings.`].join("\n"));
}

/**
 * The complete settings that a function was given.
 * @throws InputError BAD_ARGUMENT.
 */
export function resolveArgument<Value>(where: string, schema: ZodType<Value>, value: unknown): Value {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { unknown, wrong } = problemsOf(where, schema, parsed.error, value);
  throw new InputError("BAD_ARGUMENT", firstLines([...unknown, ...wrong]).join("\n"));
}

/** Lines to be made: of keys that are not known, and of values. */
function problemsOf(where: string, schema: ZodType, { issues }: z.ZodError, input: unknown) {
  const rows = describeSettings(schema);
  const known = knownKeys(rows);
  return {
    unknown: issues.flatMap(unknownKeys).map((path) => () => unknownKeyLine(where, path, known, input)),
    wrong: issues
      .filter((issue) => issue.code !== "unrecognized_keys")
      .map((issue) => () => valueLine(where, issue, input, rows)),
  };
}

/** The first of the problems, and how many more there are. */
function firstLines(problems: readonly (() => string)[]): readonly string[] {
  const lines = problems.slice(0, shownProblems).map((line) => line());
  return problems.length > lines.length ? [...lines, `... and ${problems.length - lines.length} more.`] : lines;
}

/** Freezes a plain value and all that it holds. */
export function deepFreeze<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

function unknownKeys(issue: z.core.$ZodIssue): readonly (readonly PropertyKey[])[] {
  return issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...issue.path, key]) : [];
}

function unknownKeyLine(where: string, path: readonly PropertyKey[], known: readonly string[], input: unknown): string {
  const key = settingKey(path);
  const algorithm = valueAt(input, ["algorithm"]); // of a recipe with several
  const named = trlKey(key, known, typeof algorithm === "string" ? algorithm : undefined);
  const advice = named === null ? didYouMean(key, known) : `; TRL's ${String(path.at(-1))} is ${named} here`;
  return `[${where}] expected a known key, got "${path.join(".")}"${advice}`;
}

function valueLine(where: string, issue: z.core.$ZodIssue, input: unknown, rows: readonly Setting[]): string {
  const key = issue.path.join(".");
  const place = key === "" ? `[${where}]` : `[${where}] ${key}:`;
  const isSecret = rows.some((row) => row.key === settingKey(issue.path) && row.secret === true);
  const got = isSecret ? "a value that is not shown" : show(valueAt(input, issue.path));
  const wanted = expected(issue, rows);
  const isEmpty = valueAt(input, issue.path) === null && wanted === "string"; // what `--set key=` gives
  return `${place} expected ${wanted}, got ${got}${isEmpty ? `; an empty text is ${key}=""` : ""}`;
}

function expected(issue: z.core.$ZodIssue, rows: readonly Setting[]): string {
  if (issue.code === "custom") return issue.message;
  for (let length = issue.path.length; length > 0; length--) {
    const key = settingKey(issue.path.slice(0, length));
    const setting = rows.find((row) => row.key === key);
    if (setting !== undefined) return expectation(setting);
    if (rows.some((row) => row.key.startsWith(`${key}.`))) return "a group of settings";
  }
  return "a group of settings";
}

/** The key that describes a place: the fields of a list's groups have one key for all of them, "data[].weight". */
function settingKey(path: readonly PropertyKey[]): string {
  return path.reduce<string>((key, part) => {
    if (typeof part === "number") return `${key}[]`;
    return key === "" ? String(part) : `${key}.${String(part)}`;
  }, "");
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const whole = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
  const text = whole.replaceAll(/\/\/[^/\s"]*@/g, "//***@"); // user and password of a URL
  return text.length > shownCharacters ? `${text.slice(0, shownCharacters)}...` : text;
}
