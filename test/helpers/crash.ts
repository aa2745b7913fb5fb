// Disks that die at a chosen write: with their process, before it or half-way through it, or with their machine, which loses what was not
// put on the disk; nothing works after.
// And what of a run folder has to be the same whether the run was stopped or not.
import { createHash } from "node:crypto";
import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { checkpointModel, findCheckpoint, listCheckpoints } from "../../src/train/checkpoint.js";
import { type Disk, nodeDisk } from "../../src/train/disk.js";
import type { RunHost } from "../../src/train/run.js";
import { readLines } from "./run-host.js";

export class PowerCut extends Error {}

export interface Cut {
  /** The write that is the last, counted from 1. */
  readonly at: number;
  /** Whether half of it is done. */
  readonly half: boolean;
}

/** Without waiting for the disk: no test takes the machine's power away. */
const quickDisk: Disk = { ...nodeDisk, sync: () => {} };

/** The verbs of a disk up to the cut; `writes` names those that were asked for. */
export function mortalDisk(cut: Cut | null): Disk & { readonly writes: string[] } {
  const writes: string[] = [];
  const verbs = Object.entries(quickDisk).map(([verb, act]) => [
    verb,
    (...args: [string, string & number]) => {
      writes.push(`${verb} ${args[0]}`);
      if (cut !== null && writes.length >= cut.at) {
        if (cut.half && writes.length === cut.at) doHalf(verb, args);
        throw new PowerCut(`${verb} ${args[0]}`);
      }
      return (act as (...all: unknown[]) => void)(...args);
    },
  ]);
  return { ...Object.fromEntries(verbs), writes };
}

/** A disk that can lose its machine's power. */
export interface ForgetfulDisk extends Disk {
  readonly writes: string[];
  /** Loses what `sync` did not put on the disk: whole files or their ends, and names in folders that were not synced since they came. */
  lose(): void;
}

/** The verbs of a disk under the folder `out`; before the write `at`, counted from 1, the power goes. */
export function forgetfulDisk(out: string, at: number): ForgetfulDisk {
  const kept = { bytes: new Map<string, number>(), names: new Map<string, readonly string[]>() }; // by path
  const maps = [kept.bytes, kept.names] as Map<string, unknown>[];
  const inside = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`);
  const forget = (path: string) => {
    for (const map of maps) for (const each of [...map.keys()]) if (inside(each, path)) map.delete(each);
  };
  const follow: Partial<Record<keyof Disk, (path: string, more: string) => void>> = {
    write: forget,
    remove: forget,
    rename: (from, to) => {
      for (const map of maps) {
        for (const [path, value] of [...map]) if (inside(path, from)) map.set(to + path.slice(from.length), value);
      }
      forget(from);
    },
    sync: (path) => {
      if (statSync(path).isDirectory()) kept.names.set(path, readdirSync(path));
      else kept.bytes.set(path, statSync(path).size);
    },
  };
  const loseIn = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (!kept.names.get(folder)?.includes(entry.name)) rmSync(path, { recursive: true });
      else if (entry.isDirectory()) loseIn(path);
      else if (entry.isFile()) truncateSync(path, Math.min(kept.bytes.get(path) ?? 0, statSync(path).size));
    }
  };
  const writes: string[] = [];
  const verbs = Object.entries(quickDisk).map(([verb, act]) => [
    verb,
    (path: string, more: string & number) => {
      writes.push(`${verb} ${path}`);
      if (writes.length >= at) {
        if (writes.length === at) loseIn(out);
        throw new PowerCut(`${verb} ${path}`);
      }
      (act as (path: string, more: string & number) => void)(path, more);
      follow[verb as keyof Disk]?.(join(path), more);
    },
  ]);
  return { ...Object.fromEntries(verbs), writes, lose: () => loseIn(out) };
}

/** What a process that dies within a verb can leave. Renames, links and cuts are whole or not at all. */
function doHalf(verb: string, [path, content]: [string, string]): void {
  if (verb === "write") writeFileSync(path, content.slice(0, content.length / 2));
  if (verb !== "remove" || !existsSync(path)) return;
  const names = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const entry of names.slice(0, names.length / 2)) nodeDisk.remove(join(entry.parentPath, entry.name));
}

/** A host that goes on with the run in `host.out`. */
export async function resuming(host: RunHost, disk: Disk = quickDisk): Promise<RunHost> {
  const { checkpoint } = await findCheckpoint(host.out);
  return { ...host, disk, resume: { checkpoint } };
}

const ofTheMachine = /second|^kv\//i; // fields that no two runs share: times, and the room that threads left

/** Plain data without the fields that say how long something took or what room it took. */
export function timeless(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(timeless);
  const fields = Object.entries(value).filter(([name]) => !ofTheMachine.test(name) && name !== "elapsed");
  return Object.fromEntries(fields.map(([name, inner]) => [name, timeless(inner)]));
}

/** What a finished run leaves: every line, every weight, every moment, and where the last checkpoint stands. */
export function remains(out: string): Record<string, unknown> {
  const last = listCheckpoints(out)[0]!.path;
  const { loop, results, part, step, trained, best } = JSON.parse(readFileSync(join(last, "state.json"), "utf8"));
  const folders = ["model", "model-sft"].map((name) => join(out, name)).filter(existsSync);
  const critic = ["critic", "critic/model"].map((name) => join(last, name)).filter(existsSync);
  return {
    metrics: readLines(out, "metrics.jsonl").map(timeless),
    rollouts: readLines(out, "rollouts.jsonl"),
    pairs: existsSync(join(out, "pairs.jsonl")) ? readLines(out, "pairs.jsonl") : [],
    heldOut: readLines(out, "held-out.jsonl"),
    state: timeless({ loop, results, part, step, trained, best }),
    files: Object.fromEntries(
      [...folders, last, checkpointModel(last), ...critic].map((folder) => [folder.slice(out.length), sums(folder)]),
    ),
    checkpoints: listCheckpoints(out).map(({ trained }) => trained),
    best: bestOf(out),
    summary: timeless(withoutPaths(JSON.parse(readFileSync(join(out, "summary.json"), "utf8")), out)),
  };
}

/** The checkpoint that `best` names. */
function bestOf(out: string): string | null {
  const path = join(out, "checkpoints", "best");
  return existsSync(path) ? readlinkSync(path) : null;
}

function sums(folder: string): Record<string, string> {
  const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
  const kept = files.map((entry) => entry.name).filter((name) => !name.startsWith("state.json"));
  const sum = (name: string) =>
    createHash("sha256")
      .update(readFileSync(join(folder, name)))
      .digest("hex");
  return Object.fromEntries(kept.sort().map((name) => [name, sum(name)]));
}

const withoutPaths = (value: unknown, out: string): unknown =>
  JSON.parse(JSON.stringify(value).replaceAll(JSON.stringify(out).slice(1, -1), "OUT"));
