// The trial of RLMT on the native engine, tiny: every stage is a run of its own, a seed gives one table, a run that was stopped goes on to
// the run that was not, and what it says is computed from what its folders hold.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { compare } from "../../src/cli/compare.js";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import { makeTryRlmt } from "../../src/methods/try-rlmt.js";
import { gradeCountdown } from "../../src/tasks/countdown.js";
import { remains } from "../helpers/crash.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { notes, phases, summaryOf } from "../helpers/recipes.js";
import { eventsOf, readLines, type TestHost, testHost } from "../helpers/run-host.js";

const stages = ["warm-no-think", "warm-think", "reward-model", "no-think", "think"];

const tiny: Settings = {
  model: { width: 24, layers: 1, heads: 2, mlp: 32, maxPositions: 160 },
  rows: { demonstrations: 300, preferences: 300, heldOutPreferences: 60 },
  sft: { epochs: 2 },
  rewardModel: { steps: 12, pairsPerStep: 16 },
  grpo: { steps: 4, prompts: 4, samplesPerPrompt: 4, sampling: { maxTokens: 24 } },
  evaluation: { problems: 24, every: 2 },
  checkpoint: { every: 2, seconds: 0 },
};

function configOf(settings: Settings) {
  return resolveSettings("try-rlmt", makeTryRlmt(Engine).schema, { ...tiny, ...settings });
}

async function run(settings: Settings = {}, host = testHost()): Promise<TestHost> {
  await makeTryRlmt(Engine).run(configOf(settings), host);
  return host;
}

const tablesOf = (host: TestHost) =>
  eventsOf(host, "table").map(({ columns, rows }) => ({ columns, rows: timeless(rows) }));
const timeless = (rows: readonly (readonly string[])[]) => rows.filter(([name]) => name !== "training");

