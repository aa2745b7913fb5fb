// What the machine has besides the engine: instruction sets, memory, build tools, GPUs. Asked by running each tool's own command; what is not
// there is null or an empty list, never an error.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { promisify } from "node:util";

export interface Memory {
  readonly totalBytes: number;
  /** What the process may use: the container's limit where there is one. */
  readonly limitBytes: number;
  /** The limit is a container's, not the machine's. */
  readonly constrained: boolean;
}

export interface Tools {
  readonly node: string;
  readonly cmake: string | null;
  readonly compiler: string | null;
}

export interface Gpu {
  readonly name: string;
  readonly memory: string;
  readonly driver: string;
}

const timeoutMs = 10_000;

/** Instruction sets that matter for matrix products, as Linux names them. */
const relevantFeatures =
  /^(avx|avx2|fma|f16c|avx512f|avx512bw|avx512dq|avx512vl|avx512_bf16|amx_\w+|asimd|sve\d?|bf16)$/;

/** What of the CPU's features matters here; empty where the system does not tell. */
export function cpuFeatures(): readonly string[] {
  try {
    return parseCpuFeatures(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return []; // no Linux
  }
}

export function parseCpuFeatures(cpuinfo: string): readonly string[] {
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? "";
  return line.split(/\s+/).filter((feature) => relevantFeatures.test(feature));
}

export function memory(): Memory {
  const total = totalmem();
  const constraint = process.constrainedMemory() ?? 0; // 0: unknown; more than there is: no limit
  const constrained = constraint > 0 && constraint < total;
  return { totalBytes: total, limitBytes: constrained ? constraint : total, constrained };
}

export async function tools(): Promise<Tools> {
  const compilers = process.env.CXX ? [process.env.CXX] : ["c++", "g++", "clang++"];
  const [cmake, ...found] = await Promise.all(["cmake", ...compilers].map((name) => outputOf(name, ["--version"])));
  const compiler = found.find((text) => text !== null) ?? null;
  return { node: process.version, cmake: firstLine(cmake ?? null), compiler: firstLine(compiler) };
}

export async function gpus(): Promise<readonly Gpu[]> {
  const text = await outputOf("nvidia-smi", ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]);
  return parseGpus(text ?? "");
}

/** Lines of `name, memory, driver`. */
export function parseGpus(text: string): readonly Gpu[] {
  const lines = text.split("\n").map((line) => line.split(",").map((field) => field.trim()));
  return lines.flatMap(([name, memory, driver]) => (name && memory && driver ? [{ name, memory, driver }] : []));
}

async function outputOf(program: string, args: readonly string[]): Promise<string | null> {
  try {
    return (await promisify(execFile)(program, [...args], { timeout: timeoutMs })).stdout;
  } catch {
    return null; // not there, or it does not run here
  }
}

const firstLine = (text: string | null): string | null => text?.split("\n")[0]?.trim() ?? null;
