// A probe of the engine's central promise: the log-probs of a sequence are the same bits alone and in a batch of others, at every place,
// on every instruction set, with 1 and 2 threads, and those of a sample are the ones recorded when it was drawn. In float32 and bfloat16.
import { addon } from "./addon.js";
import { Engine } from "./engine.js";
import {
  DTYPES,
  type DType,
  type EngineOptions,
  type GenerateResult,
  type ModelSpec,
  type PackedTokens,
} from "./types.js";

export interface ExactnessReport {
  readonly ok: boolean;
  readonly cases: number;
  readonly failures: readonly string[];
}

type Isa = NonNullable<EngineOptions["isa"]>;
type Probed = Pick<Engine, "logprobs" | "generate" | typeof Symbol.asyncDispose>;

/** Opens the model that is probed; the weights are the same each time. */
export type OpenProbed = (options: ProbeOptions) => Promise<Probed>;

export interface ProbeOptions {
  readonly isa: Isa;
  readonly threads: number;
  readonly dtype: DType;
}

/** A small model whose sizes fit no tile, so that every edge of the kernels is met. */
export const PROBE: ModelSpec = {
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
const BATCHES = [1, 2, 7, 64];
const PORTABLE_BATCHES = [1, 7]; // slow, so fewer
const PROMPTS = [1, 17, 40]; // tokens
const SAMPLING = { maxTokens: 16, temperature: 0.7 };
const SAMPLES_PER_PROMPT = 3;

/** No two have the same tokens or, among the first 130, the same length; the first is the longest. */
const SEQUENCES = Array.from({ length: Math.max(...BATCHES) }, (_, s) =>
  Int32Array.from({ length: 2 + ((129 + s * 29) % 130) }, (_, i) => (i * 37 + 11 + 5 * s) % PROBE.vocabSize),
);

/** Probes this build on this machine; some seconds. */
export async function exactnessProbe(open: OpenProbed = openProbe): Promise<ExactnessReport> {
  const failures: string[] = [];
  let cases = 0;
  const count = (found: readonly (string | null)[]) => {
    cases += found.length;
    failures.push(...found.filter((failure) => failure !== null));
  };
  for (const dtype of DTYPES) {
    const alone = await scoreAlone(open, dtype);
    for (const isa of addon().isas().available as Isa[]) {
      for (const threads of [1, 2]) {
        await using engine = await open({ isa, threads, dtype });
        const setup = `${isa}, ${threads} threads, ${dtype}`;
        for (const size of isa === "portable" ? PORTABLE_BATCHES : BATCHES)
          count(await probeBatch(engine, size, alone, setup));
        count(await probeSampling(engine, setup));
      }
    }
  }
  return { ok: failures.length === 0, cases, failures };
}

function openProbe(options: ProbeOptions): Promise<Probed> {
  return Engine.create(PROBE, { seed: 1, std: 0.1 }, { ...options, trainable: false });
}

/** Log-probs of each sequence by itself. */
async function scoreAlone(open: OpenProbed, dtype: DType): Promise<Float32Array[]> {
  await using engine = await open({ isa: "auto", threads: 1, dtype });
  const rows: Float32Array[] = [];
  for (const sequence of SEQUENCES) rows.push((await engine.logprobs(pack([sequence]))).logprobs);
  return rows;
}

/** A failure or null for each sequence of a batch. They stand in reverse, so that each has another place in each batch. */
async function probeBatch(engine: Probed, size: number, alone: readonly Float32Array[], setup: string) {
  const packed = pack(SEQUENCES.slice(0, size).reverse());
  const { logprobs } = await engine.logprobs(packed);
  return Array.from({ length: size }, (_, place) => {
    const row = rowOf(logprobs, packed.cuSeqlens, place);
    return sameBits(row, alone[size - 1 - place]!) ? null : `${setup}, place ${place} of ${size}`;
  });
}

/** A failure or null for each sample: what was recorded when it was drawn against the log-probs of prompt and completion. */
async function probeSampling(engine: Probed, setup: string) {
  const prompts = PROMPTS.map((length, p) => SEQUENCES[p]!.slice(0, length));
  const request = { prompts: pack(prompts), samplesPerPrompt: SAMPLES_PER_PROMPT, sampling: SAMPLING };
  const result = await engine.generate(request);
  const whole = pack(result.finish.map((_, s) => withPrompt(prompts[Math.floor(s / SAMPLES_PER_PROMPT)]!, result, s)));
  const { logprobs } = await engine.logprobs({ ...whole, temperature: SAMPLING.temperature });
  return result.finish.map((_, s) => {
    const recorded = rowOf(result.logprobs, result.cuSeqlens, s);
    const scored = rowOf(logprobs, whole.cuSeqlens, s).slice(-recorded.length);
    return sameBits(scored, recorded) ? null : `${setup}, sample ${s} scored again`;
  });
}

function withPrompt(prompt: Int32Array, { tokens, cuSeqlens }: GenerateResult, s: number): Int32Array {
  return Int32Array.of(...prompt, ...tokens.subarray(cuSeqlens[s], cuSeqlens[s + 1]));
}

function pack(sequences: readonly Int32Array[]): PackedTokens {
  const cuSeqlens = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, s) => {
    cuSeqlens[s + 1] = cuSeqlens[s]! + sequence.length;
  });
  const ids = new Int32Array(cuSeqlens.at(-1)!);
  sequences.forEach((sequence, s) => {
    ids.set(sequence, cuSeqlens[s]);
  });
  return { ids, cuSeqlens };
}

function rowOf(values: Float32Array, cuSeqlens: Int32Array, s: number): Float32Array {
  return values.slice(cuSeqlens[s], cuSeqlens[s + 1]);
}

/** NaN, which the first token of a sequence has, is the same as NaN. */
function sameBits(a: Float32Array, b: Float32Array): boolean {
  const bits = (x: Float32Array) => Buffer.from(x.buffer, x.byteOffset, x.byteLength);
  return bits(a).equals(bits(b));
}
