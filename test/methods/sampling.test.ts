// Sampling in recipes, on table models: what the engine is asked for in training and in evaluation, where samples end, what is graded,
// what is refused, and what the user is told of a model's own recommendations.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { makeQuickstart } from "../../src/methods/quickstart.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { trialVocabulary } from "../../src/methods/trial.js";
import { TRIAL_TOKENS } from "../../src/tasks/countdown-trial.js";
import { FakeEngine, type FakeFaults, FakeSource, fakeSpec } from "../helpers/fake-engine.js";
import { eos, jsonl, modelFolder, notes, summaryOf } from "../helpers/recipes.js";
import { modulePath } from "../helpers/rewards.js";
import { readLines, testHost } from "../helpers/run-host.js";
import { textOf } from "../helpers/vocabulary.js";

const base = { steps: 1, prompts: 2, samplesPerPrompt: 4 };
const sums = jsonl({ question: "1 + 1?", answer: "2" }, { question: "2 + 3?", answer: "5" });
const noPenalty = { repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
const plain = { temperature: 1, topK: 0, topP: 1, minP: 0, ...noPenalty, stopStrings: [], constraint: null };

interface Options {
  readonly faults?: FakeFaults;
  readonly generation?: object;
  readonly model?: string;
}

async function run(sampling: Settings, settings: Settings = {}, { faults, generation, model }: Options = {}) {
  const host = testHost();
  const source = new FakeSource(faults);
  const recipe = makeRlvr(source);
  const folder = model ?? (await modelFolder());
  if (generation) writeFileSync(join(folder, "generation_config.json"), JSON.stringify(generation));
  const grpo = { ...base, sampling: { maxTokens: 8, ...sampling }, ...(settings.grpo as Settings) };
  const given = { model: folder, data: sums, ...settings, grpo };
  const config = resolveSettings("rlvr", recipe.schema, given);
  await recipe.run(config, host);
  const metrics = readLines(host.out, "metrics.jsonl") as Record<string, number>[];
  return { host, engine: source.made[0]!, metrics, config };
}

/** A folder whose model has end tokens of its own beside the tokenizer's. */
async function modelEndingAt(...ids: readonly number[]): Promise<string> {
  const folder = await modelFolder();
  await new FakeEngine({ ...fakeSpec(TRIAL_TOKENS.length, eos), eosTokenIds: ids }).save(folder);
  return folder;
}

describe("what the engine is asked for", () => {
  test("plain sampling by default, at the end tokens of model and tokenizer", async () => {
    const { engine, metrics } = await run({});
    expect(engine.samplings).toEqual([{ ...plain, maxTokens: 8, stopTokenIds: [eos] }]);
    expect(engine.vocabulary).toBeNull();
    expect(metrics[0]).not.toHaveProperty("sampling_logp_difference/mean");
  });

  test("every setting of grpo.sampling, and the vocabulary where bytes matter", async () => {
    const penalties = { repetitionPenalty: 1.1, presencePenalty: 0.3, frequencyPenalty: 0.2 };
    const settings = { temperature: 0.8, topK: 50, topP: 0.9, minP: 0.05, ...penalties, stopStrings: [" x"] };
    const { engine, metrics } = await run({ ...settings, eosTokenIds: [7, eos], regex: "( [0-9]+){1,9}" });
    const constraint = { kind: "regex", pattern: "( [0-9]+){1,9}" };
    const wanted = { ...settings, maxTokens: 8, stopTokenIds: [eos, 7], constraint };
    expect(engine.samplings).toEqual([wanted]);
    expect(engine.calls.indexOf("useVocabulary")).toBeLessThan(engine.calls.indexOf("generate"));
    expect(metrics[0]!["sampling_logp_difference/max"]).toBeGreaterThan(0.9); // of 121 tokens 45 are left
    expect(metrics[0]!["mismatch/max_abs"] ?? 0).toBe(0);
  });

  test("end tokens are joined from the model, the tokenizer and the settings, and kept in the summary", async () => {
    const { host, engine } = await run({ eosTokenIds: [3] }, {}, { model: await modelEndingAt(5, 6) });
    expect(engine.samplings[0]!.stopTokenIds).toEqual([5, 6, eos, 3]);
    expect(summaryOf(host).sampling).toEqual({ stopTokenIds: [5, 6, eos, 3], ignored: {} });
  });

  test("evaluation samples as training does, and greedily, before, between and after", async () => {
    const evaluation = { data: sums, problems: 2, every: 1 };
    const { engine } = await run({ temperature: 0.7, minP: 0.1, stopStrings: [" x"] }, { evaluation });
    const training = { ...plain, temperature: 0.7, minP: 0.1, stopStrings: [" x"], maxTokens: 8, stopTokenIds: [eos] };
    const greedy = { ...training, temperature: 0 };
    expect(engine.samplings).toEqual([training, greedy, training, training, training, greedy]);
  });

  test("evaluation has settings of its own, the same before, between and after", async () => {
    const own = { temperature: 0.5, topP: 0.9, minP: 0, maxTokens: 5 };
    const evaluation = { data: sums, problems: 2, every: 1, sampling: own };
    const { engine } = await run({ minP: 0.1, choices: [" 1", " 2 3"] }, { evaluation });
    const constraint = { kind: "choice", choices: [" 1", " 2 3"] };
    const training = { ...plain, minP: 0.1, constraint, maxTokens: 8, stopTokenIds: [eos] };
    const held = { ...training, ...own };
    const greedy = { ...held, temperature: 0 };
    expect(engine.samplings).toEqual([held, greedy, training, held, held, greedy]);
  });

  test("in the quickstart too", async () => {
    const source = new FakeSource();
    const recipe = makeQuickstart(source);
    const config = resolveSettings("quickstart", recipe.schema, {
      model: { maxPositions: 64 },
      sft: { steps: 1, tokensPerStep: 100 },
      grpo: { ...base, sampling: { maxTokens: 12, topK: 9, stopStrings: [" tie"], eosTokenIds: [119] } },
      evaluation: { problems: 2, minimumPass: 0, sampling: { topK: 0 } },
    });
    await recipe.run(config, testHost());
    const training = { ...plain, topK: 9, stopStrings: [" tie"], maxTokens: 12, stopTokenIds: [eos, 119] };
    const held = { ...training, topK: 0, bannedTokenIds: [] };
    const greedy = { ...held, temperature: 0 };
    expect(source.made.map(({ samplings }) => samplings)).toEqual([
      [held, greedy],
      [training, held, greedy],
    ]);
  });
});

test("what the trial's tokens write is what its tokenizer writes, a blank before each", () => {
  const vocabulary = trialVocabulary();
  expect(vocabulary.offsets).toHaveLength(TRIAL_TOKENS.length + 1);
  expect(textOf(vocabulary, [6, 112, 16, 101])).toBe(" 6 * 16"); // <bos> writes nothing
});

describe("what is graded", () => {
  const rewards = [{ module: modulePath("echo.mjs"), isolate: "thread" }];
  /** Texts that were graded, of the runs' message. */
  async function graded(sampling: Settings, model?: string): Promise<string> {
    const running = run(sampling, { rewards, rewardWorkers: 1 }, model === undefined ? {} : { model });
    const error = (await running.catch((fault: unknown) => fault)) as Error;
    return /graded: ("[^"]*")/.exec(error.message)![1]!;
  }

  test("ends before a stop string", async () => {
    const stopStrings = Array.from({ length: 10 }, (_, digit) => String(digit));
    const text = JSON.parse(await graded({ stopStrings, maxTokens: 30 }));
    expect(text).not.toMatch(/\d/);
  });

  test("ends before an end token of the model or the settings, whatever the tokenizer's is", async () => {
    const numbers = Array.from({ length: 100 }, (_, id) => id);
    expect(JSON.parse(await graded({ maxTokens: 30 }, await modelEndingAt(...numbers)))).not.toMatch(/\d/);
    expect(JSON.parse(await graded({ maxTokens: 30, eosTokenIds: numbers }))).not.toMatch(/\d/);
  });
});

describe("what generation_config.json recommends", () => {
  const generation = { temperature: 0.6, top_k: 20, top_p: 0.95, repetition_penalty: 1, eos_token_id: [eos] };

  test("is ignored, said once with names and values, and kept in the summary", async () => {
    const evaluation = { data: sums, problems: 2, every: 1 };
    const { host, engine, config } = await run({}, { evaluation }, { generation });
    const said = notes(host).filter((text) => text.includes("generation_config.json"));
    const file = join(config.model, "generation_config.json");
    expect(said).toEqual([
      `${file} recommends temperature 0.6, top_k 20, top_p 0.95: ignored, since training samples as grpo.sampling says`,
    ]);
    expect(summaryOf(host).sampling.ignored).toEqual({ temperature: 0.6, top_k: 20, top_p: 0.95 });
    expect(engine.samplings[2]).toMatchObject({ temperature: 1, topK: 0, topP: 1 });
  });

  test("is named too where no recipe could follow it", async () => {
    const { host } = await run({}, {}, { generation: { typical_p: 0.9, min_new_tokens: 10, suppress_tokens: [] } });
    expect(notes(host)).toContainEqual(
      expect.stringMatching(/recommends typical_p 0\.9, min_new_tokens 10: ignored, since training samples as grpo/),
    );
    expect(summaryOf(host).sampling.ignored).toEqual({ typical_p: 0.9, min_new_tokens: 10 });
  });

  test("is not spoken of where the recipe says the same", async () => {
    const { host } = await run({ temperature: 0.6, topK: 20, topP: 0.95 }, {}, { generation });
    expect(notes(host).filter((text) => text.includes("generation_config.json"))).toEqual([]);
  });
});

describe("what cannot be", () => {
  const { schema } = makeRlvr(new FakeSource());
  const refusal = (grpo: Settings) => {
    try {
      resolveSettings("rlvr", schema, { model: "m", grpo });
    } catch (error) {
      return (error as Error).message;
    }
    return "nothing";
  };

  test.each<[Settings, RegExp]>([
    [{ minP: -0.1 }, /grpo\.sampling\.minP: expected number in \[0, 1\], got -0\.1/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty: expected number in \[0\.01, 100\], got 0/],
    [{ presencePenalty: 101 }, /presencePenalty: expected number in \[-100, 100\], got 101/],
    [{ stopStrings: [""] }, /stopStrings/],
    [{ stopStrings: ["\ud800"] }, /stopStrings.*whole characters/],
    [{ eosTokenIds: [1.5] }, /eosTokenIds/],
    [{ eosTokenIds: [-1] }, /eosTokenIds/],
    [{ choices: ["a", "b"], regex: "a" }, /expected choices or a regex, one of the two/],
    [{ choices: ["a"] }, /at least two to learn between/],
    [{ topK: 1 }, /a topK of 0, or of 2 and more/],
    [{ minP: 1 }, /a minP < 1/],
    [{ regex: "a(" }, /sampling\.regex: expected a pattern that constrains \(.*the end of a group.*\), got "a\("/],
    [{ regex: "^a" }, /anchors/],
    [{ regex: "[^\\s\\S]" }, /a pattern that constrains/],
    [{ stopString: ["a"] }, /expected a known key, got "grpo\.sampling\.stopString".*stopStrings/],
  ])("%j is refused before anything is loaded", (sampling, message) => {
    expect(refusal({ sampling })).toMatch(message);
  });

  test("an end token that the model does not have, before the first step", async () => {
    const fault = {
      code: "TOKEN_OUT_OF_RANGE",
      message: "[eosTokenIds] expected token ids in 0 .. 120, got 121 at place 1",
    };
    await expect(run({ eosTokenIds: [4, 121] })).rejects.toMatchObject(fault);
    const source = new FakeSource();
    const recipe = makeQuickstart(source);
    const config = resolveSettings("quickstart", recipe.schema, { grpo: { sampling: { eosTokenIds: [4, 121] } } });
    await expect(recipe.run(config, testHost())).rejects.toMatchObject(fault);
    expect(source.made).toEqual([]);
  });
});

describe("the plan", () => {
  const lines = (grpo: Settings) => {
    const recipe = makeRlvr(new FakeSource());
    return recipe.plan(resolveSettings("rlvr", recipe.schema, { model: "m", grpo })).slice(3);
  };

  test("says nothing more of plain sampling", () => {
    expect(lines({ sampling: { temperature: 0.8 } })).toHaveLength(1);
  });

  test("says what changes the distribution, what the ratio is to, and what ends samples", () => {
    const sampling = { minP: 0.05, repetitionPenalty: 1.1, choices: ["a", "b"], stopStrings: ["\n"], eosTokenIds: [7] };
    expect(lines({ sampling, loss: { importanceCap: 2 } }).slice(1)).toEqual([
      "sampling: min-p 0.05, repetition penalty 1.1, one of 2 texts; the ratio is to the policy, tokens weighed by policy / sampler up to 2",
      'samples also end at "\\n", token 7',
    ]);
    const others = { topK: 5, presencePenalty: 0.5, frequencyPenalty: -1 };
    expect(lines({ sampling: others, loss: { oldPolicy: "sampler" } }).slice(1)).toEqual([
      "sampling: top-k 5, presence penalty 0.5, frequency penalty -1; the ratio is to the sampler",
    ]);
  });
});

describe("a sampler that is not the policy", () => {
  const rewards = [{ module: modulePath("digits.mjs"), isolate: "thread" }];
  const filtered = { minP: 0.1, repetitionPenalty: 1.3 };
  const V = TRIAL_TOKENS.length;
  const policy = () =>
    new FakeEngine(
      fakeSpec(V, eos),
      {},
      Float64Array.from({ length: V * V }, (_, i) => 2 * Math.sin(i)),
    );
  const trained = async (loss: Settings) => {
    const model = await modelFolder();
    await policy().save(model);
    const { engine, metrics } = await run(filtered, { rewards, grpo: { ...base, loss } }, { model });
    return { ...engine.batches[0]!.batch, metrics: metrics[0]! };
  };

  test("keeps both log-probs; the ratio is to the policy's, which do not depend on the sampler", async () => {
    const { metrics, ...batch } = await trained({});
    expect(batch.samplerLogprobs).toBeUndefined();
    const { logprobs } = await policy().logprobs(batch);
    for (const [t, weight] of batch.weights.entries())
      if (weight !== 0) expect(batch.oldLogprobs![t]).toBe(logprobs[t]);
    expect(metrics["mismatch/max_abs"]).toBe(0);
    expect(metrics["sampling_logp_difference/max"]).toBeGreaterThan(0);
  });

  test("is what the ratio is to where the recipe says so", async () => {
    const { oldLogprobs, samplerLogprobs } = await trained({ oldPolicy: "sampler" });
    expect(samplerLogprobs).not.toEqual(oldLogprobs);
  });

  test("or what tokens are weighed by", async () => {
    const { importance, weights } = await trained({ importanceCap: 0.99 });
    const counted = [...importance!].filter((_, t) => weights[t] !== 0);
    expect(counted.every((value) => value > 0 && value <= Math.fround(0.99))).toBe(true);
    expect(new Set(counted).size).toBeGreaterThan(1);
  });
});

describe("samples that give way to others", () => {
  const stats = { preemptions: 3, recomputedTokens: 70, blocks: 9, peakBlocks: 8 };

  test("are counted in metrics.jsonl, with the room that was used", async () => {
    const { metrics } = await run({}, {}, { faults: { stats } });
    const room = { "kv/preemptions": 3, "kv/recomputed_tokens": 70, "kv/blocks": 9, "kv/peak_blocks": 8 };
    expect(metrics[0]).toMatchObject(room);
  });

  test("are counted of evaluation too", async () => {
    const { metrics } = await run({}, { evaluation: { data: sums, problems: 2, every: 1 } }, { faults: { stats } });
    const judged = metrics.filter((line) => "pass@1" in line || "eval/pass@1" in line);
    expect(judged).toHaveLength(5);
    for (const line of judged) expect(line).toMatchObject({ "kv/preemptions": 3, "kv/peak_blocks": 8 });
  });

  test("are summed over the rounds of a step, the room is the largest", async () => {
    const dynamicSampling = { maxRefills: 2 };
    const { metrics, engine } = await run({}, { grpo: { ...base, dynamicSampling } }, { faults: { stats } });
    expect(engine.requests).toHaveLength(3); // no group has spread
    expect(metrics[0]).toMatchObject({ "kv/preemptions": 9, "kv/recomputed_tokens": 210, "kv/peak_blocks": 8 });
  });
});
