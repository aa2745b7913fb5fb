// `zazen doctor`: what this machine can do, whether the engine keeps its promise of exact bits here, and what to change.
import { Command } from "commander";
import type { CudaReport } from "../engine/cuda.js";
import type { Gpu, Memory, Tools } from "./machine.js";
import { commonHelp, exitCodes, log, printJson, printLines } from "./output.js";

/** What is known of the native engine; see engine/doctor.ts and engine/exactness.ts. */
export interface EngineReport {
  readonly cpu: {
    readonly isa: string;
    readonly available: readonly string[];
    readonly model: string;
    readonly cores: number;
  };
  readonly peak: { readonly gflops: number; readonly shape: string };
  /** The same in bf16; `path`: how pairs of bf16 are multiplied. */
  readonly peakBfloat16: { readonly gflops: number; readonly shape: string; readonly path: string };
  /** Of memory, GB/s. */
  readonly reads: number;
  readonly exactness: { readonly ok: boolean; readonly cases: number; readonly failures: readonly string[] };
  /** Memory plans of a known shape; see engine/memory.ts. */
  readonly plans: readonly string[];
}

export interface DoctorReport {
  /** False: the engine is missing, or its bits depend on what they must not depend on. */
  readonly ok: boolean;
  readonly engine: EngineReport | null;
  /** Why there is no engine. */
  readonly engineError: string | null;
  readonly cpuFeatures: readonly string[];
  readonly memory: Memory;
  readonly tools: Tools;
  readonly gpus: readonly Gpu[];
  /** The addon of CUDA kernels: the device and the cuBLASLt that it sees, or why it sees none. */
  readonly cuda: CudaReport;
  readonly advice: readonly string[];
}

type Facts = Omit<DoctorReport, "ok" | "advice">;

const peakSeconds = 1;
const GiB = 2 ** 30;
const fewBytes = 2 * GiB;

const help = `
Checks the CPU's features and the kernel path chosen, measures the peaks of matrix products and reads, probes that bits do not
depend on batch size, place in the batch or threads nor differ between sampling and scoring, and looks at memory,
build tools and GPUs. Takes some seconds.

Examples:
  zazen doctor
  zazen doctor --json

JSON: {ok, engine: {cpu, peak, peakBfloat16, reads, exactness, plans}, engineError, cpuFeatures, memory, tools, gpus, cuda,
advice}.
Ends with 1 when the engine is missing or inexact.`;

export function doctorCommand(): Command {
  return new Command("doctor")
    .summary("check this machine")
    .description("Checks what this machine can do and whether the engine is exact on it.")
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (options: { json?: boolean }) => {
      const report = judge(await gather());
      if (options.json === true) printJson(report);
      else printLines(reportLines(report));
      if (!report.ok) process.exitCode = exitCodes.failed;
    });
}

async function gather(): Promise<Facts> {
  const machine = await import("./machine.js");
  const [tools, gpus] = await Promise.all([machine.tools(), machine.gpus()]);
  const { cudaReport } = await import("../engine/cuda.js");
  const facts = { cpuFeatures: machine.cpuFeatures(), memory: machine.memory(), tools, gpus, cuda: cudaReport() };
  try {
    return { ...facts, engine: await examineEngine(), engineError: null };
  } catch (error) {
    return { ...facts, engine: null, engineError: error instanceof Error ? error.message : String(error) };
  }
}

async function examineEngine(): Promise<EngineReport> {
  const { bfloat16Path, cpuInfo, examplePlans, measurePeak, measureReads } = await import("../engine/doctor.js");
  const { exactnessProbe } = await import("../engine/exactness.js");
  log("measuring the peak and probing exactness ...");
  const plans = examplePlans(); // before the probe takes memory
  const cpu = cpuInfo();
  const peakBfloat16 = { ...measurePeak(peakSeconds, cpu.cores, "bfloat16"), path: bfloat16Path(cpu) };
  const [peak, reads] = [measurePeak(peakSeconds), measureReads(peakSeconds)];
  return { cpu, peak, peakBfloat16, reads, exactness: await exactnessProbe(), plans };
}

/** The facts with a verdict and advice. */
export function judge(facts: Facts): DoctorReport {
  const ok = facts.engine?.exactness.ok === true;
  return { ok, ...facts, advice: [...engineAdvice(facts), ...machineAdvice(facts)] };
}

