// Law 5 at the engine: what save and saveState write between two optimizer steps is all that the next ones depend on, bit for bit, with
// other threads and instruction sets too. And files of another model, or damaged ones, are refused by name.
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { EngineOptions, ModelSpec } from "../../src/engine/types.js";
import {
  bitsOf,
  isas,
  oddInit,
  oddSpec,
  pack,
  randomSequences,
  smallSpec,
  temporaryFolder,
} from "../helpers/engine.js";
import { readSafetensors } from "../helpers/safetensors.js";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Optimizer steps `from`..`to`, each on tokens of its own. */
async function train(engine: Engine, from: number, to: number): Promise<void> {
  for (let step = from; step <= to; step++) {
    const packed = pack(randomSequences([9, 14, 5], engine.spec.vocabSize, step));
    const weights = Float32Array.from(packed.ids, (_, i) => (packed.cuSeqlens.includes(i) ? 0 : 0.03));
    await engine.forwardBackward({ ...packed, weights }, { kind: "sft" });
    await engine.optimStep({ learningRate: 0.01, weightDecay: 0.1, maxGradNorm: 1 });
  }
}

async function saveAll(engine: Engine, name: string): Promise<string> {
  const path = join(folder, name);
  await engine.save(path);
  await engine.saveState(path);
  return path;
}

const files = ["model.safetensors", "optimizer.safetensors"];
const bytesOf = (path: string, names = files) => names.map((name) => readFileSync(join(path, name)).toString("hex"));

/** The bytes of weights and state after 7 steps; with `cut`, saved after 3 and gone on with by an engine with `options`. */
async function sevenSteps(
  spec: ModelSpec,
  cut: boolean,
  options: EngineOptions = {},
  types: EngineOptions = {},
): Promise<string[]> {
  await using engine = await Engine.create(spec, oddInit, types);
  await train(engine, 1, cut ? 3 : 7);
  if (!cut) return bytesOf(await saveAll(engine, "whole"));
  const half = await saveAll(engine, "half");
  await using resumed = await Engine.load(half, { ...options, ...types });
  await resumed.loadState(half);
  await train(resumed, 4, 7);
  return bytesOf(await saveAll(resumed, "resumed"));
}

describe("weights, moments and steps after a cut are those without it", () => {
  test.each([
    ["a plain model", oddSpec],
    ["a tied head", { ...oddSpec, tieWordEmbeddings: true }],
    ["biases of q, k and v", { ...oddSpec, family: "qwen2" as const }],
    ["norms of q and k", { ...oddSpec, family: "qwen3" as const }],
  ])("%s", async (_, spec) => {
    expect(await sevenSteps(spec, true)).toEqual(await sevenSteps(spec, false));
  });

  test.each([
    ["bfloat16", "float32"],
    ["bfloat16", "bfloat16"],
    ["float32", "bfloat16"],
  ] as const)("weights in %s, moments in %s", async (dtype, moments) => {
    const types = { dtype, moments };
    expect(await sevenSteps(oddSpec, true, { threads: 3 }, types)).toEqual(await sevenSteps(oddSpec, false, {}, types));
  });

  test("with other threads and instruction sets", async () => {
    const whole = await sevenSteps(smallSpec, false);
    for (const isa of isas) expect(await sevenSteps(smallSpec, true, { isa, threads: 3 })).toEqual(whole);
  });

  test("the comparison sees lost moments and lost steps", async () => {
    await using engine = await Engine.create(smallSpec, oddInit);
    await train(engine, 1, 3);
    const half = await saveAll(engine, "half");
    await train(engine, 4, 7);
    await using forgetful = await Engine.load(half);
    await train(forgetful, 4, 7);
    const whole = bytesOf(await saveAll(engine, "whole"));
    const other = bytesOf(await saveAll(forgetful, "forgetful"));
    expect(other[0]).not.toBe(whole[0]);
    expect(other[1]).not.toBe(whole[1]);
  });
});

test("gradients that were gathered before a load are gone after it", async () => {
  await using engine = await Engine.create(smallSpec, oddInit);
  await train(engine, 1, 2);
  const path = await saveAll(engine, "a");
  const packed = pack([[1, 2, 3]]);
  await engine.forwardBackward({ ...packed, weights: Float32Array.of(0, 1, 1) }, { kind: "sft" });
  await engine.loadState(path);
  expect((await engine.gradient("lm_head.weight")).every((value) => value === 0)).toBe(true);
});

test("the frozen reference is kept apart from the weights", async () => {
  const scored = async (engine: Engine) =>
    bitsOf((await engine.logprobs({ ...pack([[1, 5, 7, 2]]), reference: true })).logprobs.slice(1));
  await using engine = await Engine.create(smallSpec, oddInit, { reference: true });
  const before = await scored(engine);
  await train(engine, 1, 3);
  const path = await saveAll(engine, "a");
  await using resumed = await Engine.load(path, { reference: true });
  expect(await scored(resumed)).not.toBe(before);
  await resumed.loadState(path);
  expect(await scored(resumed)).toBe(before);
});

