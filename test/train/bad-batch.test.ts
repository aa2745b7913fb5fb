// The batch that a run stopped on, in its folder: the sequences that did it and no more than fit, against trying each by itself.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { optimizer } from "../../src/config/fragments.js";
import type { LossSpec, TrainBatch } from "../../src/engine/types.js";
import { MOST_SAVED_TOKENS, saveBadBatch } from "../../src/train/bad-batch.js";
import { finiteGradients, optimizerStep } from "../../src/train/guard.js";
import { pack } from "../helpers/engine.js";
import { FakeEngine, fakeSpec } from "../helpers/fake-engine.js";
import { tempFolder } from "../helpers/recipes.js";

const loss: LossSpec = { kind: "sft" };

/** Sequences of these lengths; token t has id t and weight t / 2. */
function batchOf(lengths: readonly number[]): TrainBatch {
  let next = 0;
  const { ids, cuSeqlens } = pack(lengths.map((length) => Array.from({ length }, () => next++)));
  return { ids, cuSeqlens, weights: Float32Array.from(ids, (id) => id / 2) };
}

async function save(batch: TrainBatch, isBad: (ids: readonly number[]) => boolean, of: LossSpec = loss) {
  const folder = tempFolder();
  let passes = 0; // tokens
  const hasFault = async (part: TrainBatch) => {
    passes += part.ids.length;
    expect([part.cuSeqlens[0], part.cuSeqlens.at(-1)]).toEqual([0, part.ids.length]);
    return isBad([...part.ids]);
  };
  const path = await saveBadBatch(folder, { where: "step 3", batch, loss: of, hasFault });
  expect(path).toBe(join(folder, "bad-batch.json"));
  return { saved: JSON.parse(readFileSync(path, "utf8")), passes };
}

describe("saveBadBatch", () => {
  const lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5];
  const batch = batchOf(lengths);

  test("finds the one sequence with the fault, wherever it is, in a few passes", async () => {
    for (const [s, length] of lengths.entries()) {
      const bad = batch.cuSeqlens[s]!;
      const { saved, passes } = await save(batch, (ids) => ids.includes(bad));
      const ids = Array.from({ length }, (_, i) => bad + i);
      const weights = ids.map((id) => id / 2);
      const sequences = { first: s, end: s + 1, of: 9 };
      expect(saved).toEqual({ where: "step 3", loss, sequences, cuSeqlens: [0, length], ids, weights });
      expect(passes).toBeLessThanOrEqual(3 * batch.ids.length);
    }
  });

  test("of several, one", async () => {
    const { saved } = await save(batch, (ids) => ids.includes(5) || ids.includes(30));
    expect(saved.sequences).toEqual({ first: 2, end: 3, of: 9 });
  });

  test("keeps sequences that have it only together, as many as may be written", async () => {
    const few = await save(batch, () => false);
    expect(few.saved.sequences).toEqual({ first: 0, end: 9, of: 9 });
    const many = batchOf(Array.from({ length: 100 }, () => 1000));
    const { saved } = await save(many, () => false);
    expect(saved.sequences).toEqual({ first: 0, end: Math.floor(MOST_SAVED_TOKENS / 1000), of: 100 });
    expect(saved.ids.length).toBeLessThanOrEqual(MOST_SAVED_TOKENS);
  });

  test("keeps one that is longer than that whole", async () => {
    const { saved } = await save(batchOf([2, MOST_SAVED_TOKENS + 7, 2]), (ids) => ids.includes(5));
    expect(saved.ids).toHaveLength(MOST_SAVED_TOKENS + 7);
  });

  test("pairs stay together", async () => {
    const pairs = { ...batchOf([3, 1, 4, 1, 5, 9]), pairWeights: Float32Array.of(1, 2, 3) };
    const { saved } = await save(pairs, (ids) => ids.includes(9), { kind: "dpo", beta: 0.1 });
    expect(saved).toMatchObject({ sequences: { first: 4, end: 6, of: 6 }, cuSeqlens: [0, 5, 14], pairWeights: [3] });
    const long = { ...batchOf([9, 9, 9, MOST_SAVED_TOKENS]), pairWeights: Float32Array.of(1, 2) };
    const all = await save(long, () => false, { kind: "dpo", beta: 0.1 });
    expect(all.saved).toMatchObject({ sequences: { first: 0, end: 2, of: 4 }, pairWeights: [1] });
  });

  test("numbers that are not finite are text", async () => {
    const advantages = Float32Array.of(0, Number.NaN, Number.NEGATIVE_INFINITY);
    const { saved } = await save({ ...batchOf([3]), advantages }, () => true);
    expect(saved.advantages).toEqual([0, "NaN", "-Infinity"]);
  });
});

describe("what stops a run", () => {
  const batch = {
    ...pack([
      [1, 2],
      [3, 4, 1],
      [2, 2],
      [1, 1],
    ]),
    weights: Float32Array.of(0, 1, 0, 1, 1, 0, 1, 0, 1),
  };
  const attempt = (engine: FakeEngine) => ({ engine, folder: tempFolder(), where: "sft step 1", batch, loss });
  const saved = (folder: string) => JSON.parse(readFileSync(join(folder, "bad-batch.json"), "utf8"));
  const signal = new AbortController().signal;

  test("a loss that is not finite leaves the sequence that gave it", async () => {
    const work = attempt(new FakeEngine(fakeSpec(6, 0), { nanToken: 4 }));
    await expect(finiteGradients(work, signal)).rejects.toMatchObject({
      code: "LOSS_NOT_FINITE",
      message: expect.stringContaining(`its batch is in ${join(work.folder, "bad-batch.json")}`),
    });
    expect(saved(work.folder)).toMatchObject({ where: "sft step 1", ids: [3, 4, 1], sequences: { first: 1, of: 4 } });
  });

  test("a gradient that is not finite leaves the sequence that gave it, and no weight moves", async () => {
    const engine = new FakeEngine(fakeSpec(6, 0), { badGradientOf: 3 });
    const work = attempt(engine);
    await finiteGradients(work, signal);
    const before = await engine.logprobs(batch);
    await expect(optimizerStep(work, optimizer().parse({}), 0.5)).rejects.toMatchObject({
      code: "GRADIENT_NOT_FINITE",
    });
    expect(saved(work.folder)).toMatchObject({ ids: [3, 4, 1], sequences: { first: 1, end: 2, of: 4 } });
    expect(await engine.logprobs(batch)).toEqual(before);
  });
});
