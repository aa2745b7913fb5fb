// Data sets of the Hugging Face hub as local files, in the cache that Python's huggingface_hub uses too: blobs by hash, snapshots by commit,
// refs by branch. Follows HF_ENDPOINT, HF_TOKEN or the file of `hf auth login`, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE. A cached commit
// needs no network; a branch is asked for its commit each time, and there is no silent fallback to an older copy. @huggingface/hub lists
// files, resolves revisions and says where the cache is. The download is our own: downloadFileToCacheDir of that package begins anew after a
// break, checks neither size nor hash before a file counts, waits for a silent server without end, and tells no progress. Leaves out models
// and uploads.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { ListFileEntry } from "@huggingface/hub";
import type { SourceSettings } from "../config/data.js";
import { InputError } from "../errors.js";
import { download, type HubFile } from "./hub-download.js";
import { type Hub, hubFailure, openHub } from "./hub-fetch.js";

/** Files of a data set: one, a pattern with *, or those of a split. */
export interface HubReference {
  readonly name: string;
  readonly revision: string;
  /** "" takes the split's. */
  readonly file: string;
  readonly split: string;
}

export interface HubProgress {
  readonly file: string;
  /** Bytes. */
  readonly done: number;
  readonly total: number;
}

export interface HubOptions {
  readonly onProgress?: (progress: HubProgress) => void;
  readonly signal?: AbortSignal;
  /** Milliseconds before the first repetition of a request that failed; doubles with each. Default 1,000. */
  readonly retryDelayMs?: number;
}

export interface HubFiles {
  /** Paths in the snapshot, in the order of their names. */
  readonly files: readonly string[];
  readonly commit: string;
}

const COMMIT = /^[0-9a-f]{40}$/;
const REFERENCE = /^hub:([\w.-]+\/[\w.-]+)(?:@([^:]+))?(?::(.+))?$/;
const DATA_FILE = /\.(parquet|jsonl|json|jsonl\.gz|json\.gz)$/;

/** The reference in a source's settings; null for a path. Throws InputError HUB_REFERENCE. */
export function hubReference({ source, hub, revision, file, split }: SourceSettings): HubReference | null {
  if (hub !== "") return checked({ name: hub, revision, file, split }, hub);
  if (!source.startsWith("hub:")) return null;
  const [, name, own, path] = REFERENCE.exec(source) ?? [];
  if (name === undefined) throw badReference(source);
  return checked({ name, revision: own ?? revision, file: path ?? file, split }, source);
}

export function showReference({ name, revision, file, split }: HubReference): string {
  return `hub:${name}@${revision}:${file === "" ? split : file}`;
}

/** Brings the files of a reference into the cache. Throws InputError HUB_*. */
export async function hubFiles(reference: HubReference, options: HubOptions = {}): Promise<HubFiles> {
  try {
    return await filesInCache(reference, options);
  } catch (error) {
    if ((error as NodeJS.ErrnoException)?.syscall === undefined) throw error;
    const message = `[hub:${reference.name}] expected a cache that can be written, got ${(error as Error).message}; set HF_HOME`;
    throw new InputError("FILE_IO", message, { cause: error });
  }
}

async function filesInCache(reference: HubReference, options: HubOptions): Promise<HubFiles> {
  const hub = await openHub(reference.name, options.signal);
  const commit = await commitOf(hub, reference.revision);
  const snapshot = join(hub.cache, "snapshots", commit);
  const entries = await entriesOf(hub, reference, commit, snapshot);
  const files: string[] = [];
  for (const entry of entries) {
    const path = join(snapshot, entry.path);
    if (!existsSync(path)) await fetchFile(hub, commit, entry, path, options);
    files.push(path);
  }
  return { files, commit };
}

async function commitOf(hub: Hub, revision: string): Promise<string> {
  if (COMMIT.test(revision)) return revision;
  const ref = join(hub.cache, "refs", revision);
  if (hub.offline) {
    const known = await readFile(ref, "utf8").catch(() => "");
    if (COMMIT.test(known.trim())) return known.trim();
    throw offline(hub, `revision ${revision}`);
  }
  const { datasetInfo } = await import("@huggingface/hub");
  const info = await datasetInfo({ ...hub.access, name: hub.name, revision, additionalFields: ["sha"] }).catch(
    (error) => {
      throw hubFailure(hub, `revision ${revision}`, error);
    },
  );
  const commit: unknown = info.sha;
  if (typeof commit !== "string" || !COMMIT.test(commit)) {
    throw hubFailure(hub, `revision ${revision}`, new Error(`${commit} in the place of a commit`));
  }
  await mkdir(dirname(ref), { recursive: true });
  await writeFile(ref, commit);
  return commit;
}

