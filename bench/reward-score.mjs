// Tokens a second of a native reward model's scores: random weights in the shape of Qwen2.5-0.5B with a scalar head, texts of unlike lengths
// as ids, through the scorer that the recipes use. The limit is what the matmuls of a forward pass take at the machine's best rate, which is
// measured before and after each repetition. Scores are checked against those of texts alone. Needs `npm run build`.
// node bench/reward-score.mjs [--dtype float32|bfloat16] [--texts N] [--shortest N] [--longest N] [--threads N] [--rounds N] [--json FILE]
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { cpuInfo, measurePeak } from "../dist/engine/doctor.js";
import { Engine } from "../dist/engine/engine.js";
import { NativeScorer } from "../dist/reward/model/native.js";
import { check, commit, finish, HALF_BILLION, machine, median, printTable } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    dtype: { type: "string", default: "float32" },
    texts: { type: "string", default: "16" },
    shortest: { type: "string", default: "64" },
    longest: { type: "string", default: "320" },
    threads: { type: "string", default: String(availableParallelism()) },
    rounds: { type: "string", default: "3" },
    json: { type: "string" },
  },
});
const { dtype } = flags;
const [texts, shortest, longest, threads, rounds] = ["texts", "shortest", "longest", "threads", "rounds"].map((name) =>
  Number(flags[name]),
);

const LEAST_SHARE = 0.8; // of the limit
const PEAK_SECONDS = 1;
const BATCH_TOKENS = 4096; // the default of a reward model's settings
const never = new AbortController().signal;

/** Lengths spread evenly between the shortest and the longest text, the same in every run. */
const lengths = Array.from({ length: texts }, (_, i) =>
  Math.round(shortest + ((longest - shortest) * ((i * 7) % texts)) / Math.max(1, texts - 1)),
);
const ids = lengths.map((length, s) =>
  Int32Array.from({ length }, (_, t) => 1 + ((7919 * (t + 1) * (s + 3)) % (HALF_BILLION.vocabSize - 1))),
);
const tokens = lengths.reduce((sum, length) => sum + length, 0);

/** Multiplications and additions of a pass over the texts: the blocks' matrices, and each query with the keys up to its own. */
function forwardFlops() {
  const { hiddenSize, intermediateSize, layers, heads, kvHeads, headDim } = HALF_BILLION;
  const attention = hiddenSize * headDim * (2 * heads + 2 * kvHeads);
  const block = attention + 3 * hiddenSize * intermediateSize;
  const keys = lengths.reduce((sum, length) => sum + (length * (length + 1)) / 2, 0);
  return 2 * layers * (block * tokens + 2 * heads * headDim * keys);
}

const engines = {
  load: (_, options) => Engine.create(HALF_BILLION, { seed: 0 }, { ...options, head: "scalar" }),
};
const settings = { model: "", dtype, threads, batchTokens: BATCH_TOKENS };
const scorer = await NativeScorer.open(engines, settings, HALF_BILLION.maxPositions);
const scores = await scorer.score(ids, never); // warms the memory up
for (const place of [0, texts - 1]) {
  const [alone] = await scorer.score([ids[place]], never);
  check(alone === scores[place], `expected the score ${alone} of text ${place} among others, got ${scores[place]}`);
}
// The machine's speed swings: its best rate is measured between the repetitions, and each is compared with its neighbours.
const peaks = [measurePeak(PEAK_SECONDS, threads, dtype).gflops];
const times = [];
for (let round = 0; round < rounds; round++) {
  const began = performance.now();
  await scorer.score(ids, never);
  times.push((performance.now() - began) / 1000);
  peaks.push(measurePeak(PEAK_SECONDS, threads, dtype).gflops);
}
await scorer[Symbol.asyncDispose]();
const flops = forwardFlops();
const limits = times.map((_, i) => flops / 1e9 / ((peaks[i] + peaks[i + 1]) / 2)); // seconds
const share = median(times.map((seconds, i) => limits[i] / seconds));
const seconds = median(times);
printTable(
  ["dtype", "texts", "tokens", "s", "tok/s", "GFLOP/s", "limit, s", "of the limit", `least ${LEAST_SHARE}`],
  [
    [
      ...[dtype, texts, tokens, seconds.toFixed(2), (tokens / seconds).toFixed(0), (flops / seconds / 1e9).toFixed(1)],
      ...[median(limits).toFixed(2), share.toFixed(3), share >= LEAST_SHARE ? "held" : "missed"],
    ],
  ],
);
finish(
  {
    ...{ bench: "reward-score", shape: "qwen2.5-0.5b", dtype, threads, isa: cpuInfo().isa },
    ...{ texts, tokens, flops, seconds, tokensPerSecond: tokens / seconds, times },
    ...{ peakGflops: peaks, limitSeconds: limits, shareOfLimit: share, least: LEAST_SHARE },
    machine: machine(),
    commit: commit(),
  },
  flags.json,
);
