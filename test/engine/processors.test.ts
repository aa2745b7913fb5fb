// What penalties, min-p and their company do to the distribution: against transformers' logits processors, a slow reference for what it
// does not have, and frequencies. The policy's log-prob stays that of the whole vocabulary.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { GenerateResult, SamplingParams } from "../../src/engine/types.js";
import { bitsOf, fixtures, pack, smallSpec, unpack } from "../helpers/engine.js";
import { tokenBytes } from "../helpers/vocabulary.js";

interface Case {
  readonly prompt: number[];
  readonly settings: {
    temperature?: number;
    top_k?: number;
    top_p?: number;
    min_p?: number;
    repetition_penalty?: number;
  };
  readonly banned: number[];
  readonly allowed: number[] | null;
  readonly policy: number[]; // [V]
  readonly sampler: (number | null)[]; // [V]
}

const cases = JSON.parse(readFileSync(join(fixtures, "processors.json"), "utf8")) as Case[];
const TOLERANCE = 3e-5; // the model in float32 against float64
const DRAWS = 3000;

describe("transformers' processors", () => {
  const vocabSize = 101;
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load(join(fixtures, "gqa"), { trainable: false });
    await engine.useVocabulary(tokenBytes(Array.from({ length: vocabSize }, (_, id) => `<${id}>`)));
  });
  afterAll(() => engine.dispose());

  const samplingOf = ({ settings, banned, allowed }: Case): SamplingParams => ({
    maxTokens: 1,
    stopTokenIds: [],
    temperature: settings.temperature ?? 1,
    topK: settings.top_k ?? 0,
    topP: settings.top_p ?? 1,
    minP: settings.min_p ?? 0,
    repetitionPenalty: settings.repetition_penalty ?? 1,
    bannedTokenIds: banned,
    constraint: allowed && { kind: "choice", choices: allowed.map((id) => `<${id}>`) },
  });

  test.each(cases.map((each, i) => [i, JSON.stringify(each.settings), each] as const))("%d %s", async (_, __, each) => {
    const { tokens, logprobs, samplerLogprobs } = await engine.generate({
      prompts: pack([each.prompt]),
      samplesPerPrompt: DRAWS,
      sampling: samplingOf(each),
    });
    const counts = new Map<number, number>();
    tokens.forEach((token, s) => {
      const wanted = each.sampler[token];
      expect(wanted, `token ${token} is excluded`).not.toBeNull();
      expect(Math.abs(samplerLogprobs[s]! - wanted!)).toBeLessThan(TOLERANCE);
      expect(Math.abs(logprobs[s]! - each.policy[token]!)).toBeLessThan(TOLERANCE);
      counts.set(token, (counts.get(token) ?? 0) + 1);
    });
    for (const [token, logprob] of each.sampler.entries()) {
      const p = logprob === null ? 0 : Math.exp(logprob);
      const deviation = Math.sqrt(p * (1 - p) * DRAWS);
      expect(Math.abs((counts.get(token) ?? 0) - p * DRAWS), `token ${token}`).toBeLessThanOrEqual(5 * deviation + 2);
    }
  });

  test("greedy takes the best of what is left, at the policy's log-prob", async () => {
    for (const each of cases) {
      const sampling = { ...samplingOf(each), temperature: 0 };
      const { tokens, samplerLogprobs } = await engine.generate({ prompts: pack([each.prompt]), sampling });
      const best = Math.max(...each.sampler.map((logprob) => logprob ?? Number.NEGATIVE_INFINITY));
      expect(each.sampler[tokens[0]!]! - best).toBeGreaterThan(-TOLERANCE);
      expect(samplerLogprobs[0]).toBe(0);
    }
  });
});

