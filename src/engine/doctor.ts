// Facts about this machine as the engine sees it: the CPU, the kernels for it, and the rate that they reach.
import { cpus } from "node:os";
import { addon, defaultThreads } from "./addon.js";
import type { DType } from "./types.js";

export interface CpuInfo {
  readonly isa: string;
  readonly available: readonly string[];
  /** The CPU's name; "unknown" where the system does not tell. */
  readonly model: string;
  readonly cores: number;
}

export function cpuInfo(): CpuInfo {
  const { best, available } = addon().isas();
  return { isa: best, available, model: cpus()[0]?.model ?? "unknown", cores: defaultThreads() };
}

/** How this CPU multiplies pairs of bf16; the bits are the same. */
export function bfloat16Path({ isa }: Pick<CpuInfo, "isa">): string {
  return isa === "avx512_bf16" ? "the instruction for pairs" : "two f32 multiply-adds a pair, no faster than f32";
}

export interface PeakReport {
  readonly gflops: number;
  readonly shape: string;
}

/** Best matmul rate within about `seconds`, GFLOP/s. */
export function measurePeak(seconds: number, threads = defaultThreads(), dtype: DType = "float32"): PeakReport {
  const { gflops, rows, outputs, inputs } = addon().measurePeak({ seconds, threads, dtype });
  return { gflops, shape: `${rows} x ${outputs} x ${inputs}` };
}
