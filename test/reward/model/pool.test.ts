// Reward models among the rewards of a pool: weights, names, what they read of a sample, what fails, and what is counted.
import { afterEach, describe, expect, test } from "vitest";
import { foreseeRewards } from "../../../src/reward/memory.js";
import { RewardPool } from "../../../src/reward/pool.js";
import { type RewardSettings, rewardSpec } from "../../../src/reward/spec.js";
import { fixture } from "../../helpers/files.js";
import { expected, rewardFolder, soundCases } from "../../helpers/reward-models.js";
import { modulePath, processesWith, rewardInput } from "../../helpers/rewards.js";

let pool: RewardPool | null = null;
afterEach(async () => {
  await pool?.dispose();
  pool = null;
  expect(processesWith("onnx-child", true)).toEqual([]);
});

const workers = 1;

async function make(...rewards: RewardSettings[]): Promise<RewardPool> {
  pool = await RewardPool.create(rewards, { workers, threads: 1 });
  return pool;
}

const model = fixture("reward/llama");
const inputs = [
  soundCases.slice(0, 2).map(({ messages, answer }) => rewardInput(answer, { messages })),
  soundCases.slice(2).map(({ messages, answer }) => rewardInput(answer, { messages })),
];
const scores = soundCases.map(({ score }) => score!);
const poisoned = expected.cases.find(({ score }) => score === null)!;
const bad = rewardInput(poisoned.answer, { messages: poisoned.messages });
const ofHi = (answer: string) =>
  expected.cases.find((one) => one.messages[0]!.content === "Hi" && one.answer === answer)!.score!;

const near = (rewards: readonly Float64Array[], wanted: readonly number[]) =>
  rewards
    .flatMap((own) => [...own])
    .forEach((reward, i) => void expect(Math.abs(reward - wanted[i]!)).toBeLessThan(1e-4));

describe("a reward model in a pool", () => {
  test("is a part of the sum beside a second model, a verifier and a module", async () => {
    const { names, weights } = await make(
      { kind: "model", model, weight: 2 },
      { kind: "exact" },
      { kind: "model", model: rewardFolder({ onnx: "llama/model" }), name: "other", weight: -0.5, scale: 10 },
      { module: modulePath("lengths.ts"), isolate: "thread", weight: 0.1 },
    );
    expect([names, weights]).toEqual([
      ["model", "exact", "other", "lengths"],
      [2, 1, -0.5, 0.1],
    ]);
    const { rewards, parts, failures } = await pool!.score(inputs);
    expect(failures).toEqual([]);
    expect(rewards.map((own) => own.length)).toEqual([2, soundCases.length - 2]);
    expect(parts.map(({ name }) => name)).toEqual(names);
    near(parts[0]!.rewards, scores);
    near(
      parts[2]!.rewards,
      scores.map((score) => 10 * score),
    );
    const lengths = parts[3]!.rewards.flatMap((own) => [...own]);
    near(
      rewards,
      scores.map((score, i) => 2 * score - 5 * score + 0.1 * lengths[i]!),
    );
    const asked = await pool!.score(inputs, { only: ["exact"] });
    expect(asked.parts.map(({ name }) => name)).toEqual(["exact"]);
  });

  test("does not see the thought; an answer without its marks is [NULL]", async () => {
    await make({ kind: "model", model });
    const messages = [{ role: "user", content: "Hi" } as const];
    const answer = "Hello! How can I help?";
    const whole = { messages, completion: `<think>be kind</think>${answer}`, thinking: "be kind", answer };
    const { rewards, counts } = await pool!.score([
      [rewardInput("", whole), rewardInput("", { ...whole, answer: null }), rewardInput("", { ...whole, answer: "" })],
    ]);
    near(rewards, [ofHi(answer), ofHi("[NULL]"), ofHi("")]);
    expect(counts).toEqual({
      "reward_model/model/truncated": 0,
      "reward_model/model/texts": 3,
      "reward_model/model/empty": 1,
      "reward_model/model/malformed": 1,
    });
  });

  test("sees all that was written where asked, and counts what it cut", async () => {
    await make({ kind: "model", model, from: "completion", maxTokens: 40, name: "whole" });
    const sample = rewardInput("Hello! How can I help?", { answer: null, messages: [{ role: "user", content: "Hi" }] });
    const { counts } = await pool!.score([[sample]]);
    expect(counts).toMatchObject({ "reward_model/whole/truncated": 1, "reward_model/whole/malformed": 0 });
  });

  test("a score that is no number is an error of its sample, and too many stop the run", async () => {
    await make({ kind: "model", model, weight: 3 });
    const { rewards, failures } = await pool!.score([[...inputs[0]!, bad]], { maxErrorShare: 0.5 });
    expect(rewards[0]![2]).toBeNaN();
    expect(failures).toMatchObject([{ index: 2, error: { code: "REWARD_VALUE" }, sample: poisoned.answer }]);
    near(
      [rewards[0]!.slice(0, 2)],
      scores.map((score) => 3 * score),
    );
    await expect(pool!.score([[...inputs[0]!, bad]])).rejects.toMatchObject({
      code: "REWARD_ERRORS",
      message: expect.stringMatching(
        /^\[reward model\] expected at most 5% of 3 rewards to fail, got 1.*finite number, got NaN/,
      ),
    });
  });

  test("an abort ends it with the others", async () => {
    await make({ kind: "model", model }, { kind: "exact" });
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    await expect(pool!.score(inputs, { signal: controller.signal })).rejects.toThrow("enough");
    near((await pool!.score(inputs, { only: ["model"] })).rewards, scores);
  });

  test("that cannot be opened ends those that were", async () => {
    const opening = make(
      { kind: "model", model: rewardFolder({ onnx: "llama/model" }) },
      { kind: "model", model: "/nowhere", name: "second" },
    );
    await expect(opening).rejects.toMatchObject({ code: "MODEL_MISSING" });
    await expect(make({ kind: "model", model }, { kind: "model", model })).rejects.toMatchObject({
      code: "REWARD_NAME",
    });
  });

  test("is counted in the memory of a run, before and after it is opened", async () => {
    const onnx = { kind: "model", model: rewardFolder({ onnx: "llama/model" }), name: "onnx" } as const;
    const settings: RewardSettings[] = [{ kind: "model", model }, { kind: "exact" }, onnx];
    const foreseen = await foreseeRewards(
      settings.map((one) => rewardSpec.parse(one)),
      workers,
    );
    expect(foreseen.map(({ name, held, apart }) => [name, held, apart])).toEqual([
      ["reward model", 0, false],
      ["reward model onnx", 0, true],
      ["reward threads", 0, undefined], // they begin with the first sample
    ]);
    await make(...settings);
    const opened = foreseen.map((one) => (one.name === "reward threads" ? one : { ...one, held: one.bytes }));
    expect(pool!.memory).toEqual(opened);
    expect(Math.min(...foreseen.map(({ bytes }) => bytes))).toBeGreaterThan(34_000);
  });
});
