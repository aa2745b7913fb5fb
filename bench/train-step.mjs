// Seconds of one training step in float32 or bfloat16: forward, mean negative log-likelihood, backward, gradient clipping, AdamW; random weights and
// tokens, the same batch every step. The shapes are those of bench/peers/train_step.py. Needs `npm run build`.
// node bench/train-step.mjs --shape qwen2.5-0.5b|1m|trial [--threads N] [--steps N] [--warmup N] [--sequences N] [--length N]
//   [--dtype float32|bfloat16] [--recompute] [--peak GFLOPS] [--json FILE]
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { cpuInfo, measurePeak } from "../dist/engine/doctor.js";
import { Engine } from "../dist/engine/engine.js";
import { check, commit, finish, machine, median, printTable } from "./support.mjs";

// sequences x length is the batch; kv: key/value heads.
const SHAPES = {
  "qwen2.5-0.5b": {
    hidden: 896,
    layers: 24,
    heads: 14,
    kv: 2,
    headDim: 64,
    mlp: 4864,
    vocabulary: 151_936,
    tied: true,
    sequences: 8,
    length: 256,
  },
  "1m": {
    hidden: 128,
    layers: 5,
    heads: 8,
    kv: 4,
    headDim: 16,
    mlp: 352,
    vocabulary: 105,
    tied: true,
    sequences: 8,
    length: 256,
  },
  trial: {
    hidden: 96,
    layers: 3,
    heads: 3,
    kv: 3,
    headDim: 32,
    mlp: 256,
    vocabulary: 121,
    tied: false,
    sequences: 16,
    length: 96,
  },
};
const OPTIMIZER = { learningRate: 1e-4, beta1: 0.9, beta2: 0.95, maxGradNorm: 1 };
const PEAK_SECONDS = 2;

const { values: flags } = parseArgs({
  options: {
    shape: { type: "string" },
    threads: { type: "string", default: String(availableParallelism()) },
    steps: { type: "string" },
    warmup: { type: "string" },
    sequences: { type: "string" },
    length: { type: "string" },
    dtype: { type: "string", default: "float32" },
    recompute: { type: "boolean", default: false },
    peak: { type: "string" },
    json: { type: "string" },
  },
});
const shape = SHAPES[flags.shape];
check(shape, `--shape: expected one of ${Object.keys(SHAPES).join(", ")}, got ${flags.shape}`);
const large = flags.shape === "qwen2.5-0.5b";
const steps = Number(flags.steps ?? (large ? 3 : 50));
const warmup = Number(flags.warmup ?? (large ? 1 : 10));
const sequences = Number(flags.sequences ?? shape.sequences);
const length = Number(flags.length ?? shape.length);
const threads = Number(flags.threads);
const tokens = sequences * length;

const spec = {
  vocabSize: shape.vocabulary,
  hiddenSize: shape.hidden,
  intermediateSize: shape.mlp,
  layers: shape.layers,
  heads: shape.heads,
  kvHeads: shape.kv,
  headDim: shape.headDim,
  maxPositions: 1024,
  ropeTheta: 10_000,
  rmsNormEps: 1e-5,
  tieWordEmbeddings: shape.tied,
  bosTokenId: null,
  eosTokenIds: [],
};

/** Every first token has weight 0; the others share the mean. */
function makeBatch() {
  const ids = Int32Array.from({ length: tokens }, () => Math.floor(Math.random() * spec.vocabSize));
  const cuSeqlens = Int32Array.from({ length: sequences + 1 }, (_, s) => s * length);
  const weights = new Float32Array(tokens).fill(1 / (sequences * (length - 1)));
  for (const start of cuSeqlens.subarray(0, -1)) weights[start] = 0;
  return { ids, cuSeqlens, weights };
}

/** Operations of a step: 6 a weight of a matrix and token, and attention's two products over the causal half, forward and twice back. */
function stepFlops(parameters) {
  const matrices = parameters - (spec.tieWordEmbeddings ? 0 : spec.vocabSize * spec.hiddenSize);
  const pairs = (sequences * length * (length + 1)) / 2;
  const attention = 3 * 2 * 2 * spec.layers * spec.heads * spec.headDim * pairs;
  return { weights: 6 * matrices * tokens, attention, total: 6 * matrices * tokens + attention };
}

/** The loss of training against log-probs from the other path, and against what random weights must give. */
async function checkLoss(engine, batch) {
  const { logprobs } = await engine.logprobs(batch);
  const known = logprobs.filter((value) => !Number.isNaN(value));
  const wanted = -known.reduce((sum, value) => sum + value, 0) / known.length;
  const { loss } = await engine.forwardBackward(batch, { kind: "sft" });
  check(Math.abs(loss - wanted) < 1e-5 * wanted, `expected the loss ${wanted} of the log-probs, got ${loss}`);
  check(Math.abs(loss - Math.log(spec.vocabSize)) < 0.5, `expected a loss near log ${spec.vocabSize}, got ${loss}`);
  await engine.optimStep({ ...OPTIMIZER, learningRate: 0 });
}

async function measure(engine, batch) {
  const losses = [];
  const seconds = [];
  for (let step = 0; step < warmup + steps; step++) {
    const began = performance.now();
    losses.push((await engine.forwardBackward(batch, { kind: "sft" })).loss);
    await engine.optimStep(OPTIMIZER);
    seconds.push((performance.now() - began) / 1000);
    console.error(`step ${step + 1} loss ${losses.at(-1).toFixed(4)} ${seconds.at(-1).toFixed(3)} s`);
  }
  check(losses.at(-1) < losses[0], `expected the loss to fall, got ${losses[0]} to ${losses.at(-1)}`);
  return { losses, seconds: seconds.slice(warmup) };
}

const peak = flags.peak ? Number(flags.peak) : measurePeak(PEAK_SECONDS, threads, flags.dtype).gflops;
const engine = await Engine.create(spec, { seed: 0 }, { threads, dtype: flags.dtype, recompute: flags.recompute });
const batch = makeBatch();
await checkLoss(engine, batch);
const { losses, seconds: all } = await measure(engine, batch);
const seconds = median(all);
const flops = stepFlops(engine.parameters);
const gflops = flops.total / seconds / 1e9;
const { peakBytes } = engine.memory();
await engine.dispose();
printTable(
  ["shape", "batch", "s a step", "tok/s", "GFLOP/s", "peak", "of peak"],
  [
    [
      flags.shape,
      `${sequences} x ${length}`,
      seconds.toFixed(4),
      (tokens / seconds).toFixed(0),
      gflops.toFixed(1),
      peak.toFixed(1),
      `${((100 * gflops) / peak).toFixed(0)}%`,
    ],
  ],
);
finish(
  {
    bench: "train_step",
    shape: flags.shape,
    dtype: flags.dtype,
    recompute: flags.recompute,
    sequences,
    length,
    threads,
    isa: cpuInfo().isa,
    parameters: engine.parameters,
    steps,
    seconds,
    secondsBest: Math.min(...all),
    tokensPerSecond: tokens / seconds,
    flops,
    gflops,
    peakGflops: peak,
    shareOfPeak: gflops / peak,
    lossFirst: losses[0],
    lossLast: losses.at(-1),
    engineBytes: peakBytes,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    machine: machine(),
    commit: commit(),
  },
  flags.json,
);
