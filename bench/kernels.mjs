// The three named kernels on typed arrays: bytes and elements a second, and the share of this machine's copy bandwidth. Bytes are what
// must be read and written once. Needs `npm run build`. Options: --rounds N, --seconds S a measurement, --threads N, --json FILE.
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { advantageNormalize, logprobGather, policyLoss } from "../dist/kernels.js";
import { check, commit, finish, machine, printTable, timeCall } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "0.5" },
    threads: { type: "string", default: String(availableParallelism()) },
    json: { type: "string" },
  },
});
const timing = { rounds: Number(flags.rounds), seconds: Number(flags.seconds) };
const threads = Number(flags.threads);

const COPY_FLOATS = 16 * 2 ** 20; // 64 MiB, more than the caches
const FLOAT_BYTES = 4;

const wave = (length, scale, phase) => Float32Array.from({ length }, (_, i) => scale * Math.sin(1.7 * i + phase));

function close(actual, wanted, where) {
  const error = Math.abs(actual - wanted) / Math.max(1, Math.abs(wanted));
  check(error < 1e-5, `${where}: expected ${wanted}, got ${actual}`);
}

/** Groups of rewards. */
function advantages(groups, size) {
  const n = groups * size;
  const rewards = wave(n, 2, 0);
  const cuGroups = Int32Array.from({ length: groups + 1 }, (_, g) => g * size);
  const last = rewards.subarray(n - size);
  const mean = last.reduce((sum, reward) => sum + reward, 0) / size;
  const deviation = Math.sqrt(last.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / (size - 1));
  close(
    advantageNormalize(rewards, cuGroups)[n - 1],
    (rewards[n - 1] - mean) / (deviation + 1e-6),
    "advantageNormalize",
  );
  return {
    name: "advantageNormalize",
    shape: `${groups} x ${size}`,
    elements: n,
    bytes: 2 * n * FLOAT_BYTES,
    call: () => advantageNormalize(rewards, cuGroups),
  };
}

/** Rows of logits. */
function gather(rows, vocabulary, temperature) {
  const logits = wave(rows * vocabulary, 8, 1);
  const ids = Int32Array.from({ length: rows }, (_, t) => (t * 7919) % vocabulary);
  const options = { temperature, threads };
  const row = Array.from(logits.subarray((rows - 1) * vocabulary), (logit) => logit / temperature);
  const logSum = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
  close(logprobGather(logits, ids, options).logprobs[rows - 1], row[ids[rows - 1]] - logSum, "logprobGather");
  return {
    name: `logprobGather T=${temperature}`,
    shape: `${rows} x ${vocabulary}`,
    elements: rows * vocabulary,
    bytes: rows * vocabulary * FLOAT_BYTES,
    call: () => logprobGather(logits, ids, options),
  };
}

/** Tokens with every term of the loss on. */
function loss(tokens) {
  const input = {
    logprobs: wave(tokens, 0.5, 0),
    oldLogprobs: wave(tokens, 0.5, 0.1),
    refLogprobs: wave(tokens, 0.5, 0.2),
    entropy: wave(tokens, 1, 3),
    advantages: wave(tokens, 1, 4),
    weights: new Float32Array(tokens).fill(1 / tokens),
  };
  const options = { klCoefficient: 0.1, entropyCoefficient: 0.01 };
  let wanted = 0;
  for (let t = 0; t < tokens; t++) {
    const ratio = Math.exp(input.logprobs[t] - input.oldLogprobs[t]);
    const clipped = Math.min(Math.max(ratio, 0.8), 1.2);
    const d = input.refLogprobs[t] - input.logprobs[t];
    const surrogate = Math.min(ratio * input.advantages[t], clipped * input.advantages[t]);
    wanted += input.weights[t] * (-surrogate + 0.1 * (Math.exp(d) - d - 1) - 0.01 * input.entropy[t]);
  }
  close(policyLoss(input, options).loss, wanted, "policyLoss");
  const arrays = 8; // six read, two written
  return {
    name: "policyLoss",
    shape: `${tokens}`,
    elements: tokens,
    bytes: arrays * tokens * FLOAT_BYTES,
    call: () => policyLoss(input, options),
  };
}

/** Bytes read and written a second by a copy between two large arrays, one thread. */
function copyBandwidth() {
  const from = wave(COPY_FLOATS, 1, 0);
  const to = new Float32Array(COPY_FLOATS);
  const seconds = timeCall(() => to.set(from), timing);
  check(to[COPY_FLOATS - 1] === from[COPY_FLOATS - 1], "the copy differs");
  return (2 * COPY_FLOATS * FLOAT_BYTES) / seconds / 1e9;
}

const copy = copyBandwidth();
const cases = [
  advantages(8192, 8),
  advantages(65_536, 16),
  gather(4096, 512, 1),
  gather(4096, 512, 0.7),
  gather(64, 151_936, 1),
  gather(64, 151_936, 0.7),
  loss(65_536),
  loss(2 ** 20),
];
const results = cases.map(({ name, shape, elements, bytes, call }) => {
  const seconds = timeCall(call, timing);
  const gigabytes = bytes / seconds / 1e9;
  return {
    name,
    shape,
    seconds,
    gigabytesPerSecond: gigabytes,
    elementsPerSecond: elements / seconds,
    shareOfCopy: gigabytes / copy,
  };
});
printTable(
  ["kernel", "shape", "us", "GB/s", "M elements/s", "of copy"],
  results.map((r) => [
    r.name,
    r.shape,
    (r.seconds * 1e6).toFixed(0),
    r.gigabytesPerSecond.toFixed(2),
    (r.elementsPerSecond / 1e6).toFixed(0),
    `${(100 * r.shareOfCopy).toFixed(0)}%`,
  ]),
);
console.log(`copy between arrays of 64 MiB: ${copy.toFixed(1)} GB/s read and written`);
finish(
  { bench: "kernels", threads, copyGigabytesPerSecond: copy, results, machine: machine(), commit: commit() },
  flags.json,
);
