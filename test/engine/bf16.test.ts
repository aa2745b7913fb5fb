// bf16 against PyTorch's bf16, by how far each is from float64; and checkpoints in BF16 and F16. What must hold to the bit in bf16 as in
// f32, the laws, is in law2.test.ts and law4.test.ts. test/fixtures/README.md says how the numbers were made.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { DType } from "../../src/engine/types.js";
import { bitsOf, fixtures, hasStories, oddInit, oddSpec, pack, stories, temporaryFolder } from "../helpers/engine.js";
import { fixtureBatch } from "../helpers/pytorch.js";
import { floats, readSafetensors } from "../helpers/safetensors.js";

interface Figures {
  readonly loss: number;
  readonly logprobs_rms: number;
  readonly entropy_rms: number;
  readonly gradients_rms: Readonly<Record<string, number>>;
  readonly losses: readonly number[];
  readonly losses_torch: readonly number[];
  readonly weights_rms: Readonly<Record<string, number>>;
}

/**
 * How much larger than PyTorch's an error may be. The residual stream, gradients between kernels and the softmax are f32 here and bf16
 * there, so ours are smaller as a rule; a single array is a sample of a few hundred roundings.
 */
const AS_GOOD = 1.1;

const figures = JSON.parse(readFileSync(join(fixtures, "bf16.json"), "utf8")) as Readonly<Record<string, Figures>>;
const bfloat16 = { dtype: "bfloat16" } as const;

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => rmSync(folder, { recursive: true }));

describe.each(Object.keys(figures))("%s", (name) => {
  const torch = figures[name]!;
  const exact = readSafetensors(join(fixtures, name, "bf16.safetensors"));
  const expected = readSafetensors(join(fixtures, name, "expected.safetensors"));
  const parameters = [...readSafetensors(join(fixtures, name, "model.safetensors")).keys()];
  const batch = fixtureBatch(expected);
  const open = () => Engine.load(join(fixtures, name), bfloat16);

  test("log-probs and entropies", async () => {
    await using engine = await open();
    const { logprobs, entropy } = await engine.logprobs(batch);
    const error = rmsOfDifference(logprobs, floats(exact, "logprobs"));
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(AS_GOOD * torch.logprobs_rms);
    expect(rmsOfDifference(entropy, floats(exact, "entropy"))).toBeLessThan(AS_GOOD * torch.entropy_rms);
  });

  test("every gradient", async () => {
    await using engine = await open();
    await engine.forwardBackward(batch, { kind: "sft" });
    for (const parameter of parameters) {
      const wanted = floats(exact, `grad.${parameter}`);
      const error = rmsOfDifference(await engine.gradient(parameter), wanted) / rmsOfDifference(wanted);
      expect(error, parameter).toBeGreaterThan(0);
      expect(error, parameter).toBeLessThan(AS_GOOD * torch.gradients_rms[parameter]!);
    }
  });

  test.each<DType>(["float32", "bfloat16"])("ten steps of AdamW with moments in %s", async (moments) => {
    await using engine = await Engine.load(join(fixtures, name), { ...bfloat16, moments });
    const settings = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, maxGradNorm: 1 };
    const losses: number[] = [];
    for (let step = 0; step < 10; step++) {
      losses.push((await engine.forwardBackward(batch, { kind: "sft" })).loss);
      await engine.optimStep(settings);
    }
    losses.push((await engine.forwardBackward(batch, { kind: "sft" })).loss);
    const error = (of: readonly number[]) => rmsOfDifference(Float32Array.from(of), Float32Array.from(torch.losses));
    // The loss is one number a step, whose error may be near 0 by luck: so against all that a step in bf16 is off by.
    expect(error(losses)).toBeLessThan(2 * error(torch.losses_torch) + 1e-4 * torch.loss);
    await engine.save(folder);
    const saved = readSafetensors(join(folder, "model.safetensors"));
    // All together: Adam makes whole steps of the noise in a gradient that is near 0, as those of key biases are.
    const sizes = parameters.map((parameter) => floats(saved, parameter).length);
    const squares = (of: (parameter: string) => number) =>
      parameters.reduce((sum, parameter, i) => sum + sizes[i]! * of(parameter) ** 2, 0);
    const difference = squares((p) => rmsOfDifference(floats(saved, p), floats(expected, `step10.${p}`)));
    expect(Math.sqrt(difference / squares((p) => torch.weights_rms[p]!))).toBeLessThan(AS_GOOD);
  });
});

