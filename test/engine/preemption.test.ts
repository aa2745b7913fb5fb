// Room for keys and values that is too small for all: samples give way and are computed again, and not a bit of any of them changes.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { GenerateRequest, GenerateResult, SamplingParams } from "../../src/engine/types.js";
import { bitsOf, pack, randomSequences, smallSpec, unpack } from "../helpers/engine.js";
import { toyVocabulary } from "../helpers/vocabulary.js";

/** A quick model whose samples take several blocks. */
const spec = { ...smallSpec, vocabSize: 79, maxPositions: 520 };
const init = { seed: 3, std: 0.2 };
const vocabulary = toyVocabulary(spec.vocabSize);
/** Prompts that end in, at and around the border of a block of 64. */
const LENGTHS = [1, 60, 64, 40, 65, 3, 127, 30];
const prompts = pack(randomSequences(LENGTHS, spec.vocabSize, 4));
const MAX_TOKENS = 320;
const BLOCKS_OF_LONGEST = Math.ceil((Math.max(...LENGTHS) + MAX_TOKENS - 1) / 64);

const plain: SamplingParams = { maxTokens: MAX_TOKENS, stopTokenIds: [5] };
const samplings: readonly (readonly [string, SamplingParams])[] = [
  ["plain", plain],
  ["min-p and penalties", { ...plain, temperature: 0.9, minP: 0.02, repetitionPenalty: 1.05, frequencyPenalty: 0.01 }],
  ["stop strings", { ...plain, stopTokenIds: [], stopStrings: ["gh", "k9", "xy", "7j"] }],
  ["a constraint", { ...plain, constraint: { kind: "regex", pattern: "([a-z0 ]|é){150,}" } }],
];

const requestOf = (sampling: SamplingParams): GenerateRequest => ({ prompts, samplesPerPrompt: 3, sampling, seed: 9 });

/** All that a sample is, its stats aside. */
const samplesOf = ({ stats: _, logprobs, samplerLogprobs, ...rest }: GenerateResult) => ({
  ...rest,
  logprobs: bitsOf(logprobs),
  samplerLogprobs: bitsOf(samplerLogprobs),
});

let roomy: Engine;
let blockBytes: number;
beforeAll(async () => {
  roomy = await Engine.create(spec, init, { trainable: false });
  await roomy.useVocabulary(vocabulary);
  ({ blockBytes } = (await roomy.generate(requestOf({ maxTokens: 1 }))).stats);
});
afterAll(() => roomy.dispose());

async function cramped(blocks: number, options: { threads: number; microBatchTokens?: number }): Promise<Engine> {
  const kvBytes = Math.floor(blocks * blockBytes);
  const engine = await Engine.create(spec, init, { trainable: false, kvBytes, ...options });
  await engine.useVocabulary(vocabulary);
  return engine;
}

describe.each(samplings)("%s", (_, sampling) => {
  let wanted: GenerateResult;
  beforeAll(async () => {
    wanted = await roomy.generate(requestOf(sampling));
    expect(wanted.stats.preemptions).toBe(0);
    const lengths = unpack(wanted.tokens, wanted.cuSeqlens).map((row) => row.length);
    expect(new Set(lengths).size).toBeGreaterThan(3);
    expect(Math.max(...lengths)).toBeGreaterThan(190);
  });

  test.each([1, 2])("every budget gives the same samples, %d threads", async (threads) => {
    let preemptions = 0;
    for (const blocks of [BLOCKS_OF_LONGEST, BLOCKS_OF_LONGEST + 0.9, 8, 10, 13, 20, 33]) {
      for (const microBatchTokens of [4096, 70, 1]) {
        await using engine = await cramped(blocks, { threads, microBatchTokens });
        const result = await engine.generate(requestOf(sampling));
        expect(samplesOf(result), `${blocks} blocks`).toEqual(samplesOf(wanted));
        const { stats } = result;
        expect(stats.blocks).toBeLessThanOrEqual(blocks);
        expect(stats.peakBlocks).toBeLessThanOrEqual(stats.blocks);
        expect(stats.peakBlocks).toBeGreaterThanOrEqual(4);
        preemptions += stats.preemptions;
      }
    }
    expect(preemptions).toBeGreaterThan(20);
  });

  test("a second call finds the pool as the first did", async () => {
    await using engine = await cramped(9, { threads: 2 });
    const first = await engine.generate(requestOf(sampling));
    expect(await engine.generate(requestOf(sampling))).toEqual(first);
  });
});

describe("an abort", () => {
  test("at any moment, samples that wait for room among them, gives what there is", async () => {
    const whole = await roomy.generate(requestOf(plain));
    const rows = unpack(whole.tokens, whole.cuSeqlens).map(String);
    let waiting = 0;
    await using engine = await cramped(9, { threads: 1 });
    for (let steps = 1; steps < 1500; steps += 61) {
      const controller = new AbortController();
      let seen = 0;
      const onProgress = () => {
        if (++seen >= steps) controller.abort();
      };
      const part = await engine.generate({ ...requestOf(plain), signal: controller.signal, onProgress });
      unpack(part.tokens, part.cuSeqlens).forEach((row, s) => {
        const [got, all] = [String(row), rows[s]!];
        if (part.finish[s] === "abort") expect(all.startsWith(got)).toBe(true);
        else expect([got, part.finish[s]]).toEqual([all, whole.finish[s]]);
      });
      if (part.finish.includes("abort")) waiting += part.stats.preemptions;
    }
    expect(waiting).toBeGreaterThan(0);
    expect(samplesOf(await engine.generate(requestOf(plain)))).toEqual(samplesOf(whole));
  });
});

describe("one sample that does not fit", () => {
  test("is refused before anything starts, with the bytes that it needs", async () => {
    const needed = BLOCKS_OF_LONGEST * blockBytes;
    await using small = await Engine.create(spec, init, { trainable: false, kvBytes: needed - 1 });
    const onProgress = () => expect.unreachable();
    await expect(small.generate({ ...requestOf(plain), onProgress })).rejects.toMatchObject({
      code: "KV_TOO_SMALL",
      message: `[generate] expected room for the longest sample, ${needed} bytes, got kvBytes ${needed - 1}; raise kvBytes, or lower maxTokens`,
    });
    await using enough = await Engine.create(spec, init, { trainable: false, kvBytes: needed });
    expect((await enough.generate(requestOf(plain))).stats.blocks).toBe(BLOCKS_OF_LONGEST);
  });

  test("a prompt whose samples do not fit together runs them by turns", async () => {
    const many: GenerateRequest = {
      prompts: pack([[1, 2, 3]]),
      samplesPerPrompt: 30,
      sampling: { maxTokens: 250, stopTokenIds: [] },
    };
    const wanted = await roomy.generate(many);
    await using narrow = await cramped(5, { threads: 2 });
    const result = await narrow.generate(many);
    expect(samplesOf(result)).toEqual(samplesOf(wanted));
    expect(result.stats.peakBlocks).toBe(5);
  });
});
