// Every recipe: listed, described, resolved and planned.
import { describe, expect, test } from "vitest";
import { describeSettings } from "../../src/config/describe.js";
import { resolveSettings } from "../../src/config/resolve.js";
import { recipes } from "../../src/methods/index.js";

/** Settings that have no default. */
const needed = (name: string) => (["rlvr", "rlmt-warm-start", "rlmt"].includes(name) ? { model: "m" } : {});

describe("every recipe", () => {
  test("is listed once with a summary", () => {
    const names = ["quickstart", "try-rlmt", "sft", "reward-model", "rlvr", "rlmt-warm-start", "rlmt", "teach"];
    expect(recipes.map((recipe) => recipe.name)).toEqual(names);
    for (const recipe of recipes) expect(recipe.summary.length).toBeGreaterThan(20);
  });

  test("has help and a default for every setting; only the model of the last three must be given", () => {
    for (const recipe of recipes) {
      const settings = describeSettings(recipe.schema);
      expect(settings.filter((setting) => setting.help === "").map((setting) => setting.key)).toEqual([]);
      const whole = settings.filter((setting) => !setting.key.includes("[].")); // an entry of a list may be of another kind
      const required = whole.filter((setting) => setting.default === undefined).map((setting) => setting.key);
      expect([recipe.name, ...required]).toEqual([recipe.name, ...Object.keys(needed(recipe.name))]);
    }
  });

  test("helps with settings of evaluation without naming one algorithm's group, where there are several", () => {
    const { schema } = recipes.find(({ name }) => name === "rlmt")!;
    const helps = describeSettings(schema).filter(({ key }) => key.startsWith("evaluation.sampling."));
    expect(helps.length).toBeGreaterThan(5);
    for (const { help } of helps) expect(help).toMatch(/null is what training takes/);
  });

  test("refuses a device that no engine computes on, and does not take another", () => {
    for (const { name, schema } of recipes) {
      const refused = expect.objectContaining({
        code: "RECIPE_VALUE",
        message: expect.stringMatching(/device: .*cpu, since there are CUDA/),
      });
      expect(() => resolveSettings(name, schema, { ...needed(name), device: "cuda" })).toThrow(refused);
    }
  });

  test("resolves, plans, and refuses unknown keys by their nearest", () => {
    for (const recipe of recipes) {
      const given = needed(recipe.name);
      const config = resolveSettings(recipe.name, recipe.schema, given);
      expect(recipe.plan(config).length).toBeGreaterThan(2);
      expect(() => resolveSettings(recipe.name, recipe.schema, { ...given, sede: 1 })).toThrow(/"sede".*seed/s);
    }
  });
});
