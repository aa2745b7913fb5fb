// What is sampled: frequencies against the model's own probabilities, filters against a slow reference, and how samples end.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { GenerateResult, SamplingParams } from "../../src/engine/types.js";
import { bitsOf, oddInit, oddSpec, pack, randomSequences, smallSpec, unpack } from "../helpers/engine.js";

const V = smallSpec.vocabSize;
const DRAWS = 8000;
const prompts = pack([[3, 1, 4, 1, 5, 9]]);

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create(smallSpec, { seed: 11, std: 0.35 });
});
afterAll(() => engine.dispose());

/** Probability of each token after the prompt at a temperature. [V] */
async function probabilities(temperature: number): Promise<Float64Array> {
  const { topIds, topLogprobs } = await engine.logprobs({ ...prompts, temperature, top: V });
  const row = new Float64Array(V);
  for (let i = topIds.length - V; i < topIds.length; i++) row[topIds[i]!] = Math.exp(topLogprobs[i]!);
  expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
  return row;
}

/** The sampler's distribution: banned ids go, then the k best stay, then the fewest best whose share reaches p. */
function filtered(
  row: Float64Array,
  { bannedTokenIds = [], topK = 0, topP = 1 }: Partial<SamplingParams>,
): Float64Array {
  let ids = [...row.keys()].filter((id) => !bannedTokenIds.includes(id)).sort((a, b) => row[b]! - row[a]! || a - b);
  if (topK > 0) ids = ids.slice(0, topK);
  const mass = (some: readonly number[]) => some.reduce((sum, id) => sum + row[id]!, 0);
  const all = mass(ids);
  const kept = ids.filter((_, i) => mass(ids.slice(0, i)) < topP * all);
  return row.map((p, id) => (kept.includes(id) ? p / mass(kept) : 0));
}

/** First tokens of many samples. */
async function draw(sampling: Partial<SamplingParams>, seed = 1): Promise<GenerateResult> {
  return engine.generate({ prompts, samplesPerPrompt: DRAWS, seed, sampling: { ...sampling, maxTokens: 1 } });
}

/** Pearson's statistic in standard deviations above its mean, rare tokens taken together. */
function chiSquare(tokens: Int32Array, expected: Float64Array): number {
  const counts = new Float64Array(V);
  for (const token of tokens) counts[token]!++;
  const common = [...expected.keys()].filter((id) => expected[id]! * DRAWS >= 8);
  const cells = common.map((id) => [counts[id]!, expected[id]! * DRAWS] as const);
  const rest = cells.reduce(([n, e], cell) => [n - cell[0], e - cell[1]] as const, [DRAWS, DRAWS] as const);
  if (rest[1] > 1e-6 * DRAWS) cells.push(rest);
  else expect(rest[0]).toBe(0);
  const statistic = cells.reduce((sum, [n, e]) => sum + (n - e) ** 2 / e, 0);
  const freedom = Math.max(1, cells.length - 1);
  return (statistic - freedom) / Math.sqrt(2 * freedom);
}

/** A fair sampler passes this at one seed in about ten thousand. */
const LIMIT = 5;

describe("frequencies", () => {
  test.each([0.7, 1, 1.5])("follow the probabilities at T %d", async (temperature) => {
    const { tokens, logprobs } = await draw({ temperature });
    const row = await probabilities(temperature);
    expect(chiSquare(tokens, row)).toBeLessThan(LIMIT);
    expect(chiSquare(tokens, await probabilities(temperature * 1.2))).toBeGreaterThan(2 * LIMIT);
    tokens.forEach((token, s) => {
      expect(Math.abs(Math.exp(logprobs[s]!) - row[token]!)).toBeLessThan(1e-6);
    });
  });

  const filters: readonly Partial<SamplingParams>[] = [
    { topK: 1 },
    { topK: 5 },
    { topK: 1000 },
    { topP: 0.8 },
    { topP: 0.3 },
    { topP: 1e-9 },
    { bannedTokenIds: [0, 7, 7, 22] },
    { temperature: 0.7, topK: 7, topP: 0.6, bannedTokenIds: [2, 5] },
  ];

  test.each(filters)("%j", async (sampling) => {
    const result = await draw(sampling);
    const row = await probabilities(sampling.temperature ?? 1);
    const wanted = filtered(row, sampling);
    expect(chiSquare(result.tokens, wanted)).toBeLessThan(LIMIT);
    const inside = result.tokens.filter((token) => wanted[token]! > 0);
    expect(inside.length).toBe(DRAWS);
    // The policy's log-prob stays that of the whole vocabulary; the sampler's is of what was left.
    const shares = Array.from(result.tokens, (token, s) => Math.exp(result.samplerLogprobs[s]!) / wanted[token]!);
    const policy = Array.from(result.tokens, (token, s) => Math.exp(result.logprobs[s]!) / row[token]!);
    for (const ratio of [...shares, ...policy]) expect(Math.abs(ratio - 1)).toBeLessThan(1e-4);
  });

  test("banning the likeliest tokens changes them", async () => {
    const row = await probabilities(1);
    const likely = [...row.keys()].sort((a, b) => row[b]! - row[a]!).slice(0, 3);
    const { tokens } = await draw({ bannedTokenIds: likely });
    expect(chiSquare(tokens, row)).toBeGreaterThan(LIMIT);
  });
});

