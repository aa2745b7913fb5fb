// One process a run folder: a file names the process that works in it. A process that was killed leaves the file behind; it counts for
// nothing, since no process has both its number and its start. Processes of other machines cannot be asked: their file is taken over.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { InputError } from "../errors.js";
import { attempt } from "../train/disk.js";

export const lockFile = "running.json";

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Clock ticks from the machine's start to the process's; null where the system does not tell. */
  readonly started: string | null;
}

/** Refuses a folder that another process holds. @throws InputError RUN_IN_USE */
export function requireFree(out: string): void {
  const holder = readHolder(join(out, lockFile));
  if (holder === null || !isAlive(holder)) return;
  throw new InputError(
    "RUN_IN_USE",
    `[train] expected a run folder that no other process works in, got ${out}, where process ${holder.pid} does; ` +
      "let it end, or stop it first",
  );
}

/** Holds the folder until it is disposed. @throws InputError RUN_IN_USE, ZazenError DISK */
export function holdRun(out: string): Disposable {
  requireFree(out);
  const path = join(out, lockFile);
  const holds: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid) };
  attempt(path, () => writeFileSync(path, JSON.stringify(holds)));
  return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
}

function readHolder(path: string): Holder | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Holder;
  } catch {
    return null; // none, or one that was cut short: its writer is gone
  }
}

function isAlive({ pid, host, started }: Holder): boolean {
  if (host !== hostname() || pid === process.pid) return false;
  try {
    process.kill(pid, 0); // asks only
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false; // EPERM: it is there, another user's
  }
  return started === startOf(pid);
}

const startField = 19; // of /proc/PID/stat, counted behind the name in parentheses, which may hold anything

function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[startField] ?? null;
  } catch {
    return null;
  }
}
