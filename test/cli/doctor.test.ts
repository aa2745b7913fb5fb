// The doctor's verdict and advice from made-up facts.
import { describe, expect, test } from "vitest";
import { type EngineReport, judge, reportLines } from "../../src/cli/doctor.js";
import { memory, parseCpuFeatures, parseGpus } from "../../src/cli/machine.js";

const GiB = 2 ** 30;

const engine: EngineReport = {
  cpu: { isa: "avx2", available: ["portable", "avx2"], model: "Some CPU", cores: 2 },
  peak: { gflops: 123.4, shape: "512 x 512 x 512" },
  reads: 34.6,
  peakBfloat16: { gflops: 246.8, shape: "512 x 512 x 512", path: "by the instruction" },
  exactness: { ok: true, cases: 12, failures: [] },
  plans: ["a model: 1 GiB"],
};
const facts = {
  engine,
  engineError: null,
  cpuFeatures: ["avx2", "fma"],
  memory: { totalBytes: 16 * GiB, limitBytes: 16 * GiB, constrained: false },
  tools: { node: "v20.17.0", cmake: "cmake version 3.25.1", compiler: "g++ 12" },
  gpus: [],
  cuda: { file: "zazen-cuda.node", device: null, error: "no addon", cublasLt: null, cublasLtError: "no addon" },
};
const cudaDevice = {
  name: "NVIDIA X",
  major: 9,
  minor: 0,
  processors: 132,
  memoryBytes: 80 * GiB,
  freeBytes: 79 * GiB,
  driver: 13_000,
  runtime: 12_080,
};

describe("judge", () => {
  test("a healthy machine needs no advice", () => {
    const report = judge(facts);
    expect([report.ok, report.advice]).toEqual([true, []]);
    const lines = reportLines(report);
    expect(lines).toContain("kernels     avx2 (available: portable, avx2)");
    expect(lines).toContain("peak        123 GFLOP/s in f32 at 512 x 512 x 512");
    expect(lines).toContain("reads       35 GB/s of memory");
    expect(lines).toContain("bf16        247 GFLOP/s at 512 x 512 x 512: by the instruction");
    expect(lines).toContain("exactness   exact in 12 cases");
    expect(lines).toContain("CPU         Some CPU, 2 cores");
    expect(lines).toContain("features    avx2 fma");
    expect(lines).toContain("memory      16.0 GiB");
    expect(lines).toContain("            a model: 1 GiB");
    expect(lines).toContain("CUDA        no kernels: no addon");
    expect(lines.some((line) => line.startsWith("cuBLASLt"))).toBe(false);
  });

  test("a device that the CUDA addon sees is described, and whether it finds cuBLASLt", () => {
    const cuda = { ...facts.cuda, device: cudaDevice, error: null };
    const without = reportLines(judge({ ...facts, cuda: { ...cuda, cublasLtError: "none at libcublasLt.so.13" } }));
    expect(without).toContain(
      "CUDA        kernels of CUDA 12.8 on NVIDIA X, compute capability 9.0, 132 multiprocessors, 79.0 GiB of 80.0 GiB free",
    );
    expect(without).toContain("cuBLASLt    not found, products use the own kernels: none at libcublasLt.so.13");
    const cublasLt = { file: "libcublasLt.so.13", version: 130_102 };
    const lines = reportLines(judge({ ...facts, cuda: { ...cuda, cublasLt, cublasLtError: null } }));
    expect(lines).toContain("cuBLASLt    13.1.2 from libcublasLt.so.13");
  });

  test("a missing engine is not well, and says why", () => {
    const report = judge({ ...facts, engine: null, engineError: "no addon" });
    expect(report.ok).toBe(false);
    expect(report.advice[0]).toContain("npm run build");
    expect(reportLines(report)[0]).toBe("engine      not available: no addon");
  });

  test("an inexact engine is not well", () => {
    const report = judge({
      ...facts,
      engine: { ...engine, exactness: { ok: false, cases: 3, failures: ["batch 64"] } },
    });
    expect(report.ok).toBe(false);
    expect(report.advice[0]).toContain("Do not train");
    expect(reportLines(report)).toContain("exactness   NOT exact: batch 64");
  });

  test("a GPU, little memory, portable kernels and missing tools give advice", () => {
    const gpu = { name: "NVIDIA X", memory: "8192 MiB", driver: "550.1" };
    const report = judge({
      ...facts,
      engine: { ...engine, cpu: { ...engine.cpu, isa: "portable" } },
      memory: { totalBytes: 16 * GiB, limitBytes: GiB, constrained: true },
      tools: { ...facts.tools, cmake: null },
      gpus: [gpu],
    });
    expect(report.ok).toBe(true);
    expect(report.advice).toHaveLength(4);
    expect(report.advice.join("\n")).toContain("training on a GPU is not built in yet");
    expect(reportLines(report)).toContain("memory      1.0 GiB (container limit; machine 16.0 GiB)");
    expect(reportLines(report)).toContain("GPU         NVIDIA X, 8192 MiB, driver 550.1");
  });
});

describe("the machine", () => {
  test("memory has a limit within what there is", () => {
    const { totalBytes, limitBytes, constrained } = memory();
    expect(limitBytes).toBeGreaterThan(0);
    expect(limitBytes).toBeLessThanOrEqual(totalBytes);
    expect(constrained).toBe(limitBytes < totalBytes);
  });

  test("parseCpuFeatures keeps what matters for matrix products", () => {
    expect(parseCpuFeatures("model : X\nflags\t\t: fpu sse avx avx2 fma avx512f xsave\nflags\t\t: avx\n")).toEqual([
      "avx",
      "avx2",
      "fma",
      "avx512f",
    ]);
    expect(parseCpuFeatures("Features\t: fp asimd sve2 bf16\n")).toEqual(["asimd", "sve2", "bf16"]);
    expect(parseCpuFeatures("")).toEqual([]);
  });

  test("parseGpus reads one GPU a line, and nothing from other text", () => {
    expect(parseGpus("NVIDIA A, 81559 MiB, 550.54\nNVIDIA B, 8 MiB, 1\n")).toEqual([
      { name: "NVIDIA A", memory: "81559 MiB", driver: "550.54" },
      { name: "NVIDIA B", memory: "8 MiB", driver: "1" },
    ]);
    expect(parseGpus("")).toEqual([]);
    expect(parseGpus("No devices were found\n")).toEqual([]);
  });
});
