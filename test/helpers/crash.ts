// A disk that dies at a chosen write, as a machine does that loses its power: before it, or half-way through it; nothing works after.
// And what of a run folder has to be the same whether the run was stopped or not.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
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
  return {
    metrics: readLines(out, "metrics.jsonl").map(timeless),
    rollouts: readLines(out, "rollouts.jsonl"),
    state: timeless({ loop, results, part, step, trained, best }),
    files: Object.fromEntries(
      [...folders, last, checkpointModel(last)].map((folder) => [folder.slice(out.length), sums(folder)]),
    ),
    checkpoints: listCheckpoints(out).map(({ trained }) => trained),
    summary: timeless(withoutPaths(JSON.parse(readFileSync(join(out, "summary.json"), "utf8")), out)),
  };
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
