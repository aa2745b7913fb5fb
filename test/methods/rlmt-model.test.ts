// RLMT with a reward model, both on the native engine: the policy's text is read in the reward model's own vocabulary, and what it says of
// answers is what is trained on.
import { describe, expect, test } from "vitest";
import { resolveSettings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import { makeRlmt } from "../../src/methods/rlmt.js";
import { RewardPool } from "../../src/reward/pool.js";
import { fixture } from "../helpers/files.js";
import { jsonl, summaryOf } from "../helpers/recipes.js";
import { readLines, testHost } from "../helpers/run-host.js";
import { toyModel } from "../helpers/toy-model.js";

const classifier = fixture("reward/llama");
const names = ["Lily", "Tom", "Sue", "Ben", "Mia", "Max", "Amy", "Sam", "Zoe", "Jim", "Ann", "Bob"];
const format = { template: "{query} {instruction}", instruction: "One day", answerOpen: "", answerClose: "" };

describe("the plan", () => {
  const planOf = (settings: Record<string, unknown>) => {
    const { schema, plan } = makeRlmt(Engine);
    return plan(resolveSettings("rlmt", schema, { model: "m", data: "d.jsonl", ...settings })).join("\n");
  };

  test.each([
    [{ reward: { model: "judge" } }, "rewards: judge x 1"],
    [
      { reward: { model: "judge" }, rewards: [{ module: "short.ts", weight: 0.5 }] },
      "rewards: judge x 1, short.ts x 0.5",
    ],
    [{}, "rewards: none, set reward.model or rewards"],
  ])("%j", (settings, line) => {
    expect(planOf(settings)).toContain(line);
  });
});

describe("a reward model", () => {
  test("reads prompt and answer alone, and its scores are the rewards", { timeout: 120_000 }, async () => {
    const host = testHost();
    const recipe = makeRlmt(Engine);
    const config = resolveSettings("rlmt", recipe.schema, {
      model: await toyModel(),
      data: jsonl(...names.flatMap((name) => [{ prompt: `${name} had a dog.` }, { prompt: `${name} went home.` }])),
      ...{ start: "zero", thinking: false, format: { ...format, completion: "{answer}" } },
      reward: { model: classifier },
      grpo: { steps: 2, prompts: 3, samplesPerPrompt: 2, sampling: { maxTokens: 12 } },
      ...{ evaluation: { problems: 2, every: 1 }, logging: { rolloutGroups: 3 } },
    });
    expect(await recipe.memory!(config)).toMatch(/reward/);
    await recipe.run(config, host);
    const steps = readLines(host.out, "metrics.jsonl").filter((line) => line["reward/model"] !== undefined);
    expect(steps).toHaveLength(2);
    for (const step of steps)
      expect(step).toMatchObject({ "reward/mean": step["reward/model"], "mismatch/max_abs": 0 });
    expect(summaryOf(host)).toMatchObject({ before: { reward: { n: 2 } }, difference: { n: 2 } });

    await using pool = await RewardPool.create([{ kind: "model", model: classifier }]);
    const rollouts = readLines(host.out, "rollouts.jsonl") as { prompt: string; answer: string; reward: number }[];
    const inputs = rollouts.map(({ prompt, answer }) => {
      const messages = [{ role: "user", content: prompt.replace(" One day", "") } as const];
      return [
        {
          ...{ prompt, messages, completion: answer, thinking: null },
          answer,
          record: {},
          tokens: 1,
          finish: "stop" as const,
        },
      ];
    });
    const { rewards } = await pool.score(inputs);
    expect(rewards.map(([reward]) => reward)).toEqual(rollouts.map(({ reward }) => reward));
  });
});
