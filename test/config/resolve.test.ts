// Validation of a recipe's settings: defaults, messages, nearest keys, freezing.
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { loss, optimizer } from "../../src/config/fragments.js";
import { nearest } from "../../src/config/nearest.js";
import { resolveSettings } from "../../src/config/resolve.js";
import { InputError } from "../../src/errors.js";
import { llamaSpec, policyLoss } from "../../src/index.js";

const schema = z.strictObject({
  grpo: z.strictObject({ steps: z.int().min(1).default(60), prompts: z.int().default(24) }).prefault({}),
  optimizer: optimizer(),
  loss: loss(),
  levels: z.array(z.int().min(1)).default([1, 2]),
  model: z.string().min(1).default("tiny"),
});

function failure(settings: Record<string, unknown>): InputError {
  try {
    resolveSettings("sft", schema, settings);
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
  throw new Error("the settings were accepted");
}

describe("resolveSettings", () => {
  test("fills every default and keeps what was given", () => {
    const config = resolveSettings("sft", schema, { grpo: { steps: 7 } });
    expect(config.grpo).toEqual({ steps: 7, prompts: 24 });
    expect(config.optimizer.beta1).toBe(0.9);
    expect(config.levels).toEqual([1, 2]);
  });

  test("freezes the settings to their depth", () => {
    const config = resolveSettings("sft", schema, {});
    expect(() => Object.assign(config.grpo, { steps: 1 })).toThrow(TypeError);
    expect(() => config.levels.push(3)).toThrow(TypeError);
  });

  test("names the nearest known key", () => {
    const error = failure({ grpo: { stepz: 1 } });
    expect(error.code).toBe("RECIPE_KEY");
    expect(error.message.split("\n")[0]).toBe(
      '[recipe sft] expected a known key, got "grpo.stepz"; did you mean "grpo.steps"?',
    );
  });

  test.each([
    [{ learningRate: 1 }, "optimizer.learningRate"],
    [{ learning_rate: 1 }, "optimizer.learningRate"],
    [{ optimiser: {} }, "optimizer"],
    [{ optimizer: { warmup: 1 } }, "optimizer.warmupSteps"],
    [{ modle: "x" }, "model"],
  ])("finds what %j means", (settings, meant) => {
    expect(failure(settings).message).toContain(`did you mean "${meant}"?`);
  });

  test.each([
    [{ grpo: { steps: 0 } }, "[recipe sft] grpo.steps: expected integer >= 1, got 0"],
    [{ grpo: { steps: 1.5 } }, "[recipe sft] grpo.steps: expected integer >= 1, got 1.5"],
    [{ optimizer: { learningRate: "1" } }, '[recipe sft] optimizer.learningRate: expected number in (0, 1], got "1"'],
    [
      { optimizer: { learningRate: Number.NaN } },
      "[recipe sft] optimizer.learningRate: expected number in (0, 1], got NaN",
    ],
    [
      { optimizer: { schedule: "step" } },
      '[recipe sft] optimizer.schedule: expected constant | cosine | linear, got "step"',
    ],
    [{ loss: { dualClip: 1 } }, "[recipe sft] loss.dualClip: expected 0 or a number > 1, got 1"],
    [{ levels: [3, "x"] }, '[recipe sft] levels.1: expected list of integer each >= 1, got "x"'],
    [{ model: "" }, '[recipe sft] model: expected string of at least 1 characters, got ""'],
    [{ grpo: 3 }, "[recipe sft] grpo: expected a group of settings, got 3"],
    [{ grpo: null }, "[recipe sft] grpo: expected a group of settings, got null"],
  ])("says what is wrong with %j", (settings, message) => {
    const error = failure(settings);
    expect(error.code).toBe("RECIPE_VALUE");
    expect(error.message.split("\n")[0]).toBe(message);
  });

  test("names every problem at once, unknown keys first", () => {
    const error = failure({ model: 3, extra: 1, grpo: { steps: -1, x: 2 } });
    expect(error.code).toBe("RECIPE_KEY");
    const lines = error.message.split("\n");
    expect(lines.filter((line) => line.includes("a known key"))).toHaveLength(2);
    expect(lines).toHaveLength(5);
    expect(lines.at(-1)).toContain("zazen recipes sft");
  });

  test("a required setting that is missing", () => {
    const strict = z.strictObject({ data: z.string() });
    expect(() => resolveSettings("sft", strict, {})).toThrow("[recipe sft] data: expected string, got nothing");
  });

  test("a key named like a prototype's is unknown, not followed", () => {
    const settings = JSON.parse('{"constructor": {"x": 1}, "model": "m"}') as Record<string, unknown>;
    expect(failure(settings).code).toBe("RECIPE_KEY");
  });
});

test("nearest takes the first of equals, and has no answer without candidates", () => {
  expect(nearest("b", ["a", "c"])).toBe("a");
  expect(nearest("b", [])).toBeNull();
});

describe("arguments of functions", () => {
  const refused = (task: () => unknown, message: string) =>
    expect(task).toThrow(expect.objectContaining({ name: "InputError", code: "BAD_ARGUMENT", message }));

  test("are refused in the same words, with the function's name", () => {
    refused(
      () => llamaSpec({ vocabSize: 16, widht: 8 } as { vocabSize: number }),
      '[llamaSpec] expected a known key, got "widht"; did you mean "width"?',
    );
    refused(
      () => llamaSpec({ vocabSize: 16, width: 64 }),
      '[llamaSpec] expected a width that the heads divide into even parts, got {"width":64}',
    );
    refused(() => policyLoss(1, { clipLow: -1 }), "[policyLoss] clipLow: expected number in [0, 1], got -1");
  });
});
