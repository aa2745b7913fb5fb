// The run folder: recipe.json, metrics.jsonl, rollouts.jsonl, held-out.jsonl, pairs.jsonl where there are any, summary.json and model
// folders. Each jsonl line is one write, so a killed process loses at most the line it was writing. Leaves out what goes into the lines, and
// checkpoints.
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { EngineLike } from "../engine/like.js";
import { TEMPLATE_ENDING, TEMPLATE_FOLDER } from "../prompt/template-file.js";
import type { TokenizerWriter } from "./checkpoint.js";
import { attempt, type Disk, diskError, nodeDisk, writeWhole } from "./disk.js";

/** Files that lines are appended to. */
export const metricsFile = "metrics.jsonl";
export const heldOutFile = "held-out.jsonl";
const lineFiles = [metricsFile, "rollouts.jsonl", heldOutFile] as const;
/** The same, made when there is a line: pairs of completions that are trained on. */
export const pairsFile = "pairs.jsonl";
type LineFile = (typeof lineFiles)[number] | typeof pairsFile;

/** The recipe of a run with every setting. */
export const recipeFile = "recipe.json";
/** The final figures; a run that has them is finished. */
export const summaryFile = "summary.json";

/** Bytes of each line file; a file that is not named has none. */
export type Sizes = Readonly<Record<string, number>>;

export class RunFolder {
  readonly #files = new Map<LineFile, number>();
  #open = true;

  /** Opens `path`, making it if needed, and writes recipe.json. A run that goes on has its line files cut to `sizes`, and no summary. */
  constructor(
    readonly path: string,
    recipe: string,
    config: unknown,
    sizes: Sizes | null = null,
    readonly disk: Disk = nodeDisk,
  ) {
    disk.makeFolder(path);
    disk.sync(dirname(path));
    writeJson(disk, join(path, recipeFile), { recipe, config });
    if (sizes !== null) {
      disk.remove(join(path, summaryFile));
      for (const name of lineFiles) disk.cut(join(path, name), sizes[name] ?? 0);
      const pairs = sizes[pairsFile];
      if (pairs === undefined) disk.remove(join(path, pairsFile));
      else disk.cut(join(path, pairsFile), pairs);
    }
    for (const name of lineFiles) this.#file(name);
    if (sizes?.[pairsFile] !== undefined) this.#file(pairsFile);
  }

  /** One line of metrics.jsonl. */
  metrics(record: Readonly<Record<string, string | number>>): void {
    this.#append(metricsFile, record);
  }

  /** One line of rollouts.jsonl. */
  rollout(record: Readonly<Record<string, unknown>>): void {
    this.#append("rollouts.jsonl", record);
  }

  /** One line of pairs.jsonl. */
  pair(record: Readonly<Record<string, unknown>>): void {
    this.#append(pairsFile, record);
  }

  /** One line of held-out.jsonl. */
  heldOut(record: Readonly<Record<string, unknown>>): void {
    this.#append(heldOutFile, record);
  }

  /** The lines are on the disk before it: whoever finds a summary finds a finished run. */
  summary(record: Readonly<Record<string, unknown>>): void {
    this.flush();
    writeJson(this.disk, join(this.path, summaryFile), record);
  }

  /** Puts all lines on the disk; returns the sizes of their files. */
  flush(): Sizes {
    for (const name of this.#files.keys()) this.disk.sync(join(this.path, name));
    return Object.fromEntries([...this.#files].map(([name, file]) => [name, fstatSync(file).size]));
  }

  /** Saves weights and tokenizer as a Hugging Face folder under `name`, and puts it on the disk; returns its path. */
  async saveModel(name: string, engine: EngineLike, tokenizer: TokenizerWriter): Promise<string> {
    const folder = join(this.path, name);
    this.disk.makeFolder(folder);
    await engine.save(folder);
    await tokenizer(folder);
    for (const file of [...readdirSync(folder, { recursive: true, encoding: "utf8" }), "."])
      this.disk.sync(join(folder, file));
    this.disk.sync(this.path);
    return folder;
  }

  /** Closes the jsonl files; idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const file of this.#files.values()) closeSync(file);
  }

  #append(name: LineFile, record: unknown): void {
    appendLine(join(this.path, name), this.#file(name), record);
  }

  /** The open file of a name. */
  #file(name: LineFile): number {
    const path = join(this.path, name);
    const file = this.#files.get(name) ?? attempt(path, () => openSync(path, "a"));
    this.#files.set(name, file);
    return file;
  }
}

/** Takes back what a run wrote that has taken no step: false, and nothing is done, where it has written lines or anything else. */
export function takeBack(path: string, beside: readonly string[] = []): boolean {
  const names = existsSync(path) ? readdirSync(path) : [];
  const first: readonly string[] = [recipeFile, ...lineFiles];
  const hasBegun = names.some((name) =>
    lineFiles.some((file) => file === name)
      ? statSync(join(path, name)).size > 0
      : ![...first, ...beside].includes(name),
  );
  if (hasBegun) return false;
  for (const name of first) rmSync(join(path, name), { force: true });
  return true;
}

/** The sizes of a folder's line files as they are, without a line that a killed process was writing: a run goes on behind them. */
export function wholeLines(path: string): Sizes {
  return Object.fromEntries(lineFiles.map((name) => [name, wholeBytes(join(path, name))]));
}

/** Bytes of a file up to the end of its last whole line; 0 where there is no file. */
export function wholeBytes(file: string): number {
  return existsSync(file) ? attempt(file, () => readFileSync(file)).lastIndexOf("\n") + 1 : 0;
}

const templateFile = "chat_template.jinja";
const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json", templateFile, "special_tokens_map.json"];

/** A writer that copies the tokenizer files of another model folder, its chat templates among them. */
export function copyTokenizer(from: string): TokenizerWriter {
  return (folder) => {
    for (const name of [...tokenizerFiles, ...templatesIn(from)]) {
      if (!existsSync(join(from, name))) continue;
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      copyFileSync(join(from, name), join(folder, name));
    }
  };
}

/** The same with `source` as the folder's chat template, whatever the other folder has as its own. */
export function withTemplate(write: TokenizerWriter, source: string): TokenizerWriter {
  return async (folder) => {
    await write(folder);
    const path = join(folder, templateFile);
    attempt(path, () => writeFileSync(path, source));
  };
}

/** Files only: reading a pipe would wait for its writer. */
function templatesIn(folder: string): readonly string[] {
  const path = join(folder, TEMPLATE_FOLDER);
  if (!existsSync(path)) return [];
  const files = readdirSync(path).filter(
    (name) => name.endsWith(TEMPLATE_ENDING) && statSync(join(path, name)).isFile(),
  );
  return files.map((name) => join(TEMPLATE_FOLDER, name));
}

/** Appends a record to an open file of lines; one that does not fit on the disk is taken back, so that the file ends with a whole line. */
export function appendLine(path: string, file: number, record: unknown): void {
  const line = Buffer.from(`${JSON.stringify(record)}\n`);
  const { size } = fstatSync(file);
  try {
    for (let done = 0; done < line.length; ) done += writeSync(file, line, done); // a full disk is an error of the second write
  } catch (error) {
    ftruncateSync(file, size);
    throw diskError(path, error);
  }
}

function writeJson(disk: Disk, path: string, record: unknown): void {
  writeWhole(disk, path, `${JSON.stringify(record, null, 2)}\n`);
}
