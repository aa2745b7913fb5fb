// Facts about this machine as the engine sees it, and a probe of its central promise: a row's bits depend on the row alone.
import { cpus } from "node:os";
import { addon, defaultThreads } from "./addon.js";
import { Engine } from "./engine.js";
import type { EngineOptions, ModelSpec } from "./types.js";

export interface CpuInfo {
  readonly isa: string;
  readonly available: readonly string[];
  readonly features: readonly string[];
  readonly cores: number;
}

export function cpuInfo(): CpuInfo {
  const { best, available } = addon().isas();
  return { isa: best, available, features: [cpus()[0]?.model ?? "unknown"], cores: defaultThreads() };
}

export interface PeakReport {
  readonly gflops: number;
  readonly shape: string;
}

/** Best f32 matmul rate within about `seconds`, GFLOP/s. */
export function measurePeak(seconds: number, threads = defaultThreads()): PeakReport {
  const { gflops, rows, outputs, inputs } = addon().measurePeak({ seconds, threads });
  return { gflops, shape: `${rows} x ${outputs} x ${inputs}` };
}

export interface ExactnessReport {
  readonly ok: boolean;
  readonly cases: number;
  readonly failures: readonly string[];
}

/** A small model whose sizes fit no tile, so that every edge of the kernels is met. */
const PROBE: ModelSpec = {
  vocabSize: 163,
  hiddenSize: 72,
  intermediateSize: 104,
  layers: 2,
  heads: 6,
  kvHeads: 3,
  headDim: 12,
  maxPositions: 160,
  ropeTheta: 10_000,
  rmsNormEps: 1e-5,
  tieWordEmbeddings: false,
  bosTokenId: null,
  eosTokenIds: [],
};
const PROBE_LENGTH = 131;
const BATCHES = [1, 2, 7, 64];

/** Log-probs of one sequence, alone and in batches, on every instruction set and with 1 and 2 threads: all must be the same bits. */
export async function exactnessProbe(): Promise<ExactnessReport> {
  const sequence = Int32Array.from({ length: PROBE_LENGTH }, (_, i) => (i * 37 + 11) % PROBE.vocabSize);
  const failures: string[] = [];
  let expected: Float32Array | undefined;
  let cases = 0;
  for (const isa of addon().isas().available as NonNullable<EngineOptions["isa"]>[]) {
    for (const threads of [1, 2]) {
      await using engine = await Engine.create(PROBE, { seed: 1, std: 0.1 }, { isa, threads, trainable: false });
      for (const batch of BATCHES) {
        const { logprobs } = await engine.logprobs(repeat(sequence, batch));
        for (let s = 0; s < batch; s++) {
          const row = logprobs.slice(s * PROBE_LENGTH + 1, (s + 1) * PROBE_LENGTH);
          expected ??= row;
          cases++;
          if (!sameBits(row, expected)) failures.push(`${isa}, ${threads} threads, place ${s} of ${batch}`);
        }
      }
    }
  }
  return { ok: failures.length === 0, cases, failures };
}

function repeat(sequence: Int32Array, times: number): { ids: Int32Array; cuSeqlens: Int32Array } {
  const ids = new Int32Array(sequence.length * times);
  for (let i = 0; i < times; i++) ids.set(sequence, i * sequence.length);
  return { ids, cuSeqlens: Int32Array.from({ length: times + 1 }, (_, i) => i * sequence.length) };
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const bits = (x: Float32Array) => Buffer.from(x.buffer, x.byteOffset, x.byteLength);
  return bits(a).equals(bits(b));
}
