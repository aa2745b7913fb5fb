// Every recipe: listed, described, resolved and planned.
import { describe, expect, test } from "vitest";
import { describeSettings } from "../../src/config/describe.js";
import { resolveSettings } from "../../src/config/resolve.js";
import { recipes } from "../../src/methods/index.js";

describe("every recipe", () => {
  test("is listed once with a summary", () => {
    expect(recipes.map((recipe) => recipe.name)).toEqual(["quickstart", "sft", "reward-model", "rlvr", "teach"]);
    for (const recipe of recipes) expect(recipe.summary.length).toBeGreaterThan(20);
  });

  test("has help and a default for every setting; only rlvr's model must be given", () => {
    for (const recipe of recipes) {
      const settings = describeSettings(recipe.schema);
      expect(settings.filter((setting) => setting.help === "").map((setting) => setting.key)).toEqual([]);
      const whole = settings.filter((setting) => !setting.key.includes("[].")); // an entry of a list may be of another kind
      const required = whole.filter((setting) => setting.default === undefined).map((setting) => setting.key);
      expect([recipe.name, ...required]).toEqual(recipe.name === "rlvr" ? ["rlvr", "model"] : [recipe.name]);
    }
  });

  test("resolves, plans, and refuses unknown keys by their nearest", () => {
    for (const recipe of recipes) {
      const given = recipe.name === "rlvr" ? { model: "m" } : {};
      const config = resolveSettings(recipe.name, recipe.schema, given);
      expect(recipe.plan(config).length).toBeGreaterThan(2);
      expect(() => resolveSettings(recipe.name, recipe.schema, { ...given, sede: 1 })).toThrow(/"sede".*seed/s);
    }
  });
});
