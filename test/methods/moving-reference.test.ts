// With adapters the reference is their base, which cannot follow the policy: every recipe that could ask for it refuses, in a dry run and before
// data are read, whether it makes the adapters or the model brings them.
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import type { Recipe } from "../../src/methods/recipe.js";
import { makeRlmt } from "../../src/methods/rlmt.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { fixture } from "../helpers/files.js";
import { modulePath } from "../helpers/rewards.js";
import { testHost } from "../helpers/run-host.js";

const rewards = [{ module: modulePath("answers.mjs") }];
const following = { reference: { sync: { every: 2 } }, loss: { klCoefficient: 0.1 } };

interface Case {
  readonly recipe: Recipe;
  readonly settings: Settings;
  readonly key: string;
  readonly still: string;
  readonly got: string;
}

const grpo = { key: "grpo.reference.sync.every", still: "0", got: "2" };
const cases: readonly (readonly [string, Case])[] = [
  ["rlvr", { recipe: makeRlvr(Engine), settings: { task: "problems", grpo: following }, ...grpo }],
  ["rlmt by GRPO", { recipe: makeRlmt(Engine), settings: { grpo: following }, ...grpo }],
  [
    "rlmt by DPO",
    {
      recipe: makeRlmt(Engine),
      settings: { algorithm: "dpo", dpo: { reference: "round" } },
      ...{ key: "dpo.reference", still: "initial", got: "round" },
    },
  ],
];

const configOf = ({ recipe, settings }: Case, own: Settings) =>
  resolveSettings(recipe.name, recipe.schema, { data: "none.jsonl", rewards, ...settings, ...own });

describe.each(cases)("%s", (_, one) => {
  const { recipe, key, still, got } = one;
  const adapters = fixture("lora/gqa");

  test("adapters that are to be made: by the settings", () => {
    const expected = `[recipe ${recipe.name}] ${key}: expected ${still}, or lora.rank=0, since the reference of adapters is their base`;
    expect(() => configOf(one, { model: "m", lora: { rank: 2 } })).toThrow(
      expect.objectContaining({ code: "RECIPE_VALUE", message: expect.stringContaining(expected) }),
    );
    expect(configOf(one, { model: "m" })).toMatchObject({ lora: { rank: 0 } });
  });

  test("adapters that the model brings: by its folder, in a dry run and in the run", async () => {
    const config = configOf(one, { model: adapters });
    const host = testHost();
    for (const refused of [() => recipe.memory!(config), () => recipe.run(config, host)])
      await expect(refused()).rejects.toMatchObject({
        code: "RECIPE_VALUE",
        message:
          `[recipe ${recipe.name}] ${key}: expected ${still} with the adapters in ${adapters}, since the reference of adapters is their base, ` +
          `got ${got}; set it to ${still}, or begin with a whole model, as engine.saveMerged writes it`,
      });
    expect(readdirSync(host.out)).toEqual([]);
  });
});

test("a group that the algorithm does not read may say what it likes", () => {
  const recipe = makeRlmt(Engine);
  const config = { model: "m", data: "d", lora: { rank: 2 }, algorithm: "ppo", grpo: following };
  expect(() => resolveSettings("rlmt", recipe.schema, config)).not.toThrow();
});