/** What the reference means at a commit. A file that is cached is not asked about. */
async function entriesOf(hub: Hub, reference: HubReference, commit: string, snapshot: string): Promise<HubFile[]> {
  const { file, split } = reference;
  if (file !== "" && !file.includes("*") && existsSync(join(snapshot, file)))
    return [{ path: file, size: 0, hash: "" }];
  const all = hub.offline ? await cachedEntries(snapshot) : await listedEntries(hub, commit);
  const found = file === "" ? filesOfSplit(hub, all, split) : all.filter(({ path }) => pattern(file).test(path));
  if (found.length > 0) return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  if (hub.offline) throw offline(hub, file === "" ? `split ${split}` : file);
  const known = all.map(({ path }) => path).filter((path) => DATA_FILE.test(path));
  throw new InputError(
    "HUB_MISSING",
    `[hub:${hub.name}] expected ${file === "" ? `files of the split ${split}` : file}, got ${list(known)}; set file to one of them`,
  );
}

async function listedEntries(hub: Hub, commit: string): Promise<HubFile[]> {
  const { listFiles } = await import("@huggingface/hub");
  const repo = { type: "dataset", name: hub.name } as const;
  const entries: HubFile[] = [];
  try {
    for await (const entry of listFiles({ ...hub.access, repo, revision: commit, recursive: true })) {
      if (entry.type === "file") entries.push(hubFile(hub, entry));
    }
  } catch (error) {
    throw hubFailure(hub, `the files of ${commit}`, error);
  }
  return entries;
}

/** Paths and hashes become names in the cache, so neither may lead out of it. */
function hubFile(hub: Hub, { path, size, oid, lfs }: ListFileEntry): HubFile {
  const hash = lfs?.oid ?? oid ?? "";
  const inside = path.split("/").every((part) => part !== "" && part !== "." && part !== "..") && !/[\\\0]/.test(path);
  if (inside && /^[0-9a-f]{40}([0-9a-f]{24})?$/.test(hash)) return { path, size: lfs?.size ?? size, hash };
  throw hubFailure(hub, "a list of files", new Error(`the path ${JSON.stringify(path)} with the hash "${hash}"`));
}

async function cachedEntries(snapshot: string): Promise<HubFile[]> {
  const found = await readdir(snapshot, { recursive: true }).catch(() => []);
  return found.map((path) => ({ path, size: 0, hash: "" }));
}

/** As Hugging Face names them: the split is a word of the path. Data of several configurations has to be told apart by the user. */
function filesOfSplit(hub: Hub, all: readonly HubFile[], split: string): HubFile[] {
  const word = new RegExp(`(^|[/._-])${literal(split)}([/._-]|$)`);
  const found = all.filter(({ path }) => DATA_FILE.test(path) && word.test(path));
  const folders = [...new Set(found.map(({ path }) => dirname(path)))];
  if (folders.length <= 1) return found;
  throw new InputError(
    "HUB_AMBIGUOUS",
    `[hub:${hub.name}] expected the split ${split} in one folder, got ${list(folders)}; set file, such as ${folders[0]}/*`,
  );
}

async function fetchFile(hub: Hub, commit: string, file: HubFile, path: string, options: HubOptions): Promise<void> {
  if (hub.offline) throw offline(hub, file.path);
  const blob = join(hub.cache, "blobs", file.hash);
  await mkdir(dirname(blob), { recursive: true });
  await mkdir(dirname(path), { recursive: true });
  if (!existsSync(blob)) await download(hub, commit, file, blob, options);
  // Made aside and renamed: a reader never sees a half-made entry, and another process may have been faster.
  const aside = `${path}.${process.pid}.link`;
  await rm(aside, { force: true });
  await symlink(relative(dirname(path), blob), aside);
  await rename(aside, path);
}

function checked(reference: HubReference, text: string): HubReference {
  const { name, revision, file } = reference;
  const parts = [name, revision, ...(file === "" ? [] : [file])].flatMap((path) => path.split("/"));
  if (/^[\w.-]+\/[\w.-]+$/.test(name) && !parts.includes("..") && !parts.includes("")) return reference;
  throw badReference(text);
}

function badReference(text: string): InputError {
  return new InputError(
    "HUB_REFERENCE",
    `[data] expected hub:owner/name, with @revision and :file where needed, got "${text}"; correct the reference`,
  );
}

function offline(hub: Hub, what: string): InputError {
  return new InputError(
    "HUB_OFFLINE",
    `[hub:${hub.name}] expected ${what} in ${hub.cache}, got nothing there; unset HF_HUB_OFFLINE to fetch it`,
  );
}

const literal = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
const pattern = (file: string): RegExp => new RegExp(`^${file.split("*").map(literal).join(".*")}$`);

const SHOWN = 8;

function list(names: readonly string[]): string {
  if (names.length === 0) return "none";
  return names.length > SHOWN
    ? `${names.slice(0, SHOWN).join(", ")} and ${names.length - SHOWN} more`
    : names.join(", ");
}
