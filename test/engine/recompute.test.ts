// Activation checkpointing changes no bit: with `recompute` the loss, every gradient and the weights after two steps are those of the run that
// keeps its activations. All families of the fixtures and deeper models, both types, every instruction set, one thread and several.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { EngineOptions, ModelSpec, TrainBatch } from "../../src/engine/types.js";
import {
  bitsOf,
  fixtures,
  isas,
  oddInit,
  oddSpec,
  pack,
  policyAt,
  randomSequences,
  temporaryFolder,
} from "../helpers/engine.js";
import { floats, readSafetensors } from "../helpers/safetensors.js";

const LENGTHS = [67, 1, 9, 130, 2, 64, 31];
const STEPS = 2;

let folder: string;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => rmSync(folder, { recursive: true }));

function batchOf({ vocabSize, maxPositions }: ModelSpec, lengths: readonly number[]): TrainBatch {
  const fitting = lengths.map((length) => Math.min(length, maxPositions));
  const tokens = pack(randomSequences(fitting, vocabSize, 5));
  const starts = new Set(tokens.cuSeqlens);
  const wave = (phase: number, scale: number) =>
    Float32Array.from(tokens.ids, (_, t) => (starts.has(t) ? 0 : scale * Math.sin(1.7 * t + phase)));
  return { ...tokens, weights: wave(0, 0.02), advantages: wave(1, 1), oldLogprobs: wave(2, 0.1).map((x) => x - 5) };
}

/** Bits of losses and gradients of two steps, and of the weights after them. */
async function bits(engine: Engine, lengths: readonly number[]): Promise<Record<string, string | number>> {
  const batch = batchOf(engine.spec, lengths);
  await engine.save(folder);
  const file = join(folder, "model.safetensors");
  const names = [...readSafetensors(file).keys()];
  const found: Record<string, string | number> = {};
  for (let step = 0; step < STEPS; step++) {
    found[`loss ${step}`] = (await engine.forwardBackward(batch, policyAt(0.8))).loss;
    for (const name of names) found[`${name} ${step}`] = bitsOf(await engine.gradient(name));
    await engine.optimStep({ learningRate: 1e-2 });
  }
  await engine.save(folder);
  const saved = readSafetensors(file);
  for (const name of names) found[name] = bitsOf(floats(saved, name));
  return found;
}

type Open = (options: EngineOptions) => Promise<Engine>;

async function compare(open: Open, options: EngineOptions, lengths = LENGTHS): Promise<void> {
  await using kept = await open(options);
  const wanted = await bits(kept, lengths);
  await using recomputed = await open({ ...options, recompute: true });
  expect(await bits(recomputed, lengths)).toEqual(wanted);
  expect(Object.values(wanted).filter((value) => value === 0 || /^0*$/.test(String(value)))).toEqual([]);
}

const dtypes = ["float32", "bfloat16"] as const;
const [, ...fast] = isas;

describe.each(["tiny", "mha", "gqa", "wide", "llama3", "mistral", "qwen2", "qwen3"])("%s", (name) => {
  test.each(dtypes.flatMap((dtype) => isas.map((isa) => ({ dtype, isa }))))("$dtype, $isa", (options) =>
    compare((more) => Engine.load(join(fixtures, name), more), { ...options, threads: 2 }),
  );
});

/** Layers beyond two share the memory of what is recomputed. */
const deep: ModelSpec = { ...oddSpec, layers: 5 };
const models: readonly (readonly [string, ModelSpec])[] = [
  ["one layer", { ...oddSpec, layers: 1 }],
  ["five layers, biases, windows", { ...deep, family: "qwen2", windows: [0, 50, 0, 50, 50] }],
  ["five layers, norms of queries and keys", { ...deep, family: "qwen3" }],
];

describe.each(models)("%s", (_name, spec) => {
  const open: Open = (options) => Engine.create(spec, oddInit, options);
  test.each(fast.flatMap((isa) => dtypes.flatMap((dtype) => [1, 3].map((threads) => ({ isa, dtype, threads })))))(
    "$isa, $dtype, threads: $threads",
    (options) => compare(open, options),
  );

  test.each(dtypes)("a single sequence, several threads in a kernel, %s", (dtype) =>
    compare(open, { dtype, threads: 3 }, [200]),
  );

  test.each([1, 70])("micro-batches of %d", (microBatchTokens) => compare(open, { microBatchTokens, threads: 2 }));
});

test("a value that is no boolean is refused", async () => {
  const made = Engine.create(oddSpec, oddInit, { recompute: "yes" as unknown as boolean });
  await expect(made).rejects.toMatchObject({
    code: "BAD_ARGUMENT",
    message: "[engine recompute] expected true or false, got yes",
  });
});
