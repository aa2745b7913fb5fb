// Tokens a second of generation, prompts and all: random weights, prompts of random tokens, every sample as long as is asked for. The
// shape is that of bench/peers/decode.py. Needs `npm run build`.
// node bench/decode.mjs [--dtype float32|bfloat16] [--batch N] [--prompt N] [--tokens N] [--threads N] [--repeats N]
//   [--bandwidth GB_PER_S] [--peak GFLOPS] [--json FILE]
// Says what share of the machine's reads (measured before and after each repetition, or --bandwidth) reading the weights once a token is, and
// with --peak, what share of that the matmuls are.
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { cpuInfo, measureReads } from "../dist/engine/doctor.js";
import { Engine } from "../dist/engine/engine.js";
import { check, commit, finish, HALF_BILLION, machine, median, printTable } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    dtype: { type: "string", default: "bfloat16" },
    batch: { type: "string", default: "1" },
    prompt: { type: "string", default: "16" },
    tokens: { type: "string", default: "64" },
    threads: { type: "string", default: String(availableParallelism()) },
    repeats: { type: "string", default: "1" },
    bandwidth: { type: "string" },
    peak: { type: "string" },
    json: { type: "string" },
  },
});
const { dtype } = flags;
const [batch, prompt, tokens, threads, repeats] = ["batch", "prompt", "tokens", "threads", "repeats"].map((name) =>
  Number(flags[name]),
);

const READ_SECONDS = 0.5;

const prompts = {
  ids: Int32Array.from({ length: batch * prompt }, () => Math.floor(Math.random() * HALF_BILLION.vocabSize)),
  cuSeqlens: Int32Array.from({ length: batch + 1 }, (_, s) => s * prompt),
};

/** Log-probs of the first sample against those of a pass over all of it. */
async function checkSample(engine, { tokens: sampled, cuSeqlens, logprobs }) {
  const whole = Int32Array.of(...prompts.ids.subarray(0, prompt), ...sampled.subarray(0, cuSeqlens[1]));
  const again = await engine.logprobs({ ids: whole, cuSeqlens: Int32Array.of(0, whole.length) });
  for (let t = 0; t < cuSeqlens[1]; t++)
    check(again.logprobs[prompt + t] === logprobs[t], `expected the log-prob ${logprobs[t]} of token ${t} once more`);
}

/** Seconds of a token a sample: from the first token of the batch, prompts behind it, to the last. */
async function measure(engine) {
  let first;
  const began = performance.now();
  const onProgress = () => {
    first ??= performance.now();
  };
  const sampling = { temperature: 1, maxTokens: tokens, stopTokenIds: [] };
  const result = await engine.generate({ prompts, sampling, onProgress });
  const ended = performance.now();
  check(result.tokens.length === batch * tokens, `expected ${batch * tokens} tokens, got ${result.tokens.length}`);
  return { result, whole: (ended - began) / 1000, decode: (ended - first) / 1000 };
}

const engine = await Engine.create(HALF_BILLION, { seed: 0 }, { threads, dtype, trainable: false });
await measure(engine); // warms the memory up
// The machine's speed swings: reads are measured between the repetitions, and each is compared with its neighbours.
const reads = [measureReads(READ_SECONDS, threads)];
const runs = [];
for (let i = 0; i < repeats; i++) {
  runs.push(await measure(engine));
  reads.push(measureReads(READ_SECONDS, threads));
}
await checkSample(engine, runs[0].result);
const seconds = median(runs.map(({ whole }) => whole));
const weightBytes = engine.parameters * (dtype === "bfloat16" ? 2 : 4);
// The first progress comes with the second token of each sample.
const steps = runs.map(({ decode }) => decode / (tokens - 2));
const readsOf = (i) => (flags.bandwidth ? Number(flags.bandwidth) : (reads[i] + reads[i + 1]) / 2);
const shareOfReads = median(steps.map((each, i) => weightBytes / each / 1e9 / readsOf(i)));
const step = median(steps);
const gigabytes = weightBytes / step / 1e9;
const gflops = (2 * engine.parameters * batch) / step / 1e9;
const share = (value, limit) => (limit ? value / Number(limit) : null);
const percent = (value) => (value === null ? "-" : `${(100 * value).toFixed(0)}%`);
await engine.dispose();
printTable(
  ["dtype", "batch", "ms a step", "tok/s", "with prompts", "GB/s of weights", "of reads", "GFLOP/s", "of peak"],
  [
    [
      dtype,
      batch,
      (1000 * step).toFixed(1),
      (batch / step).toFixed(1),
      ((batch * tokens) / seconds).toFixed(1),
      gigabytes.toFixed(1),
      percent(shareOfReads),
      gflops.toFixed(0),
      percent(share(gflops, flags.peak)),
    ],
  ],
);
finish(
  {
    bench: "decode",
    shape: "qwen2.5-0.5b",
    dtype,
    batch,
    prompt,
    tokens,
    threads,
    isa: cpuInfo().isa,
    parameters: engine.parameters,
    seconds,
    tokensPerSecond: (batch * tokens) / seconds,
    decodeTokensPerSecond: batch / step,
    stepSeconds: step,
    weightGigabytesPerSecond: gigabytes,
    readGigabytesPerSecond: reads,
    shareOfBandwidth: shareOfReads,
    gflops,
    shareOfPeak: share(gflops, flags.peak),
    machine: machine(),
    commit: commit(),
  },
  flags.json,
);
