// The stand-in of the tests draws as the engine does: transformers' processors by the fixture that the engine is held against, stop
// strings, constraints and end tokens by what it writes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { SamplingParams } from "../../src/engine/types.js";
import { fixtures, pack, unpack } from "../helpers/engine.js";
import { FakeEngine, fakeSpec } from "../helpers/fake-engine.js";
import { textOf, tokenBytes } from "../helpers/vocabulary.js";

interface Case {
  readonly prompt: number[];
  readonly settings: Readonly<Record<string, number>>;
  readonly banned: number[];
  readonly allowed: number[] | null;
  readonly policy: number[]; // [V]
  readonly sampler: (number | null)[]; // [V]
}

const cases = JSON.parse(readFileSync(join(fixtures, "processors.json"), "utf8")) as Case[];
/** The fixture has log-probs, not logits, whose sign a penalty depends on. */
const known = cases.filter(({ settings }) => (settings.repetition_penalty ?? 1) === 1);

test.each(known.map((each) => [JSON.stringify(each.settings), each] as const))("%s", async (_, each) => {
  const { prompt, settings, banned, allowed, policy, sampler } = each;
  const V = policy.length;
  const { temperature = 1, top_k: topK = 0, top_p: topP = 1, min_p: minP = 0 } = settings;
  const table = new Float64Array(V * V);
  table.set(
    policy.map((logprob) => logprob * temperature),
    prompt.at(-1)! * V,
  );
  const engine = new FakeEngine(fakeSpec(V, 0), {}, table);
  await engine.useVocabulary(tokenBytes(Array.from({ length: V }, (_each, id) => `<${id}>`)));
  const constraint = allowed && ({ kind: "choice", choices: allowed.map((id) => `<${id}>`) } as const);
  const sampling = {
    temperature,
    topK,
    topP,
    minP,
    bannedTokenIds: banned,
    stopTokenIds: [],
    constraint,
    maxTokens: 1,
  };
  const result = await engine.generate({ prompts: pack([prompt]), samplesPerPrompt: 200, sampling });
  const possible = sampler.filter((logprob) => logprob !== null).length;
  expect(new Set(result.tokens).size).toBeGreaterThanOrEqual(Math.min(2, possible));
  result.tokens.forEach((token, s) => {
    expect(sampler[token], `token ${token} is excluded`).not.toBeNull();
    expect(result.logprobs[s]).toBeCloseTo(policy[token]!, 5);
    expect(result.samplerLogprobs[s]).toBeCloseTo(sampler[token]!, 5);
  });
});

describe("what ends a sample", () => {
  const V = 6;
  const vocabulary = tokenBytes(["a", "b", "ab", "c", "", ""]);
  const draw = async (sampling: Partial<SamplingParams>) => {
    const engine = new FakeEngine(fakeSpec(V, 5));
    await engine.useVocabulary(vocabulary);
    const request = { prompts: pack([[0]]), samplesPerPrompt: 100, sampling: { maxTokens: 6, ...sampling }, seed: 2 };
    const result = await engine.generate(request);
    expect(engine.samplings).toEqual([request.sampling]);
    const rows = unpack(result.tokens, result.cuSeqlens);
    return rows.map((row, s) => ({
      row,
      text: textOf(vocabulary, row),
      finish: result.finish[s],
      stop: result.stopStrings[s],
    }));
  };

  test("a stop string, wherever tokens begin and end", async () => {
    const samples = await draw({ stopStrings: ["bc"], stopTokenIds: [] });
    for (const { text, finish, stop } of samples) {
      expect([finish, stop]).toEqual(text.includes("bc") ? ["stop", "bc"] : ["length", null]);
      expect(text.slice(0, -1)).not.toContain("bc");
    }
    expect(samples.some(({ stop }) => stop === "bc")).toBe(true);
  });

  test("a constraint, with an end token where the text may end, by itself where there is none", async () => {
    const constraint = { kind: "choice", choices: ["ab", "abc", "c"] } as const;
    for (const { text, row, finish } of await draw({ constraint })) {
      expect([finish, row.at(-1)]).toEqual(["stop", 5]);
      expect(constraint.choices).toContain(text);
    }
    const free = await draw({ constraint, stopTokenIds: [] });
    expect(new Set(free.map(({ text, finish }) => `${text} ${finish}`))).toEqual(new Set(["abc stop", "c stop"]));
  });

  test("an engine without a vocabulary refuses both, as the native one does", async () => {
    const engine = new FakeEngine(fakeSpec(V, 5));
    const request = { prompts: pack([[0]]), sampling: { maxTokens: 1, stopStrings: ["a"] } };
    await expect(engine.generate(request)).rejects.toMatchObject({ code: "NO_VOCABULARY" });
  });
});

test("a repetition penalty is in the sampler's log-prob, not in the policy's", async () => {
  const table = new Float64Array(9).fill(1);
  const engine = new FakeEngine(fakeSpec(3, 2), {}, table);
  const sampling = { maxTokens: 1, repetitionPenalty: 2 };
  const { tokens, logprobs, samplerLogprobs } = await engine.generate({
    prompts: pack([[0]]),
    samplesPerPrompt: 60,
    sampling,
  });
  const weights = [Math.exp(0.5), Math.E, Math.E];
  const sum = weights.reduce((total, weight) => total + weight, 0);
  expect(new Set(tokens).size).toBe(3);
  tokens.forEach((token, s) => {
    expect(logprobs[s]).toBeCloseTo(Math.log(1 / 3), 6);
    expect(samplerLogprobs[s]).toBeCloseTo(Math.log(weights[token]! / sum), 6);
  });
});
