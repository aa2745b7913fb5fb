// Reward models from text to reward, and folders that hold none.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { foreseeModel } from "../../../src/reward/model/model.js";
import type { ModelInput } from "../../../src/reward/model/text.js";
import { closeModels, modelReward, never, openModel, rewardFolder, soundCases } from "../../helpers/reward-models.js";

afterEach(closeModels);

/** Scores in float32 against float64. */
const TOLERANCE = 5e-6;
const ask = (answer: string, content = "Hi"): ModelInput => ({ messages: [{ role: "user", content }], answer });

describe("a reward model", () => {
  test("scales and shifts", async () => {
    const model = await openModel(rewardFolder({ onnx: "llama/model" }), { scale: -2, shift: 10 });
    const { rewards } = await model.score(soundCases, 0, never);
    soundCases.forEach(
      ({ score }, i) => void expect(Math.abs(rewards[i]! - (10 - 2 * score!))).toBeLessThan(2 * TOLERANCE),
    );
  });

  test("cuts texts at the model's positions where the settings allow more", async () => {
    const model = await openModel(rewardFolder({ onnx: "llama/model" }));
    const { rewards, truncated } = await model.score([ask("a".repeat(1000)), ask("a".repeat(2000))], 0, never);
    expect([truncated, rewards[0]]).toEqual([2, rewards[1]]);
  });

  test("scores an empty answer like any other, and nothing at all", async () => {
    const empty = soundCases.find(({ answer }) => answer === "")!;
    const model = await openModel(rewardFolder({ onnx: "llama/model" }));
    expect((await model.score([empty], 0, never)).rewards[0]).toBeCloseTo(empty.score!, 5);
    expect((await model.score([], 0, never)).rewards).toHaveLength(0);
  });

  test("does one call at a time, each with its own signal", async () => {
    const model = await openModel(rewardFolder({ onnx: "llama/model" }));
    const controller = new AbortController();
    const calls = [never, controller.signal, never].map((signal) => model.score(soundCases, 0, signal));
    controller.abort(new Error("enough"));
    const [first, second, third] = await Promise.allSettled(calls);
    expect(second).toMatchObject({ status: "rejected", reason: { message: "enough" } });
    expect(first).toEqual(third);
  });

  test("takes what was foreseen", async () => {
    const settings = modelReward(rewardFolder({ onnx: "llama/model" }));
    expect((await openModel(settings.model)).memory).toEqual(await foreseeModel(settings, { where: "reward model" }));
  });
});

describe("what is no reward model is a typed error that says what to do", () => {
  const classifier = { onnx: "llama/model" } as const;

  test.each([
    ["no folder", (): string => "/nowhere", {}, "MODEL_MISSING", /model folder, got nothing there/],
    [
      "no weights",
      () => rewardFolder({}),
      {},
      "REWARD_MODEL_MISSING",
      /expected model\.safetensors or an ONNX file in .*, got none; set model/,
    ],
    ["no such file", () => rewardFolder(classifier), { file: "a.onnx" }, "REWARD_MODEL_MISSING", /called a\.onnx in/],
    [
      "no chat template",
      () => rewardFolder({ ...classifier, template: false }),
      {},
      "CHAT_TEMPLATE_MISSING",
      /a chat template of the reward model's own, got none in .*; set template to a file/,
    ],
    [
      "no template file",
      () => rewardFolder(classifier),
      { template: "/no.jinja" },
      "CHAT_TEMPLATE_MISSING",
      /\[\/no\.jinja\]/,
    ],
    [
      "a chat template that refuses answers",
      () => rewardFolder(classifier),
      { template: fixtureTemplate("{{ raise_exception('no assistants') }}") },
      "CHAT_TEMPLATE_FAILED",
      /no assistants/,
    ],
  ] as const)("%s", async (_, folder, change, code, message) => {
    const error = { code, message: expect.stringMatching(message) };
    await expect(openModel(folder(), change)).rejects.toMatchObject(error);
    const foreseen = foreseeModel(modelReward(folder(), change), { where: "reward model" }); // what a dry run does
    await expect(foreseen).rejects.toMatchObject(error);
  });

  test("a tokenizer of another model: its ids cost their samples", async () => {
    const folder = rewardFolder({ onnx: "llama/model", config: { vocab_size: 70 } });
    const model = await openModel(folder);
    const { faults } = await model.score([ask("yes")], 1, never);
    expect(faults.get(0)).toMatchObject({
      code: "REWARD_TEXT",
      message: expect.stringMatching(
        /expected ids of the model's 70 tokens, got \d+; its folder has another model's tokenizer/,
      ),
    });
  });
});

function fixtureTemplate(source: string): string {
  const file = join(rewardFolder({}), "own.jinja");
  writeFileSync(file, source);
  return file;
}
