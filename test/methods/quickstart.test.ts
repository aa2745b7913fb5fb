// The quickstart from settings to run folder, on table models: what it does in which order, what it tells, what it leaves.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { makeQuickstart } from "../../src/methods/quickstart.js";
import { TRIAL_VOCAB_SIZE } from "../../src/tasks/countdown-trial.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { notes, phases, summaryOf } from "../helpers/recipes.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";

describe("quickstart", () => {
  const small: Settings = {
    model: { maxPositions: 64 },
    sft: { steps: 3, tokensPerStep: 100 },
    grpo: { steps: 2, prompts: 2, samplesPerPrompt: 2, sampling: { maxTokens: 12 } },
    evaluation: { problems: 6, minimumPass: 0 },
  };

  async function run(change: Settings = {}, host = testHost()) {
    const source = new FakeSource();
    const recipe = makeQuickstart(source);
    const config = resolveSettings("quickstart", recipe.schema, { ...small, ...change });
    const summary = await recipe.run(config, host);
    return { host, source, summary };
  }

  test("the default model is the trial's", () => {
    const { model } = resolveSettings("quickstart", makeQuickstart(new FakeSource()).schema, {});
    const { width: d, layers, mlp } = model;
    expect(layers * (4 * d * d + 3 * d * mlp + 2 * d) + 2 * TRIAL_VOCAB_SIZE * d + d).toBe(355_680);
  });

  test("runs its parts in order and frees every engine", async () => {
    const { host, source } = await run();
    expect(phases(host)).toEqual(["sft", "evaluate-sft", "grpo", "evaluate-grpo"]);
    expect(source.made).toHaveLength(2);
    for (const engine of source.made) expect(engine.calls.at(-1)).toBe("dispose");
  });

  test("proposes no adapters, which it has no settings for, where memory is short", async () => {
    const { source } = await run();
    const proposals = source.made.flatMap((engine) => engine.proposals);
    expect(proposals.length).toBeGreaterThan(2);
    for (const each of proposals) expect(each).toEqual({ adapters: false });
  });

  test("leaves recipe, metrics, rollouts, summary and both models with their tokenizers", async () => {
    const { host, summary } = await run({ seed: 4 });
    const recipe = JSON.parse(readFileSync(join(host.out, "recipe.json"), "utf8"));
    expect(recipe).toMatchObject({
      recipe: "quickstart",
      config: { seed: 4, grpo: { prompts: 2, loss: { clipLow: 0.2 } } },
    });
    expect(readLines(host.out, "metrics.jsonl")).toHaveLength(3 + 2 + 2 + 2);
    expect(readLines(host.out, "rollouts.jsonl")).toHaveLength(2 * 2 * 2);
    const answers = readLines(host.out, "held-out.jsonl");
    expect(answers).toHaveLength(2 * 2 * 6);
    expect(answers.filter(({ phase, step }) => phase === "evaluate-grpo" && step === 2)).toHaveLength(6);
    for (const { messages } of answers)
      expect(messages).toEqual([{ role: "user", content: expect.stringMatching(/->/) }]);
    for (const model of ["model-sft", "model"]) {
      for (const name of ["table.json", "tokenizer.json", "tokenizer_config.json"]) {
        expect(existsSync(join(host.out, model, name))).toBe(true);
      }
    }
    expect(summaryOf(host)).toEqual(JSON.parse(JSON.stringify(summary)));
  });

  test("the summary has the figures of both arms", async () => {
    const { host } = await run();
    const summary = summaryOf(host);
    expect(Object.keys(summary.arms)).toEqual(["sft", "grpo"]);
    for (const arm of [summary.arms.sft, summary.arms.grpo]) {
      expect(arm.train).toMatchObject({ seconds: expect.any(Number), tokensPerSecond: expect.any(Number) });
      for (const how of [arm.sampled, arm.greedy]) {
        expect(how).toMatchObject({ attempts: expect.any(Number), thoughtTokens: expect.any(Number) });
        expect(how.pass).toMatchObject({
          n: 6,
          correct: expect.any(Number),
          interval: [expect.any(Number), expect.any(Number)],
        });
      }
    }
    expect(summary).toMatchObject({ seed: 0, learnt: expect.any(String), model: join(host.out, "model") });
  });

  test("ends with the table, one problem before and after, what was learnt, and the folder", async () => {
    const { host } = await run();
    const [table] = eventsOf(host, "table");
    expect(table!.columns.slice(2, 6)).toEqual(["pass@1", "interval", "attempts", "thought"]);
    expect(table!.rows.map((row) => row.slice(0, 2))).toEqual([
      ["SFT", "sampled"],
      ["", "greedy"],
      ["SFT, then GRPO", "sampled"],
      ["", "greedy"],
    ]);
    const shown = eventsOf(host, "rollout").filter((event) => event.phase === "evaluate-grpo");
    expect(shown.map((event) => event.label)).toEqual(["Before (SFT)", "After (SFT, then GRPO)"]);
    expect(notes(host).at(-2)).toMatch(/^pass@1 did not change: sampled, the same 0 of 6/); // a table cannot count
    expect(notes(host).at(-1)).toMatch(/zazen generate --model \S+\/model \\\n +--prompt '<q> [\d ]+ -> \d+ <think>'/);
  });

  test("begins with the size of the model, and names what each evaluation step measured", async () => {
    const { host, source } = await run();
    expect(host.events[0]).toMatchObject({
      type: "note",
      text: `parameters: ${source.made[0]!.parameters.toLocaleString("en-US")}`,
    });
    const evaluations = eventsOf(host, "step").filter((event) => event.phase.startsWith("evaluate"));
    expect(evaluations.map((event) => event.label)).toEqual(["sampled", "greedy", "sampled", "greedy"]);
  });

  test("fails with its figures kept, and does not start GRPO, when SFT is too weak", async () => {
    const host = testHost();
    await expect(run({ evaluation: { problems: 6, minimumPass: 0.15 } }, host)).rejects.toMatchObject({
      name: "TrainError",
      code: "SFT_TOO_WEAK",
      message: expect.stringMatching(/^\[quickstart\] expected .* at least 15\.0% .*, got 0\.0%; .*sft\.steps/),
    });
    expect(phases(host)).toEqual(["sft", "evaluate-sft"]);
    expect(eventsOf(host, "table")).toHaveLength(1);
    expect(summaryOf(host)).toMatchObject({ learnt: null, example: null, model: join(host.out, "model-sft") });
    expect(Object.keys(summaryOf(host).arms)).toEqual(["sft"]);
  });

  test("controls add their arms, each from the warm start or from scratch", async () => {
    const { host, source } = await run({ controls: true });
    expect(Object.keys(summaryOf(host).arms)).toEqual([
      "sft",
      "grpo",
      "sftContinued",
      "noGivingUp",
      "noThinkingSft",
      "noThinkingGrpo",
    ]);
    expect(phases(host).slice(4)).toEqual([
      "sft-continued",
      "evaluate-sft-continued",
      "no-giving-up",
      "no-thinking-sft",
      "evaluate-no-thinking-sft",
      "no-thinking-grpo",
      "evaluate-no-thinking-grpo",
    ]);
    const { sftContinued, noGivingUp } = summaryOf(host).arms;
    expect(noGivingUp.train).toBeNull();
    expect(sftContinued.train.steps).toBeGreaterThan(0);
    for (const engine of source.made) expect(engine.calls.at(-1)).toBe("dispose");
    const unthinking = source.made[4]!.batches[0]!.batch;
    expect([...unthinking.ids]).not.toContain(106); // <think>
  });

  test("the same seed gives the same figures", async () => {
    const figures = async (seed: number) => {
      const { host } = await run({ seed });
      return readLines(host.out, "metrics.jsonl").map(({ loss, lr, "reward/mean": reward, "pass@1": pass }) => [
        loss,
        lr,
        reward,
        pass,
      ]);
    };
    expect(await figures(3)).toEqual(await figures(3));
    expect(await figures(4)).not.toEqual(await figures(3));
  });
});