describe("the trial", { timeout: 120_000 }, () => {
  let done: TestHost;
  beforeAll(async () => {
    done = await run();
  }, 120_000);

  test("runs its stages in order, each an ordinary run folder whose own words are not repeated", () => {
    expect(phases(done)).toEqual([
      ...["warm-no-think/sft", "warm-think/sft", "reward-model/reward-model"],
      ...["no-think", "think"].flatMap((arm) =>
        ["evaluate-before", "grpo", "evaluate-after"].map((part) => `${arm}/${part}`),
      ),
    ]);
    for (const stage of stages) {
      for (const file of [
        "recipe.json",
        "metrics.jsonl",
        "summary.json",
        "model/config.json",
        "model/chat_template.jinja",
      ])
        expect(existsSync(join(done.out, stage, file)), `${stage}/${file}`).toBe(true);
    }
    expect(notes(done).join("\n")).not.toMatch(/memory:|Try the model/);
    expect(eventsOf(done, "table")).toHaveLength(2);
  });

  test("both arms are the same but for thinking: rows, steps, prompts, reward model", async () => {
    const names = ["no-think", "think"].map((arm) => join(done.out, arm));
    const { comparison } = await compare(names, {}, new AbortController().signal);
    expect(comparison.settings.map(({ key }) => key)).toEqual(["model", "thinking"]);
    expect(comparison.notes).toEqual([]);
    const heldOut = comparison.measures.find(({ name }) => name === "held-out/sampled")!;
    expect(heldOut.differences[1]).toMatchObject({ n: 24, how: "paired problems" });
    const { mean } = heldOut.differences[1]!;
    expect(summaryOf(done).difference.after.reward.mean).toBeCloseTo(mean, 10);
  });

  test("the reward model reads prompt and answer, never the thought; no verifier is in the reward", async () => {
    for (const arm of ["no-think", "think"]) {
      const { config } = JSON.parse(readFileSync(join(done.out, arm, "recipe.json"), "utf8"));
      expect(config).toMatchObject({ rewards: [], reward: { model: join(done.out, "reward-model", "model") } });
    }
    for (const row of readLines(join(done.out, "data"), "preferences.jsonl"))
      expect(Object.keys(row)).toEqual(["prompt", "chosen", "rejected"]);
  });

  test("the table's right answers are the verifier's, from the answers that the arms left", () => {
    const { arms } = summaryOf(done);
    for (const [arm, folder] of [
      [arms.noThinking, "no-think"],
      [arms.thinking, "think"],
    ] as const) {
      const lines = readLines(join(done.out, folder), "held-out.jsonl").filter(
        ({ phase }) => phase === "evaluate-after",
      );
      const right = lines.filter(({ messages, answer }) => {
        const [numbers, target] = (messages as { content: string }[])[0]!.content.split(" -> ");
        const problem = { numbers: numbers!.split(" ").map(Number), target: Number(target) };
        return gradeCountdown(answer as string, problem).correct;
      });
      expect(arm.after.right).toMatchObject({ n: 24, correct: right.length });
    }
  });

  test("says what came out, shows answers of both arms, and names the next command", () => {
    const summary = summaryOf(done);
    const said = notes(done);
    expect(summary.conclusion.length).toBeGreaterThanOrEqual(7);
    for (const line of summary.conclusion) expect(said.join("\n")).toContain(line);
    expect(said.at(-1)).toContain(`npx zazen compare ${join(done.out, "no-think")} ${join(done.out, "think")}`);
    expect(said.some((text) => /right order: \d+\.\d \[.*\] % of 60/.test(text))).toBe(true);
    const shown = eventsOf(done, "rollout").filter(({ phase }) => phase === "");
    expect(shown.map(({ label }) => label?.split(",")[0]).slice(0, 2)).toEqual(["No thinking", "Thinking"]);
    const remaining = eventsOf(done, "step").map(({ remaining }) => remaining);
    expect(remaining.every((seconds) => seconds === null || seconds >= 0)).toBe(true);
  });

  test("stopped in the reward model and in an arm, it goes on to the same bits and the same table", async () => {
    const host = testHost();
    for (const place of ["reward-model/reward-model", "think/grpo"]) {
      const signal = AbortSignal.any([host.signal]);
      const controller = new AbortController();
      const resumed = existsSync(join(host.out, "recipe.json")) ? { resume: { checkpoint: null } } : {};
      const stopping = {
        ...host,
        ...resumed,
        signal: AbortSignal.any([signal, controller.signal]),
        emit: (event: TestHost["events"][number]) => {
          host.emit(event);
          if (event.type === "step" && event.phase === place && event.step === 2) controller.abort(new Error("stop"));
        },
      };
      await expect(makeTryRlmt(Engine).run(configOf({}), stopping)).rejects.toThrow("stop");
      expect(existsSync(join(host.out, "summary.json"))).toBe(false);
    }
    await makeTryRlmt(Engine).run(configOf({}), { ...host, resume: { checkpoint: null } });
    const of = ({ out }: TestHost) => stages.map((stage) => remains(join(out, stage)));
    expect(of(host)).toEqual(of(done).map((each) => JSON.parse(JSON.stringify(each).replaceAll(done.out, host.out))));
    expect(tablesOf(host)).toEqual(tablesOf(done));
  });

  test("another seed is another trial", async () => {
    const other = await run({ seed: 1 });
    expect(tablesOf(other)).not.toEqual(tablesOf(done));
  });
});

describe("settings", () => {
  test.each([
    [{ evaluation: { problems: 2000 } }, "evaluation.problems: expected integer in [2, 1024], got 2000"],
    [{ rows: { preferenceWeights: [0, 0, 0] } }, "rows.preferenceWeights: expected at least one weight > 0"],
    [{ rows: { demonstrations: 0 } }, "rows.demonstrations: expected integer in [2, 1000000], got 0"],
    [{ model: { width: 25 } }, "model: expected a width that the heads divide into even parts"],
    [{ data: "x" }, 'expected a known key, got "data"'],
  ])("%j is refused", (settings, message) => {
    expect(() => configOf(settings)).toThrow(message);
  });

  test("a prompt that leaves no room for an answer stops before the first step", async () => {
    const settings = { model: { width: 24, layers: 1, heads: 2, mlp: 32, maxPositions: 16 } };
    await expect(run(settings)).rejects.toMatchObject({ code: "DATA_LENGTH" });
  });

  test("the plan says what will be done, and where one goes on", async () => {
    const recipe = makeTryRlmt(new FakeSource());
    const plan = recipe.plan(configOf({})).join("\n");
    for (const words of [
      "24 held-out prompts",
      "300 demonstrations, 2 times",
      "12 steps of 16 pairs",
      "4 steps of 4 prompts x 4",
    ])
      expect(plan).toContain(words);
    expect(await recipe.memory!(configOf({}))).toMatch(/^memory: .*, reward model 0\.\d+ GiB, process /);
    expect(recipe.standing!(testHost().out)).toBeNull();
  });
});
