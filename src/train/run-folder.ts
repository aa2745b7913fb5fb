// The run folder: recipe.json, metrics.jsonl, rollouts.jsonl, summary.json and model folders. Each jsonl line is one write, so a
// killed process loses at most the line it was writing. Leaves out what goes into the lines.
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { EngineLike } from "../engine/like.js";
import { ZazenError } from "../errors.js";

/** Writes a model's tokenizer beside its weights. */
export type TokenizerWriter = (folder: string) => void | Promise<void>;

export class RunFolder {
  readonly #metrics: number;
  readonly #rollouts: number;
  #open = true;

  /** Opens `path`, making it if needed, and writes recipe.json. */
  constructor(
    readonly path: string,
    recipe: string,
    config: unknown,
  ) {
    mkdirSync(path, { recursive: true });
    writeWhole(join(path, "recipe.json"), { recipe, config });
    this.#metrics = openSync(join(path, "metrics.jsonl"), "a");
    this.#rollouts = openSync(join(path, "rollouts.jsonl"), "a");
  }

  /** One line of metrics.jsonl. */
  metrics(record: Readonly<Record<string, string | number>>): void {
    appendLine(this.#metrics, record);
  }

  /** One line of rollouts.jsonl. */
  rollout(record: Readonly<Record<string, unknown>>): void {
    appendLine(this.#rollouts, record);
  }

  summary(record: Readonly<Record<string, unknown>>): void {
    writeWhole(join(this.path, "summary.json"), record);
  }

  /** Saves weights and tokenizer as a Hugging Face folder under `name`; returns its path. */
  async saveModel(name: string, engine: EngineLike, tokenizer: TokenizerWriter): Promise<string> {
    const folder = join(this.path, name);
    mkdirSync(folder, { recursive: true });
    await engine.save(folder);
    await tokenizer(folder);
    return folder;
  }

  /** Closes the jsonl files; idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#metrics);
    closeSync(this.#rollouts);
  }
}

const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"];

/** A writer that copies the tokenizer files of another model folder. */
export function copyTokenizer(from: string): TokenizerWriter {
  return (folder) => {
    for (const name of tokenizerFiles) {
      if (existsSync(join(from, name))) copyFileSync(join(from, name), join(folder, name));
    }
  };
}

function appendLine(file: number, record: unknown): void {
  const line = Buffer.from(`${JSON.stringify(record)}\n`);
  const written = writeSync(file, line);
  if (written === line.length) return;
  throw new ZazenError(
    "DISK",
    `[run folder] expected to write ${line.length} bytes, wrote ${written}; free some disk space`,
  );
}

function writeWhole(path: string, record: unknown): void {
  writeFileSync(`${path}.part`, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(`${path}.part`, path); // a reader sees the old file or the new one, never half of it
}