describe("without filters", () => {
  test("both log-probs are the same bits", async () => {
    const { logprobs, samplerLogprobs } = await draw({ temperature: 0.7 });
    expect(bitsOf(samplerLogprobs)).toBe(bitsOf(logprobs));
  });
});

describe("greedy", () => {
  test("takes the best token, with its log-prob at temperature 1", async () => {
    const long = { prompts, sampling: { temperature: 0, maxTokens: 40 } };
    const { tokens, logprobs, samplerLogprobs } = await engine.generate(long);
    const ids = [...prompts.ids, ...tokens];
    const { topIds, topLogprobs } = await engine.logprobs({ ...pack([ids]), top: 1 });
    const first = prompts.ids.length - 1;
    expect(topIds.slice(first, -1)).toEqual(tokens);
    expect(bitsOf(topLogprobs.slice(first, -1))).toBe(bitsOf(logprobs));
    expect(samplerLogprobs.every((value) => value === 0)).toBe(true);
  });

  test("takes the next best where the best is banned", async () => {
    const { topIds } = await engine.logprobs({ ...prompts, top: 2 });
    const [best, second] = topIds.slice(-2);
    const sampling = { temperature: 0, maxTokens: 1, bannedTokenIds: [best!] };
    expect([...(await engine.generate({ prompts, sampling })).tokens]).toEqual([second]);
  });
});

describe("random keys", () => {
  const request = { prompts, samplesPerPrompt: 4, sampling: { maxTokens: 30 } };

  test("the same key gives the same samples, and each part of the key other ones", async () => {
    const base = await engine.generate(request);
    expect(await engine.generate(request)).toEqual(base);
    const others = [{ seed: 1 }, { seed: 2 ** 40 }, { step: 1 }, { problemIds: Int32Array.of(1) }];
    const all = [base];
    for (const other of others) all.push(await engine.generate({ ...request, ...other }));
    expect(new Set(all.map(({ tokens }) => tokens.join())).size).toBe(all.length);
    expect(new Set(unpack(base.tokens, base.cuSeqlens).map(String)).size).toBe(4);
  });
});

describe("the end of a sample", () => {
  const ends = (result: GenerateResult) => unpack(result.tokens, result.cuSeqlens);

  test("a stop id ends it and is part of it", async () => {
    const stopTokenIds = [4, 8, 15];
    const sampling = { maxTokens: 100, stopTokenIds };
    const result = await engine.generate({ prompts, samplesPerPrompt: 50, sampling });
    ends(result).forEach((row, s) => {
      const stops = row.findIndex((token) => stopTokenIds.includes(token));
      expect(stops).toBe(result.finish[s] === "stop" ? row.length - 1 : -1);
      expect(row.length).toBeGreaterThan(0);
    });
    expect(result.finish.filter((reason) => reason === "stop").length).toBeGreaterThan(40);
  });

  test("the model's end tokens are the default, and none is a choice", async () => {
    await using other = await Engine.create({ ...smallSpec, eosTokenIds: [4, 8, 15] }, { seed: 11, std: 0.35 });
    const request = { prompts, samplesPerPrompt: 20, sampling: { maxTokens: 60 } };
    const result = await other.generate(request);
    expect(result.finish).toContain("stop");
    const explicit = { ...request, sampling: { ...request.sampling, stopTokenIds: [4, 8, 15] } };
    expect(await engine.generate(explicit)).toEqual(result);
    const none = await other.generate({ ...request, sampling: { maxTokens: 60, stopTokenIds: [] } });
    expect(none.finish).toEqual(Array(20).fill("length"));
  });

  test("maxTokens", async () => {
    const result = await engine.generate({ prompts, sampling: { maxTokens: 13 } });
    expect([result.tokens.length, result.finish]).toEqual([13, ["length"]]);
  });

  test("the context, for each prompt on its own", async () => {
    const lengths = [smallSpec.maxPositions - 1, 150, 1];
    const result = await engine.generate({
      prompts: pack(randomSequences(lengths, V)),
      sampling: { maxTokens: 100 },
    });
    expect(ends(result).map((row) => row.length)).toEqual([1, 10, 100]);
    expect(result.finish).toEqual(["length", "length", "length"]);
  });

  test("no prompts, no samples", async () => {
    const result = await engine.generate({ prompts: pack([]), sampling: { maxTokens: 5 } });
    expect([result.tokens.length, [...result.cuSeqlens], result.finish]).toEqual([0, [0], []]);
  });
});

test("a vocabulary of many vectors samples no token beyond its end", async () => {
  await using wide = await Engine.create({ ...oddSpec, vocabSize: 1037 }, oddInit);
  const sampling = { temperature: 100, maxTokens: 100 };
  const { tokens } = await wide.generate({ prompts: pack([[1]]), samplesPerPrompt: 60, sampling });
  expect(Math.max(...tokens)).toBeLessThan(1037);
  expect(Math.max(...tokens)).toBeGreaterThan(1020);
  expect(Math.min(...tokens)).toBeLessThan(17);
});
