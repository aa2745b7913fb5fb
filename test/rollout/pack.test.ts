// Packing of sequences and unpacking of samples, on ragged lengths.
import { describe, expect, test } from "vitest";
import { makeGroups } from "../../src/rollout/group.js";
import { packSequences, unpackSamples } from "../../src/rollout/pack.js";
import { sampleCompletions } from "../../src/rollout/sample.js";
import { FakeEngine, fakeSpec } from "../helpers/fake-engine.js";

describe("packSequences", () => {
  test("lays sequences end to end", () => {
    const packed = packSequences([[3], [1, 4, 1], [5, 9]]);
    expect([...packed.ids]).toEqual([3, 1, 4, 1, 5, 9]);
    expect([...packed.cuSeqlens]).toEqual([0, 1, 4, 6]);
  });

  test("no sequences is an empty pack; an empty sequence is an error that names it", () => {
    expect([...packSequences([]).cuSeqlens]).toEqual([0]);
    expect(() => packSequences([[1], []])).toThrow(/\[sequence 1\] expected at least one token/);
  });
});

test("packSequences refuses more tokens than offsets can count, before it makes room for them", () => {
  const long = { length: 2 ** 30 } as ArrayLike<number>;
  expect(() => packSequences([long, long])).toThrow(
    expect.objectContaining({ code: "TOO_MANY_TOKENS", message: expect.stringContaining("got 2147483648") }),
  );
});

describe("unpackSamples", () => {
  const result = {
    tokens: Int32Array.from([1, 2, 3, 4, 5, 6]),
    cuSeqlens: Int32Array.from([0, 1, 3, 3, 6]),
    logprobs: Float32Array.from([-1, -2, -3, -4, -5, -6]),
    samplerLogprobs: Float32Array.from([0, 0, 0, 0, 0, -7]),
    finish: ["stop", "length", "abort", "stop"] as const,
  };
  const prompts = [Int32Array.from([7]), Int32Array.from([8, 9])];

  test("gives each prompt its samples in order", () => {
    const samples = unpackSamples(prompts, result, 2);
    expect(samples.map((group) => group.map((s) => [...s.completion]))).toEqual([
      [[1], [2, 3]],
      [[], [4, 5, 6]],
    ]);
    const last = samples[1]![1]!;
    expect([...last.prompt]).toEqual([8, 9]);
    expect([...last.logprobs]).toEqual([-4, -5, -6]);
    expect([...last.samplerLogprobs]).toEqual([0, 0, -7]);
    expect([...last.mask]).toEqual([1, 1, 1]);
    expect(last.finish).toBe("stop");
  });

  test("another number of samples is an error", () => {
    expect(() => unpackSamples(prompts, result, 3)).toThrow(/expected 6 samples, got 4/);
  });
});

describe("sampleCompletions", () => {
  const request = {
    prompts: [[1], [2], [3]].map((ids) => Int32Array.from(ids)),
    samplesPerPrompt: 4,
    sampling: { maxTokens: 6 },
    seed: 3,
    step: 9,
  };

  test("is one generate call whose samples depend on seed and step", async () => {
    const engine = new FakeEngine(fakeSpec(5, 0));
    const first = await sampleCompletions(engine, request);
    expect(engine.calls).toEqual(["generate"]);
    expect(first.samples.map((group) => group.length)).toEqual([4, 4, 4]);
    expect(first.tokens).toBe(first.samples.flat().reduce((sum, s) => sum + s.completion.length, 0));
    expect((await sampleCompletions(engine, request)).samples).toEqual(first.samples);
    expect((await sampleCompletions(engine, { ...request, step: 10 })).samples).not.toEqual(first.samples);
  });

  test("an aborted call throws, so that half a rollout is never trained on", async () => {
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    const engine = new FakeEngine(fakeSpec(5, 0));
    await expect(sampleCompletions(engine, { ...request, signal: controller.signal })).rejects.toThrow("enough");
  });
});

test("makeGroups leaves out samples without a reward", async () => {
  const engine = new FakeEngine(fakeSpec(5, 0));
  const prompts = [Int32Array.from([1])];
  const { samples } = await sampleCompletions(engine, {
    prompts,
    samplesPerPrompt: 3,
    sampling: { maxTokens: 2 },
    seed: 0,
    step: 1,
  });
  const [group] = makeGroups([{ id: 4 }], samples, [Float64Array.from([1, Number.NaN, 0])]);
  expect([...group!.rewards]).toEqual([1, 0]);
  expect(group!.samples).toEqual([samples[0]![0], samples[0]![2]]);
});
