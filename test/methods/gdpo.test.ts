// GDPO through the recipe rlvr: two rewards of the pool, each normalised in its group, against the paper's formula on what was sampled.
import { expect, test } from "vitest";
import { resolveSettings } from "../../src/config/resolve.js";
import type { TrainBatch } from "../../src/engine/types.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { decodeTrial } from "../../src/tasks/countdown-trial.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { jsonl, modelFolder } from "../helpers/recipes.js";
import { modulePath } from "../helpers/rewards.js";
import { readLines, testHost } from "../helpers/run-host.js";

const EPS = 1e-4;
const SAMPLES = 6;
const PROMPTS = 5;
const WEIGHTS = [2, 0.25] as const;
const rewards = [
  { module: modulePath("plain.mjs"), name: "length", isolate: "thread", weight: WEIGHTS[0] },
  { module: modulePath("digits.mjs"), name: "digits", isolate: "thread", weight: WEIGHTS[1] },
];

async function run(estimator: "gdpo" | "grpo") {
  const host = testHost();
  const source = new FakeSource();
  const recipe = makeRlvr(source);
  const data = jsonl(...[1, 2, 3, 4, 5].map((n) => ({ question: `${n} + 1?`, answer: String(n + 1) })));
  const config = resolveSettings("rlvr", recipe.schema, {
    model: await modelFolder(),
    data,
    rewards,
    rewardWorkers: 1,
    grpo: {
      steps: 1,
      prompts: PROMPTS,
      samplesPerPrompt: SAMPLES,
      sampling: { maxTokens: 6 },
      advantage: { estimator, eps: EPS },
    },
  });
  await recipe.run(config, host);
  const [metrics] = readLines(host.out, "metrics.jsonl") as Record<string, number>[];
  return { batch: source.made[0]!.batches[0]!.batch, metrics: metrics! };
}

/** Text and advantage of each sample of a batch. */
function samplesOf({ ids, cuSeqlens, weights, advantages }: TrainBatch) {
  return Array.from(cuSeqlens.subarray(1), (end, s) => {
    const places = Array.from({ length: end - cuSeqlens[s]! }, (_, i) => cuSeqlens[s]! + i);
    const completion = places.filter((t) => weights[t] !== 0);
    const text = decodeTrial(completion.map((t) => ids[t]!)).replace(/ ?<eos>$/, "");
    return { text, advantage: advantages![completion[0]!]! };
  });
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = (values: readonly number[], center: number) =>
  Math.sqrt(values.reduce((sum, value) => sum + (value - center) ** 2, 0) / (values.length - 1));

function normalised(rewards: readonly number[]): readonly number[] {
  const center = mean(rewards);
  return rewards.map((reward) => (reward - center) / (deviation(rewards, center) + EPS));
}

test("each reward is normalised in its group, then their weighted sum over the batch", async () => {
  const { batch, metrics } = await run("gdpo");
  const samples = samplesOf(batch);
  expect(samples).toHaveLength(PROMPTS * SAMPLES); // lengths differ in every group
  const length = samples.map(({ text }) => text.length);
  const digits = samples.map(({ text }) => text.replace(/\D/g, "").length);
  expect(metrics["reward/length"]).toBeCloseTo(mean(length), 9);
  expect(metrics["reward/digits"]).toBeCloseTo(mean(digits), 9);
  const sums = Array.from({ length: PROMPTS }, (_, g) => {
    const own = (values: readonly number[]) => normalised(values.slice(g * SAMPLES, (g + 1) * SAMPLES));
    const [a, b] = [own(length), own(digits)];
    return a.map((value, i) => WEIGHTS[0] * value + WEIGHTS[1] * b[i]!);
  }).flat();
  const scale = deviation(sums, 0) + EPS;
  for (const [s, { advantage }] of samples.entries()) expect(advantage).toBeCloseTo(sums[s]! / scale, 5);
});

test("which is not what the sum of the rewards gives", async () => {
  const advantagesOf = async (estimator: "gdpo" | "grpo") =>
    samplesOf((await run(estimator)).batch).map(({ advantage }) => advantage);
  const [gdpo, grpo] = [await advantagesOf("gdpo"), await advantagesOf("grpo")];
  expect(gdpo.some((value, s) => Math.abs(value - grpo[s]!) > 0.05)).toBe(true);
});
