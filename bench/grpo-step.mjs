// Seconds of a whole GRPO step: 16 prompts x 8 completions of 128 new tokens at temperature 1, a reward that counts a letter, group
// advantages, one update. The same step as bench/peers/trl_grpo.py. Needs `npm run build` and a model folder.
// node bench/grpo-step.mjs [--model DIR] [--threads N] [--steps N] [--warmup N] [--prompts N] [--completions N] [--new-tokens N]
//   [--dtype float32|bfloat16] [--lora-rank N] [--prompt-tokens N] [--json FILE]
// --lora-rank: adapters on all linear layers; --prompt-tokens: prompts of that many tokens, the openings said again and again.
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Engine } from "../dist/engine/engine.js";
import { advantageNormalize } from "../dist/kernels.js";
import { Tokenizer } from "../dist/prompt/tokenizer.js";
import { packGroups } from "../dist/rollout/batch.js";
import { packSequences, unpackSamples } from "../dist/rollout/pack.js";
import { check, commit, finish, machine, median, printTable, root } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: join(root, "..", "shared", "models", "stories260k") },
    threads: { type: "string", default: String(availableParallelism()) },
    prompts: { type: "string", default: "16" },
    completions: { type: "string", default: "8" },
    "new-tokens": { type: "string", default: "128" },
    dtype: { type: "string", default: "float32" },
    "lora-rank": { type: "string", default: "0" },
    "prompt-tokens": { type: "string", default: "0" },
    warmup: { type: "string", default: "2" },
    steps: { type: "string", default: "5" },
    json: { type: "string" },
  },
});
const steps = Number(flags.steps);
const warmup = Number(flags.warmup);
const samplesPerPrompt = Number(flags.completions);
const maxTokens = Number(flags["new-tokens"]);
const threads = Number(flags.threads);

const NAMES = ["Lily", "Tom", "Ben", "Anna", "Max", "Sue", "Tim", "Mia"];
const OPENINGS = [
  (name) => `Once upon a time, there was a little child named ${name}.`,
  (name) => `One day, ${name} went to the park.`,
];
const LETTER = "e";
const OPTIMIZER = { learningRate: 1e-4, maxGradNorm: 1 };
const LOSS = {
  kind: "policy",
  temperature: 1,
  clipLow: 0.2,
  clipHigh: 0.2,
  dualClip: 0,
  klCoefficient: 0,
  entropyCoefficient: 0,
};

const tokenizer = await Tokenizer.load(flags.model);
const rank = Number(flags["lora-rank"]);
const lora = rank > 0 ? { lora: { rank, alpha: 2 * rank, targets: "all-linear" } } : {};
const engine = await Engine.load(flags.model, { threads, dtype: flags.dtype, ...lora });
const texts = OPENINGS.flatMap((opening) => NAMES.map(opening));
const prompts = Array.from({ length: Number(flags.prompts) }, (_, p) => promptOf(texts[p % texts.length]));
const packed = packSequences(prompts);
const cuGroups = Int32Array.from({ length: prompts.length + 1 }, (_, g) => g * samplesPerPrompt);
// The peer's tokenizer ends a text at </s> alone, so the model's begin token does not end one here either.
const sampling = { temperature: 1, maxTokens, stopTokenIds: [tokenizer.eosId] };

/** The tokens of an opening, or as many as are asked for of it said again and again. */
function promptOf(text) {
  const length = Number(flags["prompt-tokens"]);
  if (length === 0) return Int32Array.from(tokenizer.encode(text));
  const tokens = tokenizer.encode(Array(length).fill(text).join(" ")).slice(0, length);
  const again = tokenizer.encode(tokenizer.decode(tokens));
  check(again.length === length, `expected a prompt of ${length} tokens, got ${again.length}`);
  return Int32Array.from(again);
}

/** Share of the characters of a text that are LETTER. */
function reward(text) {
  return (text.split(LETTER).length - 1) / Math.max(text.length, 1);
}

/** Prompts and completions as one batch; every completion token has the same weight. */
function trainBatch(result, rewards) {
  const groups = unpackSamples(prompts, result, samplesPerPrompt).map((samples, g) => ({
    problem: g,
    samples,
    rewards: Float64Array.from(rewards.subarray(cuGroups[g], cuGroups[g + 1])),
  }));
  const advantages = advantageNormalize(rewards, cuGroups);
  return packGroups(
    groups,
    groups.map((_, g) => advantages.subarray(cuGroups[g], cuGroups[g + 1])),
  );
}

async function grpoStep(step) {
  const began = performance.now();
  const result = await engine.generate({ prompts: packed, samplesPerPrompt, sampling, seed: 0, step });
  const sampled = performance.now();
  const rewards = Float32Array.from({ length: result.finish.length }, (_, s) =>
    reward(
      tokenizer.decode(result.tokens.subarray(result.cuSeqlens[s], result.cuSeqlens[s + 1]), {
        skipSpecialTokens: true,
      }),
    ),
  );
  const graded = performance.now();
  const batch = trainBatch(result, rewards);
  const { mismatchMaxAbs } = await engine.forwardBackward(batch, LOSS);
  check(mismatchMaxAbs === 0, `expected log-probs as they were sampled, got a difference of ${mismatchMaxAbs}`);
  const { gradNorm } = await engine.optimStep(OPTIMIZER);
  check(gradNorm > 0, "expected a gradient");
  const ended = performance.now();
  const [total, rollout, grading, training] = [ended - began, sampled - began, graded - sampled, ended - graded].map(
    (ms) => ms / 1000,
  );
  const meanReward = rewards.reduce((sum, value) => sum + value, 0) / rewards.length;
  console.error(`step ${step + 1} reward ${meanReward.toFixed(4)} ${total.toFixed(3)} s`);
  return {
    total,
    rollout,
    grading,
    training,
    reward: meanReward,
    tokens: result.tokens.length,
    trained: batch.ids.length,
  };
}

const all = [];
for (let step = 0; step < warmup + steps; step++) all.push(await grpoStep(step));
const { peakBytes } = engine.memory();
await engine.dispose();
const timed = all.slice(warmup);
const of = (name) => median(timed.map((one) => one[name]));
printTable(
  ["step", "seconds", "rollout", "grading", "training", "sampled tok/s", "trained tok/s"],
  [
    [
      `${prompts.length} x ${samplesPerPrompt} x ${maxTokens}`,
      ...["total", "rollout", "grading", "training"].map((name) => of(name).toFixed(3)),
      (of("tokens") / of("rollout")).toFixed(0),
      (of("trained") / of("training")).toFixed(0),
    ],
  ],
);
finish(
  {
    bench: "grpo_step",
    threads,
    prompts: prompts.length,
    completions: samplesPerPrompt,
    newTokens: maxTokens,
    promptTokens: prompts[0].length,
    dtype: flags.dtype,
    loraRank: rank,
    engineBytes: peakBytes,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    steps,
    seconds: of("total"),
    secondsBest: Math.min(...timed.map((one) => one.total)),
    rolloutSeconds: of("rollout"),
    gradingSeconds: of("grading"),
    trainingSeconds: of("training"),
    completionTokensMean: of("tokens") / (prompts.length * samplesPerPrompt),
    rewardFirst: all[0].reward,
    rewardLast: all.at(-1).reward,
    machine: machine(),
    commit: commit(),
  },
  flags.json,
);