describe("penalties over a completion", () => {
  const V = smallSpec.vocabSize;
  const prompt = [3, 1, 4, 1, 5];
  const penalties = { temperature: 0.8, presencePenalty: 0.3, frequencyPenalty: 0.2, minP: 0.05 };
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.create(smallSpec, { seed: 11, std: 0.35 }, { trainable: false });
  });
  afterAll(() => engine.dispose());

  /** The sampler's log-probs behind a completion; `row`: the model's own at temperature 1, since a constant does not matter here. */
  function slowly(row: readonly number[], completion: readonly number[]): number[] {
    const scores = row.map((logit, id) => {
      const count = completion.filter((token) => token === id).length;
      const penalty = (count > 0 ? penalties.presencePenalty : 0) + penalties.frequencyPenalty * count;
      return (logit - penalty) / penalties.temperature;
    });
    const best = Math.max(...scores);
    const kept = scores.map((x) => (Math.exp(x - best) < penalties.minP ? Number.NEGATIVE_INFINITY : x - best));
    const sum = kept.reduce((total, x) => total + Math.exp(x), 0);
    return kept.map((x) => x - Math.log(sum));
  }

  test("presence, frequency and min-p are those of a slow reference, at every place", async () => {
    const sampling = { ...penalties, maxTokens: 40 };
    const result = await engine.generate({ prompts: pack([prompt]), samplesPerPrompt: 6, sampling, seed: 2 });
    const recorded = unpack(result.samplerLogprobs, result.cuSeqlens);
    for (const [s, tokens] of unpack(result.tokens, result.cuSeqlens).entries()) {
      const { topIds, topLogprobs } = await engine.logprobs({ ...pack([[...prompt, ...tokens]]), top: V });
      tokens.forEach((token, i) => {
        const first = (prompt.length + i - 1) * V;
        const row = new Array<number>(V);
        for (let k = first; k < first + V; k++) row[topIds[k]!] = topLogprobs[k]!;
        expect(Math.abs(recorded[s]![i]! - slowly(row, [...tokens.subarray(0, i)])[token]!)).toBeLessThan(1e-4);
      });
    }
  });

  test("repetition counts tokens of the completion as those of the prompt", async () => {
    const greedy = { temperature: 0, repetitionPenalty: 1.8 };
    const whole = await engine.generate({ prompts: pack([prompt]), sampling: { ...greedy, maxTokens: 25 } });
    for (let i = 0; i < whole.tokens.length; i++) {
      const prompts = pack([[...prompt, ...whole.tokens.subarray(0, i)]]);
      const { tokens, logprobs } = await engine.generate({ prompts, sampling: { ...greedy, maxTokens: 1 } });
      expect([tokens[0], bitsOf(logprobs)]).toEqual([whole.tokens[i], bitsOf(whole.logprobs.subarray(i, i + 1))]);
    }
    const free = await engine.generate({ prompts: pack([prompt]), sampling: { temperature: 0, maxTokens: 25 } });
    expect(new Set(whole.tokens).size).toBeGreaterThan(new Set(free.tokens).size);
  });

  test("nothing that is off changes a bit", async () => {
    const off = {
      minP: 0,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      stopStrings: [],
      constraint: null,
    };
    const request = { prompts: pack([prompt]), samplesPerPrompt: 5, seed: 1 };
    const plain = await engine.generate({ ...request, sampling: { maxTokens: 30 } });
    expect(await engine.generate({ ...request, sampling: { maxTokens: 30, ...off } })).toEqual(plain);
    expect(bitsOf(plain.samplerLogprobs)).toBe(bitsOf(plain.logprobs));
  });
});

test("each prompt may have parameters of its own", async () => {
  await using engine = await Engine.create(smallSpec, { seed: 11, std: 0.35 }, { trainable: false });
  const rows = [[1, 2], [3], [4, 5, 6], [7]];
  const samplings: SamplingParams[] = [
    { maxTokens: 7, temperature: 0 },
    { maxTokens: 20, minP: 0.3, stopTokenIds: [1, 2, 3] },
    { maxTokens: 3, temperature: 2, bannedTokenIds: [9] },
    { maxTokens: 30, repetitionPenalty: 1.3 },
  ];
  const request = { samplesPerPrompt: 3, seed: 5 };
  const together = await engine.generate({ ...request, prompts: pack(rows), sampling: samplings });
  const parts: GenerateResult[] = [];
  for (const [p, row] of rows.entries()) {
    const problemIds = Int32Array.of(p);
    parts.push(await engine.generate({ ...request, prompts: pack([row]), problemIds, sampling: samplings[p]! }));
  }
  const alone = (array: "tokens" | "logprobs" | "samplerLogprobs") => parts.flatMap((part) => [...part[array]]);
  for (const array of ["tokens", "logprobs", "samplerLogprobs"] as const)
    expect([...together[array]]).toEqual(alone(array));
  expect(together.finish).toEqual(parts.flatMap((part) => part.finish));
});
