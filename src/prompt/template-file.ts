// Where a model folder keeps its chat templates: chat_template.jinja, additional_chat_templates/NAME.jinja, or tokenizer_config.json, as one
// text or as a list of named ones. Reads; leaves out rendering.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { isObject, type JsonObject, readJsonObject, readSmallText } from "../config/files.js";
import { InputError } from "../errors.js";

export interface TemplateFile {
  readonly path: string;
  readonly source: string;
  /** Texts of special tokens by the names that templates know; "" where the model has none. */
  readonly specialTokens: Readonly<Record<string, string>>;
}

/** Of a model folder: a file for each template but the default one, NAME.jinja. */
export const TEMPLATE_FOLDER = "additional_chat_templates";
export const TEMPLATE_ENDING = ".jinja";

interface Found {
  readonly path: string;
  readonly source: string;
}

const FILE = { code: "TOKENIZER_INVALID" };
const SPECIAL_TOKENS = ["bos_token", "eos_token", "pad_token", "unk_token"] as const;
const DEFAULT = "default";

/** The template of that name, "" for the default one; null where the folder has none at all. */
export async function findTemplate(folder: string, name: string): Promise<TemplateFile | null> {
  const configFile = join(folder, "tokenizer_config.json");
  const config = (await readJsonObject(configFile, FILE)) ?? {};
  const found = await templates(folder, configFile, config);
  const chosen = found.get(name === "" ? DEFAULT : name);
  if (chosen !== undefined) return { ...(await chosen()), specialTokens: specialTokens(config) };
  if (name === "") return null;
  const known = found.size === 0 ? "none" : [...found.keys()].join(", ");
  throw new InputError(
    "CHAT_TEMPLATE_MISSING",
    `[${folder}] expected a chat template called "${name}", got ${known}; set chat.template to one of them`,
  );
}

/** A file of its own, with the special tokens of the folder. */
export async function readTemplate(path: string, folder: string): Promise<TemplateFile> {
  const source = await readSmallText(path, FILE);
  if (source === undefined) {
    const message = `[${path}] expected a file with a chat template, got nothing there; check the path`;
    throw new InputError("CHAT_TEMPLATE_MISSING", message);
  }
  const config = (await readJsonObject(join(folder, "tokenizer_config.json"), FILE)) ?? {};
  return { path, source, specialTokens: specialTokens(config) };
}

/** Readers of the templates by name; files go before the configuration. */
async function templates(
  folder: string,
  configFile: string,
  config: JsonObject,
): Promise<ReadonlyMap<string, () => Promise<Found>>> {
  const found = new Map<string, () => Promise<Found>>();
  for (const [name, source] of named(config.chat_template)) {
    found.set(name, () => Promise.resolve({ path: configFile, source }));
  }
  const read = (path: string) => async () => ({ path, source: (await readSmallText(path, FILE)) ?? "" });
  for (const entry of await readdir(join(folder, TEMPLATE_FOLDER)).catch(() => [])) {
    if (!entry.endsWith(TEMPLATE_ENDING)) continue;
    found.set(entry.slice(0, -TEMPLATE_ENDING.length), read(join(folder, TEMPLATE_FOLDER, entry)));
  }
  const own = join(folder, "chat_template.jinja");
  if ((await readSmallText(own, FILE)) !== undefined) found.set(DEFAULT, read(own));
  return found;
}

/** Entries of `chat_template`: one text, or a list of {name, template}. */
function named(value: unknown): (readonly [string, string])[] {
  if (typeof value === "string") return [[DEFAULT, value]];
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown) => {
    if (!isObject(entry) || typeof entry.name !== "string" || typeof entry.template !== "string") return [];
    return [[entry.name, entry.template] as const];
  });
}

const specialTokens = (config: JsonObject): TemplateFile["specialTokens"] =>
  Object.fromEntries(SPECIAL_TOKENS.map((token) => [token, tokenText(config[token])]));

/** Special tokens are strings or `{content}`; absent ones are the empty text, as templates expect. */
function tokenText(value: unknown): string {
  const content = isObject(value) ? value.content : value;
  return typeof content === "string" ? content : "";
}
