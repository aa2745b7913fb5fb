// What the engine's tests share: shapes that fit no tile, packed sequences, comparison by bits, and scripts in new processes.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { random } from "../../src/data/random.js";
import { cpuInfo } from "../../src/engine/doctor.js";
import { PROBE } from "../../src/engine/exactness.js";
import type { EngineOptions, GenerateResult, ModelSpec, PackedTokens, PolicyLoss } from "../../src/engine/types.js";
import { temporaryFolder as newFolder } from "./temporary.js";

export type Isa = NonNullable<EngineOptions["isa"]>;

/** Every instruction set that this machine and build have. */
export const isas = cpuInfo().available as readonly Isa[];

/** Every instruction set with 1 and with 2 threads. */
export const setups = isas.flatMap((isa) => [1, 2].map((threads) => ({ isa, threads })));

const root = new URL("../../", import.meta.url);
export const fixtures = fileURLToPath(new URL("test/fixtures/", root));
export const stories = fileURLToPath(new URL("../shared/models/", root));
export const hasStories = existsSync(join(stories, "stories260k", "model.safetensors"));

/** Sizes that fit no tile: 163 tokens, 72 wide, heads of 12. Two layers, so that keys depend on what came before. */
export const oddSpec: ModelSpec = PROBE;

/** Weights of oddSpec large enough that no distribution is flat. */
export const oddInit = { seed: 1, std: 0.15 };

/** One token a layer of the model's width: as quick as a model can be. */
export const smallSpec: ModelSpec = {
  ...oddSpec,
  vocabSize: 23,
  hiddenSize: 20,
  intermediateSize: 28,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  headDim: 10,
};

export function pack(sequences: readonly ArrayLike<number>[]): { ids: Int32Array; cuSeqlens: Int32Array } {
  const cuSeqlens = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, s) => {
    cuSeqlens[s + 1] = cuSeqlens[s]! + sequence.length;
  });
  return { ids: Int32Array.from(sequences.flatMap((sequence) => Array.from(sequence))), cuSeqlens };
}

/** The array of each sequence of a packed array [T]. */
export function unpack<A extends Int32Array | Float32Array>(array: A, cuSeqlens: Int32Array): A[] {
  const starts = Array.from(cuSeqlens.subarray(0, -1));
  return starts.map((start, s) => array.slice(start, cuSeqlens[s + 1]) as A);
}

/** Token sequences without a pattern. */
export function randomSequences(lengths: readonly number[], vocabSize: number, seed = 0): number[][] {
  const draw = random(seed, 7);
  return lengths.map((length) => Array.from({ length }, () => draw.int(vocabSize)));
}

/** The bits of an array, as text that a failed comparison can show. */
export function bitsOf(array: Float32Array): string {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex");
}

/** A policy loss that is clipped and nothing else. */
export function policyAt(temperature: number): PolicyLoss {
  return {
    kind: "policy",
    temperature,
    clipLow: 0.2,
    clipHigh: 0.2,
    dualClip: 0,
    klCoefficient: 0,
    entropyCoefficient: 0,
  };
}

/** Samples behind their prompts, as training sees them. `values` belong to the completions; prompts get zeros. */
export function joinSamples(prompts: PackedTokens, result: GenerateResult) {
  const heads = unpack(prompts.ids, prompts.cuSeqlens);
  const tails = unpack(result.tokens, result.cuSeqlens);
  const each = tails.length / heads.length;
  const promptOf = (s: number) => heads[Math.floor(s / each)]!;
  const spread = (values: Float32Array) =>
    Float32Array.from(
      unpack(values, result.cuSeqlens).flatMap((tail, s) => [...new Float32Array(promptOf(s).length), ...tail]),
    );
  return { tokens: pack(tails.map((tail, s) => [...promptOf(s), ...tail])), spread };
}

/** Runs an ES module in a new process, with `dist` as the folder of the built library; resolves with what it printed. */
export async function runScript(
  body: string,
  flags: readonly string[] = [],
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const source = `const dist = ${JSON.stringify(new URL("dist/", root).href)};\n${body}`;
  const args = [...flags, "--input-type=module", "--eval", source];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 110_000, maxBuffer: 1 << 26, env });
  return stdout.trim();
}

/** Where what a process holds is what its objects hold: glibc keeps an arena a thread that it has met, and freed blocks in it. */
export const steadyAllocator = { ...process.env, MALLOC_ARENA_MAX: "1", MALLOC_MMAP_THRESHOLD_: "65536" };

/** Of a script that is given to runScript: `anonymous()` is the process's own resident memory, bytes. */
export const anonymousMemory = `
  import { readFileSync } from "node:fs";
  const anonymous = () => 1024 * Number(/^RssAnon:\\s+(\\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
`;

export const temporaryFolder = (): string => newFolder("engine");