describe("what is no state of this model", () => {
  let saved: string;
  beforeEach(async () => {
    await using engine = await Engine.create(smallSpec, oddInit);
    await train(engine, 1, 1);
    saved = await saveAll(engine, "saved");
  });
  const state = (path: string) => join(path, "optimizer.safetensors");

  async function refusal(options: EngineOptions = {}, spec = smallSpec): Promise<unknown> {
    await using engine = await Engine.create(spec, oddInit, options);
    return engine.loadState(saved).then(
      () => "nothing",
      (error: unknown) => error,
    );
  }

  test("another shape", async () => {
    expect(await refusal({}, { ...smallSpec, hiddenSize: 24 })).toMatchObject({
      name: "InputError",
      code: "TENSOR_SHAPE",
    });
  });

  test("another number of layers", async () => {
    expect(await refusal({}, { ...smallSpec, layers: 2 })).toMatchObject({ code: "TENSOR_MISSING" });
  });

  test("moments or weights of another type", async () => {
    const dtype = { code: "SAFETENSORS_DTYPE", message: expect.stringContaining("expected dtype BF16, got F32") };
    expect(await refusal({ moments: "bfloat16" })).toMatchObject(dtype);
    expect(await refusal({ dtype: "bfloat16" })).toMatchObject({ code: "TENSOR_MISSING" }); // there are no masters
  });

  test("no file", async () => {
    rmSync(state(saved));
    expect(await refusal()).toMatchObject({ code: "FILE_MISSING", message: expect.stringContaining(state(saved)) });
  });

  test("a file cut short", async () => {
    truncateSync(state(saved), readFileSync(state(saved)).length - 4);
    expect(await refusal()).toMatchObject({ code: "FILE_TRUNCATED" });
  });

  test("weights in its place", async () => {
    cpSync(join(saved, "model.safetensors"), state(saved));
    expect(await refusal()).toMatchObject({ code: "TENSOR_MISSING", message: expect.stringContaining("exp_avg.") });
  });

  test("steps that are no number", async () => {
    const bytes = readFileSync(state(saved));
    bytes.write("x", bytes.indexOf('"step":"1"') + '"step":"'.length);
    writeFileSync(state(saved), bytes);
    expect(await refusal()).toMatchObject({
      code: "SAFETENSORS_METADATA",
      message: expect.stringMatching(
        /optimizer\.safetensors\] expected the metadata "step" with a whole number, got "x"/,
      ),
    });
  });

  test("no reference where the engine has one", async () => {
    expect(await refusal({ reference: true })).toMatchObject({
      code: "FILE_MISSING",
      message: expect.stringContaining("reference.safetensors"),
    });
  });

  test("an engine that cannot train", async () => {
    expect(await refusal({ trainable: false })).toMatchObject({ code: "NOT_TRAINABLE" });
    await using engine = await Engine.create(smallSpec, oddInit, { trainable: false });
    await expect(engine.saveState(folder)).rejects.toMatchObject({ code: "NOT_TRAINABLE" });
  });
});

describe("weights of an earlier step", () => {
  test.each(["float32", "bfloat16"] as const)("are taken whole in %s, and go on as they did", async (dtype) => {
    await using engine = await Engine.create(oddSpec, oddInit, { dtype, reference: true });
    await train(engine, 1, 2);
    const early = await saveAll(engine, "early");
    await train(engine, 3, 5);
    const late = await saveAll(engine, "late");
    const weights = ["model.safetensors"];
    expect(bytesOf(late, weights)).not.toEqual(bytesOf(early, weights));
    await engine.loadWeights(early);
    const back = await saveAll(engine, "back");
    expect(bytesOf(back, weights)).toEqual(bytesOf(early, weights));
    expect(bytesOf(back, ["reference.safetensors"])).toEqual(bytesOf(late, ["reference.safetensors"]));
    await engine.loadState(early);
    await train(engine, 3, 5);
    expect(bytesOf(await saveAll(engine, "again"))).toEqual(bytesOf(late));
  });

  test("of another model are refused, and change nothing", async () => {
    await using other = await Engine.create(smallSpec, oddInit);
    await using engine = await Engine.create(oddSpec, oddInit);
    const before = await saveAll(engine, "before");
    await expect(engine.loadWeights(await saveAll(other, "other"))).rejects.toMatchObject({
      code: expect.stringMatching(/^(TENSOR|SAFETENSORS)_/),
    });
    await expect(engine.loadWeights(join(folder, "none"))).rejects.toMatchObject({ code: "FILE_MISSING" });
    expect(bytesOf(await saveAll(engine, "after"))).toEqual(bytesOf(before));
  });
});

test("a state is moments by parameter, named as the weights are", async () => {
  await using engine = await Engine.create(smallSpec, oddInit);
  await train(engine, 1, 1);
  const path = await saveAll(engine, "a");
  const weights = readSafetensors(join(path, "model.safetensors"));
  const moments = readSafetensors(join(path, "optimizer.safetensors"));
  const expected = [...weights].flatMap(([name, { shape }]) =>
    ["exp_avg", "exp_avg_sq"].map((moment) => [`${moment}.${name}`, shape]),
  );
  expect(Object.fromEntries([...moments].map(([name, { shape }]) => [name, shape]))).toEqual(
    Object.fromEntries(expected),
  );
});
