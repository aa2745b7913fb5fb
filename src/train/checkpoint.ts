// Checkpoints of a run: RUN/checkpoints/step-000040 with a model folder, the optimizer's state, a folder of the same where a critic is
// trained beside it, and state.json. One is written aside, put on the disk, and renamed: a process that ends at any moment leaves it whole
// or not at all. state.json has the SHA-256 of every other file, state.json.sha256 its own (as sha256sum -c reads it). Leaves out when to
// write one.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join, relative } from "node:path";
import { readSmallText } from "../config/files.js";
import type { EngineLike } from "../engine/like.js";
import { ZazenError } from "../errors.js";
import { type Disk, diskError } from "./disk.js";
import { parseState, type RunState } from "./run-state.js";

/** What a checkpoint takes weights and training state from, and gives weights back to: an engine, or several that train together. */
export type Saved = Pick<EngineLike, "save" | "saveState" | "loadWeights">;

/** Writes a model's tokenizer beside its weights. */
export type TokenizerWriter = (folder: string) => void | Promise<void>;

/** A checkpoint whose files have been found to be whole. */
export interface Checkpoint {
  readonly path: string;
  readonly state: RunState;
}

export const checkpointModel = (path: string): string => join(path, "model");

const stateFile = "state.json";
const sumFile = "state.json.sha256";
const mostStateBytes = 2 ** 28;
const chunkBytes = 2 ** 20; // of a file that is being summed
const namePattern = /^step-(\d+)$/;
const digits = 6;
const half = ".part"; // of a folder that is being written, or removed

export const checkpointName = (trained: number): string => `step-${String(trained).padStart(digits, "0")}`;

export class Checkpoints {
  readonly #folder: string;

  constructor(
    readonly run: string,
    readonly disk: Disk,
  ) {
    this.#folder = join(run, "checkpoints");
  }

