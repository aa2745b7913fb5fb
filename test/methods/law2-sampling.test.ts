// Law 2 through the recipe rlvr on the native engine: whatever the sampler leaves out, penalises or forces, the recorded log-probs of the
// policy are those that training computes, bit for bit; and rewards see text that ends where it was told to.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { llamaSpec } from "../../src/methods/settings.js";
import { TRIAL_VOCAB_SIZE, trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";
import { eos, jsonl, tempFolder } from "../helpers/recipes.js";
import { modulePath } from "../helpers/rewards.js";
import { readLines, testHost } from "../helpers/run-host.js";

const data = jsonl({ question: "1 + 1?", answer: "2" }, { question: "2 + 3?", answer: "5" });
const rewards = [{ module: modulePath("digits.mjs"), isolate: "thread" }];
let model: string;
beforeAll(async () => {
  model = tempFolder();
  const spec = llamaSpec({ vocabSize: TRIAL_VOCAB_SIZE, eosTokenId: eos, width: 24, layers: 2, heads: 2, mlp: 40 });
  await using engine = await Engine.create(spec, { seed: 3, std: 0.2 }, { threads: 1 });
  await engine.save(model);
  for (const [name, text] of Object.entries(trialTokenizerFiles(256))) writeFileSync(join(model, name), text);
});

async function run(sampling: Settings, loss: Settings = {}) {
  const host = testHost();
  const recipe = makeRlvr(Engine);
  const grpo = {
    steps: 3,
    prompts: 2,
    samplesPerPrompt: 6,
    sampling: { maxTokens: 20, ...sampling },
    loss,
    optimizer: { learningRate: 1e-3, warmupSteps: 0 },
  };
  const config = resolveSettings("rlvr", recipe.schema, {
    model,
    data,
    rewards,
    rewardWorkers: 1,
    threads: 2,
    grpo,
    evaluation: { data, problems: 2 },
    logging: { rolloutGroups: 2 },
  });
  await recipe.run(config, host);
  const lines = readLines(host.out, "metrics.jsonl").filter(({ phase }) => phase === "grpo");
  return { host, steps: lines as Record<string, number>[], rollouts: readLines(host.out, "rollouts.jsonl") };
}

describe.each<[string, Settings, Settings]>([
  ["min-p and a repetition penalty", { minP: 0.02, repetitionPenalty: 1.2, temperature: 0.9 }, {}],
  ["top-k and top-p, the ratio to the sampler", { topK: 20, topP: 0.9 }, { oldPolicy: "sampler" }],
  ["stop strings", { stopStrings: ["7", " x"], eosTokenIds: [110, 111] }, {}],
  ["a regular expression", { regex: "( [0-9]{1,2}){2,9}( tie)?" }, { importanceCap: 2 }],
  ["choices", { choices: [" 1", " 1 2", " 33 tie", " ok"] }, {}],
])("%s", (_, sampling, loss) => {
  test("mismatch 0 at every step", async () => {
    const { steps, rollouts, host } = await run(sampling, loss);
    expect(steps).toHaveLength(3);
    expect(steps.some((step) => step["mismatch/max_abs"] === 0)).toBe(true);
    for (const step of steps) {
      expect(step["mismatch/max_abs"] ?? 0).toBe(0); // none where no group has spread
      expect(step["kv/peak_blocks"]).toBeGreaterThan(0);
      expect(step["kv/preemptions"]).toBe(0);
    }
    const texts = rollouts.map(({ answer }) => String(answer));
    if (sampling.stopStrings) for (const text of texts) expect(text).not.toMatch(/7| x/);
    if (sampling.choices) for (const text of texts) expect(["1", "1 2", "33 tie", "ok"]).toContain(text.trim());
    if (sampling.regex) for (const text of texts) expect(` ${text}`).toMatch(/^( [0-9]{1,2}){0,9}( tie)?$/);
    expect(JSON.parse(readFileSync(join(host.out, "summary.json"), "utf8")).before.sampled.n).toBe(2);
  });
});
