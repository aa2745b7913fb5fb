// Facts about this machine as the engine sees it: the CPU, the kernels for it, and the rate that they reach.
import { cpus } from "node:os";
import { addon, defaultThreads } from "./addon.js";
import { planMemory } from "./engine.js";
import { memoryLine } from "./memory.js";
import { memoryRoom } from "./memory-limit.js";
import { processMemory } from "./process-memory.js";
import type { DType, EngineOptions, ModelSpec } from "./types.js";

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

/**
 * Best rate within about `seconds` at which the threads read memory beyond the caches, GB/s. It bounds decoding: a token of one sample reads
 * all weights. Takes 512 MiB for as long.
 */
export function measureReads(seconds: number, threads = defaultThreads()): number {
  return addon().measureReads({ seconds, threads });
}

/** The shape of Qwen2.5-0.5B: small for a language model, large for a laptop. */
const HALF_BILLION: ModelSpec = {
  family: "qwen2",
  vocabSize: 151_936,
  hiddenSize: 896,
  intermediateSize: 4864,
  layers: 24,
  heads: 14,
  kvHeads: 2,
  headDim: 64,
  maxPositions: 32_768,
  ropeTheta: 1e6,
  rmsNormEps: 1e-6,
  tieWordEmbeddings: true,
  bosTokenId: null,
  eosTokenIds: [],
};
const STEP = { train: { tokens: 4096, longest: 4096 } };
const EXAMPLES: readonly (readonly [string, EngineOptions])[] = [
  ["float32", {}],
  ["bfloat16, recomputed", { dtype: "bfloat16", moments: "bfloat16", recompute: true }],
];

/** Memory plans of training a known shape, against what this machine has left. */
export function examplePlans(): readonly string[] {
  const beside = [processMemory(0, HALF_BILLION, STEP)];
  return EXAMPLES.map(([name, options]) => {
    const plan = planMemory(HALF_BILLION, options, STEP);
    return `0.5B parameters, ${name}, steps of 4,096 tokens: ${memoryLine(plan, 0, memoryRoom(), beside)}`;
  });
}