  pathOf(trained: number): string {
    return join(this.#folder, checkpointName(trained));
  }

  /** Writes the checkpoint of `state`. What fails leaves the ones before it as they were. Throws ZazenError, `DISK` among them. */
  async write(engine: Saved, tokenizer: TokenizerWriter, state: Omit<RunState, "sha256">): Promise<void> {
    const { disk } = this;
    const path = this.pathOf(state.trained);
    const aside = path + half;
    disk.remove(aside);
    disk.makeFolder(checkpointModel(aside));
    try {
      await engine.save(checkpointModel(aside));
      await tokenizer(checkpointModel(aside));
      await engine.saveState(aside);
      const { files: names, folders } = contentsOf(aside);
      const text = `${JSON.stringify({ ...state, sha256: await sumsOf(aside, names) }, null, 1)}\n`;
      disk.write(join(aside, stateFile), text);
      disk.write(join(aside, sumFile), `${sumOf(text)}  ${stateFile}\n`);
      for (const name of [...names, stateFile, sumFile, ...folders, "."]) disk.sync(join(aside, name));
      disk.rename(aside, path);
      for (const folder of [this.#folder, this.run]) disk.sync(folder);
    } catch (error) {
      disk.remove(aside); // what it took is free again
      throw isDiskFault(error) ? diskError(path, error) : error;
    }
  }

  /** `best` names the checkpoint from now on. */
  markBest(trained: number): void {
    this.disk.link(checkpointName(trained), join(this.#folder, "best"));
    this.disk.sync(this.#folder);
  }

  /** Removes all but the last `keep` and the best. */
  prune(keep: number, best: number | null): void {
    const spare = listCheckpoints(this.run).slice(keep);
    for (const { trained, path } of spare) if (trained !== best) this.#remove(path);
  }

  /** Before a run goes on from `trained` steps: half-written ones go, later ones are set aside under another name. */
  goOnFrom(trained: number): void {
    if (!existsSync(this.#folder)) return;
    for (const name of readdirSync(this.#folder)) if (name.endsWith(half)) this.disk.remove(join(this.#folder, name));
    for (const later of listCheckpoints(this.run).filter((each) => each.trained > trained)) {
      this.disk.rename(later.path, freeName(join(this.#folder, `damaged-${checkpointName(later.trained)}`)));
    }
  }

  /** In two steps, so that no half-removed folder has a checkpoint's name. */
  #remove(path: string): void {
    this.disk.rename(path, path + half);
    this.disk.remove(path + half);
  }
}

/** What to resume a run from. */
export interface Found {
  /** The last whole checkpoint; null where there is none. */
  readonly checkpoint: Checkpoint | null;
  /** Later ones that cannot be used, and why. */
  readonly damaged: readonly string[];
}

/** Looks for the last whole checkpoint of a run folder; reads and changes nothing else. */
export async function findCheckpoint(run: string): Promise<Found> {
  const damaged: string[] = [];
  for (const { path } of listCheckpoints(run)) {
    const state = await verify(run, path);
    if (typeof state !== "string") return { checkpoint: { path, state }, damaged };
    damaged.push(`${path}: ${state}`);
  }
  return { checkpoint: null, damaged };
}

/** Checkpoints by name, the latest first. */
export function listCheckpoints(run: string): { readonly path: string; readonly trained: number }[] {
  const folder = join(run, "checkpoints");
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const found = names.flatMap((name) => {
    const [, number] = namePattern.exec(name) ?? [];
    return number === undefined ? [] : [{ path: join(folder, name), trained: Number(number) }];
  });
  return found.sort((a, b) => b.trained - a.trained);
}

/** The state of a checkpoint that is whole, or what is wrong with it. */
async function verify(run: string, path: string): Promise<RunState | string> {
  const reading = { code: "RESUME_DAMAGED", maxBytes: mostStateBytes };
  const text = await readSmallText(join(path, stateFile), reading).catch((error: Error) => error);
  const sum = await readSmallText(join(path, sumFile), reading).catch((error: Error) => error);
  if (typeof text !== "string" || typeof sum !== "string") return `${stateFile} or its checksum cannot be read`;
  if (sum !== `${sumOf(text)}  ${stateFile}\n`) return `${stateFile} is not what was written`;
  const state = parseState(text);
  if (typeof state === "string") return `${stateFile} is of another kind: ${state}`;
  return (await wrongFile(path, state)) ?? shortFile(run, state) ?? state;
}

async function wrongFile(path: string, { sha256 }: RunState): Promise<string | null> {
  const chunk = Buffer.alloc(chunkBytes);
  for (const [name, sum] of Object.entries(sha256)) {
    if (!isFile(join(path, name))) return `${name} is missing`;
    const found = await fileSum(join(path, name), chunk).catch((error: Error) => error);
    if (found instanceof Error) return `${name} cannot be read: ${found.message}`;
    if (found !== sum) return `${name} is not what was written`;
  }
  return null;
}

/** The jsonl files are cut back to a checkpoint, so they must reach up to it. */
function shortFile(run: string, { sizes }: RunState): string | null {
  for (const [name, bytes] of Object.entries(sizes)) {
    const size = isFile(join(run, name)) ? statSync(join(run, name)).size : 0;
    if (size < bytes) return `it goes with ${bytes} bytes of ${name}, which has ${size}`;
  }
  return null;
}

/** What the system refused to Node's functions, or to the engine. */
const isDiskFault = (error: unknown): boolean =>
  error instanceof Error && ("errno" in error || (error instanceof ZazenError && error.code === "FILE_IO"));

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

/** Files and folders below a folder, by their paths from it. */
function contentsOf(folder: string): { readonly files: string[]; readonly folders: string[] } {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = (entries: typeof all) =>
    entries.map(({ parentPath, name }) => relative(folder, join(parentPath, name)));
  const files = paths(all.filter((entry) => entry.isFile())).sort();
  return { files, folders: paths(all.filter((entry) => entry.isDirectory())).sort() };
}

async function sumsOf(folder: string, names: readonly string[]): Promise<Record<string, string>> {
  const sums: Record<string, string> = {};
  const chunk = Buffer.alloc(chunkBytes);
  for (const name of names) sums[name] = await fileSum(join(folder, name), chunk);
  return sums;
}

/** Reads by way of `chunk`: the buffers of a stream would lie about until they are collected. */
async function fileSum(path: string, chunk: Buffer): Promise<string> {
  const sha = createHash("sha256");
  await using file = await open(path);
  for (;;) {
    const { bytesRead } = await file.read(chunk);
    if (bytesRead === 0) return sha.digest("hex");
    sha.update(chunk.subarray(0, bytesRead));
  }
}

const sumOf = (text: string): string => createHash("sha256").update(text).digest("hex");

function freeName(path: string): string {
  for (let n = 1; ; n++) {
    const name = n === 1 ? path : `${path}-${n}`;
    if (!existsSync(name)) return name;
  }
}