function engineAdvice({ engine }: Facts): readonly string[] {
  if (engine === null) return ["The engine is not built for this machine: npm run build"];
  const slow = engine.cpu.isa === "portable";
  return [
    ...(engine.exactness.ok
      ? []
      : ["Do not train with this build: its results depend on the batch or the threads. Build again and report it."]),
    ...(slow ? ["The portable kernels are in use; a CPU with AVX2 or AVX-512 is several times faster."] : []),
  ];
}

function machineAdvice({ memory, gpus, tools }: Facts): readonly string[] {
  return [
    ...gpus.map(({ name }) => `${name}: training on a GPU is not built in yet; runs use the CPU.`),
    ...(memory.limitBytes < fewBytes ? [`${gib(memory.limitBytes)} of memory is enough for small models only.`] : []),
    ...(tools.cmake === null || tools.compiler === null
      ? ["CMake and a C++20 compiler are needed to build the engine again."]
      : []),
  ];
}

export function reportLines(report: DoctorReport): readonly string[] {
  const { memory, tools, gpus, advice } = report;
  const limit = memory.constrained
    ? `${gib(memory.limitBytes)} (container limit; machine ${gib(memory.totalBytes)})`
    : gib(memory.totalBytes);
  return [
    ...engineLines(report),
    `features    ${report.cpuFeatures.join(" ") || "unknown"}`,
    `memory      ${limit}`,
    ...(report.engine?.plans ?? []).map((line) => `            ${line}`),
    `tools       Node ${tools.node}; ${tools.cmake ?? "no CMake"}; ${tools.compiler ?? "no C++ compiler"}`,
    ...(gpus.length === 0
      ? ["GPU         none found"]
      : gpus.map((gpu) => `GPU         ${gpu.name}, ${gpu.memory}, driver ${gpu.driver}`)),
    `CUDA        ${cudaLine(report.cuda)}`,
    ...cublasLines(report.cuda),
    ...(advice.length === 0
      ? ["advice      none: this machine is ready"]
      : advice.map((line) => `advice      ${line}`)),
  ];
}

function engineLines({ engine, engineError }: DoctorReport): readonly string[] {
  if (engine === null) return [`engine      not available: ${engineError ?? "unknown"}`];
  const { cpu, peak, peakBfloat16, reads, exactness } = engine;
  const verdict = exactness.ok ? `exact in ${exactness.cases} cases` : `NOT exact: ${exactness.failures.join("; ")}`;
  return [
    `CPU         ${cpu.model}, ${cpu.cores} cores`,
    `kernels     ${cpu.isa} (available: ${cpu.available.join(", ")})`,
    `peak        ${peak.gflops.toFixed(0)} GFLOP/s in f32 at ${peak.shape}`,
    `bf16        ${peakBfloat16.gflops.toFixed(0)} GFLOP/s at ${peakBfloat16.shape}: ${peakBfloat16.path}`,
    `reads       ${reads.toFixed(0)} GB/s of memory`,
    `exactness   ${verdict}`,
  ];
}

function cudaLine({ device, error }: CudaReport): string {
  if (device === null) return `no kernels: ${error}`;
  const { name, major, minor, processors, memoryBytes, freeBytes, runtime } = device;
  const version = `${Math.floor(runtime / 1000)}.${Math.floor((runtime % 1000) / 10)}`;
  return `kernels of CUDA ${version} on ${name}, compute capability ${major}.${minor}, ${processors} multiprocessors, ${gib(freeBytes)} of ${gib(memoryBytes)} free`;
}

/** Nothing where there is no GPU that could use it. */
function cublasLines({ device, cublasLt, cublasLtError }: CudaReport): readonly string[] {
  if (device === null) return [];
  if (cublasLt === null) return [`cuBLASLt    not found, products use the own kernels: ${cublasLtError}`];
  const { file, version } = cublasLt;
  const parts = [Math.floor(version / 10_000), Math.floor((version % 10_000) / 100), version % 100];
  return [`cuBLASLt    ${parts.join(".")} from ${file}`];
}

const gib = (bytes: number): string => `${(bytes / GiB).toFixed(1)} GiB`;