describe("checkpoints", () => {
  const tinyIn = (kind: string) => join(fixtures, kind);
  const batch = pack([[1, 5, 7, 2, 30, 11]]);

  test("what transformers wrote in BF16 is saved as the same bytes", async () => {
    await using engine = await Engine.load(tinyIn("tiny-bf16"), bfloat16);
    await engine.save(folder);
    const [ours, theirs] = [folder, tinyIn("tiny-bf16")].map((at) => readSafetensors(join(at, "model.safetensors")));
    expect([...ours!.keys()].sort()).toEqual([...theirs!.keys()].sort());
    for (const name of theirs!.keys()) expect(bitsOf(floats(ours!, name))).toBe(bitsOf(floats(theirs!, name)));
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as { dtype: string };
    expect(config.dtype).toBe("bfloat16");
    const again = temporaryFolder();
    await using reloaded = await Engine.load(folder, { ...bfloat16, trainable: false });
    await reloaded.save(again);
    const bytes = (at: string) => readFileSync(join(at, "model.safetensors"));
    expect(bytes(again).equals(bytes(folder))).toBe(true);
    rmSync(again, { recursive: true });
  });

  test.each([
    ["tiny", "bfloat16", "tiny-bf16"], // rounded as transformers rounds
    ["tiny-bf16", "float32", "tiny-bf16"], // exact
    ["tiny-f16", "float32", "tiny-f16"], // exact
  ] as const)("%s in %s", async (from, dtype, same) => {
    await using engine = await Engine.load(tinyIn(from), { dtype, trainable: false });
    await engine.save(folder);
    const ours = readSafetensors(join(folder, "model.safetensors"));
    const wanted = readSafetensors(join(tinyIn(same), "model.safetensors"));
    for (const name of wanted.keys()) expect(bitsOf(floats(ours, name))).toBe(bitsOf(floats(wanted, name)));
  });

  test("F16 loads in bfloat16, near to what it is in float32", async () => {
    await using short = await Engine.load(tinyIn("tiny-f16"), { ...bfloat16, trainable: false });
    await using long = await Engine.load(tinyIn("tiny-f16"), { trainable: false });
    const [a, b] = [await short.logprobs(batch), await long.logprobs(batch)];
    expect(rmsOfDifference(a.logprobs, b.logprobs)).toBeLessThan(0.1);
    expect(bitsOf(a.logprobs)).not.toBe(bitsOf(b.logprobs));
  });

  test("training starts from the file's own numbers, not from rounded ones", async () => {
    await using engine = await Engine.load(tinyIn("tiny"), bfloat16);
    const { logprobs } = await engine.logprobs(batch);
    await engine.forwardBackward({ ...batch, weights: Float32Array.of(0, 1, 1, 1, 1, 1) }, { kind: "sft" });
    await engine.optimStep({ learningRate: 0 });
    expect(bitsOf((await engine.logprobs(batch)).logprobs)).toBe(bitsOf(logprobs));
  });
});

test("steps too small for bf16 add up in the masters", async () => {
  await using engine = await Engine.create(oddSpec, oddInit, bfloat16);
  const sequence = Array.from({ length: 40 }, (_, i) => (i * 7) % oddSpec.vocabSize);
  const batch = { ...pack([sequence]), weights: new Float32Array(40).fill(1 / 39, 1) };
  const lossOf = async () => (await engine.forwardBackward(batch, { kind: "sft" })).loss;
  const before = await lossOf();
  for (let step = 0; step < 60; step++) {
    await engine.optimStep({ learningRate: 2e-5 }); // 0.15 has units of 2^-10 in bf16
    await lossOf();
  }
  await engine.optimStep({ learningRate: 0 });
  expect(await lossOf()).toBeLessThan(before - 0.05);
});

test.skipIf(!hasStories).each(["stories260k", "stories1m"])(
  "%s tells the story that it tells in f32, or one like it",
  async (name) => {
    const wanted = JSON.parse(readFileSync(join(fixtures, "stories.json"), "utf8")) as Record<
      string,
      { readonly ids: readonly number[]; readonly logprobs: readonly number[] }
    >;
    const { ids, logprobs } = wanted[name]!;
    await using engine = await Engine.load(join(stories, name), { ...bfloat16, trainable: false });
    // The f32 story as bf16 sees it: every token about as likely, and the mean within a hundredth.
    const scored = (await engine.logprobs(pack([ids]))).logprobs.slice(1);
    expect(rmsOfDifference(scored, Float32Array.from(logprobs))).toBeLessThan(0.05);
    const sampling = { temperature: 0, maxTokens: ids.length - 1 };
    const told = await engine.generate({ prompts: pack([[1]]), sampling });
    const mean = (values: ArrayLike<number>) =>
      Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(told.logprobs)).toBeGreaterThan(mean(logprobs) - 0.1);
  },
);

/** Root of the mean square of a - b, of a alone without b; NaN on both sides is no difference. */
function rmsOfDifference(a: Float32Array, b: Float32Array = new Float32Array(a.length)): number {
  expect(a.length).toBe(b.length);
  const squares = Array.from(a, (value, i) => (Object.is(value, b[i]) ? 0 : (value - b[i]!) ** 2));
  return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
}
