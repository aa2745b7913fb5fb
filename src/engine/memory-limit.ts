// How much memory this process may still take: the machine's, or less where a control group of Linux sets a limit. Read from the kernel's
// files, which are missing on other systems.
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";
import { join } from "node:path";

/** Bytes. */
export interface MemoryRoom {
  /** What the process and those it shares a limit with may have at most. */
  readonly limit: number;
  /** What is left of it; memory that the kernel only caches files in counts as free. */
  readonly available: number;
  /** The limit is a control group's, not the machine's. */
  readonly constrained: boolean;
}

interface Group {
  readonly limit: string;
  readonly used: string;
  /** Keys of memory.stat: files that the kernel may drop. */
  readonly cached: readonly string[];
}

const V2: Group = { limit: "memory.max", used: "memory.current", cached: ["inactive_file", "active_file"] };
const V1: Group = {
  limit: "memory.limit_in_bytes",
  used: "memory.usage_in_bytes",
  cached: ["total_inactive_file", "total_active_file"],
};

/** `root` is where /proc and /sys lie. */
export function memoryRoom(root = "/"): MemoryRoom {
  const total = kernelBytes(root, "proc/meminfo", "MemTotal") ?? totalmem();
  const free = kernelBytes(root, "proc/meminfo", "MemAvailable") ?? freemem();
  const groups = groupFolders(root).flatMap(({ folder, group }) => roomOf(folder, group));
  const limit = Math.min(total, ...groups.map((room) => room.limit));
  return {
    limit,
    available: Math.max(0, Math.min(free, ...groups.map((room) => room.left))),
    constrained: limit < total,
  };
}

/** What a line `KEY: N kB` of a file says; undefined where there is none. */
export function kernelBytes(root: string, file: string, key: string): number | undefined {
  const found = new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(read(join(root, file)));
  return found ? Number(found[1]) * 1024 : undefined;
}

/** Folders of the process's group and of all above it, each of which may have a limit. A container sees its own group as the root. */
function groupFolders(root: string): { folder: string; group: Group }[] {
  const lines = read(join(root, "proc/self/cgroup")).split("\n");
  return lines.flatMap((line) => {
    const [, controllers = "", path = "/"] = line.split(":");
    if (!line.includes(":")) return [];
    if (controllers === "") return upwards(path).map((at) => ({ folder: join(root, "sys/fs/cgroup", at), group: V2 }));
    if (!controllers.split(",").includes("memory")) return [];
    return upwards(path).map((at) => ({ folder: join(root, "sys/fs/cgroup/memory", at), group: V1 }));
  });
}

/** "/a/b" -> "/a/b", "/a", "/". */
function upwards(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return Array.from({ length: parts.length + 1 }, (_, cut) => `/${parts.slice(0, parts.length - cut).join("/")}`);
}

function roomOf(folder: string, group: Group): { limit: number; left: number }[] {
  const limit = Number.parseInt(read(join(folder, group.limit)), 10);
  const used = Number.parseInt(read(join(folder, group.used)), 10);
  if (!Number.isFinite(limit)) return []; // "max", or no such file
  const stat = read(join(folder, "memory.stat"));
  const cached = group.cached.map((key) => Number(new RegExp(`^${key} (\\d+)$`, "m").exec(stat)?.[1] ?? 0));
  const taken = Number.isFinite(used) ? used - cached.reduce((sum, bytes) => sum + bytes, 0) : 0;
  return [{ limit, left: limit - taken }];
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // no Linux, or no such group
  }
}
