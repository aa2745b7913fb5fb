// Reward models as ONNX files through onnxruntime-node, against onnxruntime in Python; and every way in which a file, a process or a package
// can be another than expected.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { foreseeModel } from "../../../src/reward/model/model.js";
import { lengthBatches } from "../../../src/reward/model/onnx/batches.js";
import { OnnxScorer } from "../../../src/reward/model/onnx/scorer.js";
import { fixture } from "../../helpers/files.js";
import {
  closeModels,
  expected,
  modelReward,
  never,
  openModel,
  rewardFolder,
  soundCases,
} from "../../helpers/reward-models.js";
import { processesWith } from "../../helpers/rewards.js";

afterEach(closeModels);

const TOLERANCE = 1e-5; // of float32 sums in another order

const file = (name: string) => fixture(`reward/${name}.onnx`);
const scorer = (name: string, change: Partial<Parameters<typeof OnnxScorer.open>[0]> = {}) =>
  OnnxScorer.open({
    ...{ file: file(name), threads: 1, workers: 1, timeoutMs: 60_000, where: "reward model" },
    ...{ batchTokens: 512, padTokenId: 0, trials: [], ...change },
  });

async function scoresOf(name: string, ids: readonly Int32Array[], change = {}): Promise<number[]> {
  await using own = await scorer(name, change);
  return [...(await own.score(ids, never))];
}

function close(scores: ArrayLike<number>, wanted: readonly (number | null)[]): void {
  expect(scores.length).toBe(wanted.length);
  wanted.forEach((score, i) => {
    if (score === null) expect(scores[i]).toBeNaN();
    else expect(Math.abs(scores[i]! - score)).toBeLessThan(TOLERANCE);
  });
}

describe("scores", () => {
  test("are those of Python, text for text, whatever the batch and the workers", async () => {
    const wanted = expected.cases.map(({ onnx }) => onnx);
    close(
      expected.padded.map((score) => score ?? Number.NaN),
      wanted,
    );
    const inputs = [...expected.cases, ...expected.cases];
    for (const change of [{ batchTokens: 1 }, { batchTokens: 300 }, { batchTokens: 10_000, workers: 2 }]) {
      const model = await openModel(fixture("reward/llama"), { runtime: "onnx", ...change });
      const { rewards, faults } = await model.score(inputs, inputs.length, never);
      close(rewards, [...wanted, ...wanted]);
      expect([...faults.keys()]).toEqual([6, 13]);
      expect(faults.get(6)).toMatchObject({ code: "REWARD_VALUE", message: expect.stringMatching(/got NaN/) });
    }
  });

  test("of a model that wants token types too", async () => {
    const ids = expected.bert.ids.map((own) => Int32Array.from(own));
    close(await scoresOf("bert/model", ids), expected.bert.scores);
  });

  const ids = [[5, 6, 7], [8], [9, 9, 9, 9, 9, 200], [10, 11]].map((own) => Int32Array.from(own));
  const sums = ids.map((own) => own.reduce((sum, id) => sum + id / 64, 0));
  const places = ids.map((own) => (own.length * (own.length - 1)) / 2);

  test.each(["plain", "int32", "flat", "half", "double", "two-outputs", "ids-alone"])(
    "of a graph: %s",
    async (name) => {
      const scores = await scoresOf(`graphs/${name}`, ids);
      scores.forEach((score, i) => void expect(score).toBeCloseTo(sums[i]!, name === "half" ? 2 : 5));
    },
  );

  test("of a graph that is told the positions", async () => {
    const scores = await scoresOf("graphs/positions", ids);
    scores.forEach((score, i) => void expect(score).toBeCloseTo(sums[i]! + 0.001 * places[i]!, 4));
  });

  test("of a graph that minds padding: texts of one length go together", async () => {
    const trials = [Int32Array.from([9]), Int32Array.from([9, 9, 9])];
    const like = [ids[2]!, Int32Array.from([5, 5, 5, 5, 5])]; // of lengths that go together
    const [, blind] = await scoresOf("graphs/masks-nothing", like, { padTokenId: 192 });
    expect(blind).toBeCloseTo(25 / 64 + 3, 5); // with the padding's own sum: what the trials are there to find
    const seen = await scoresOf("graphs/masks-nothing", [...ids, ...like], { padTokenId: 192, trials });
    const wanted = [...sums, sums[2]!, 25 / 64];
    seen.forEach((score, i) => void expect(score).toBeCloseTo(wanted[i]!, 5));
  });

  test("of nothing", async () => expect(await scoresOf("graphs/plain", [])).toEqual([]));
});

describe("batches", () => {
  const lengths = [5, 100, 7, 90, 100, 81, 6, 1];
  const sizes = (batches: readonly (readonly number[])[]) => batches.map((batch) => batch.map((at) => lengths[at]));

  test("have neighbours in length, the longest first, and little padding", () => {
    const batches = lengthBatches(lengths, { tokens: 350, pads: true });
    expect(sizes(batches)).toEqual([[100, 100, 90], [81], [7, 6], [5], [1]]);
    expect(batches.flat().sort((a, b) => a - b)).toEqual([...lengths.keys()]);
    expect(batches[0]).toEqual([1, 4, 3]); // those of one length in their order
  });

  test("of one length where padding would count; a text above the limit goes alone", () => {
    expect(sizes(lengthBatches(lengths, { tokens: 1000, pads: false }))).toEqual([
      [100, 100],
      [90],
      [81],
      [7],
      [6],
      [5],
      [1],
    ]);
    expect(sizes(lengthBatches(lengths, { tokens: 50, pads: true }))).toEqual([
      [100],
      [100],
      [90],
      [81],
      [7, 6],
      [5],
      [1],
    ]);
    expect(lengthBatches([], { tokens: 50, pads: true })).toEqual([]);
  });
});

describe("what cannot be scored is a typed error", () => {
  test.each([
    [
      "graphs/past",
      "ONNX_INPUTS",
      /token_type_ids, of which input_ids is needed, got input_ids, past_key_values\.0\.key; export/,
    ],
    ["graphs/no-ids", "ONNX_INPUTS", /got tokens; export/],
    [
      "graphs/fixed",
      "ONNX_INPUTS",
      /input_ids: .*any size, got input_ids: int64 \[1, 8\]; export the model again, with dynamic axes/,
    ],
    [
      "graphs/labels",
      "ONNX_OUTPUTS",
      /one score a text.*got logits: float32 \[batch, 3\]; export .*\(num_labels = 1\)/,
    ],
    ["graphs/whole-output", "ONNX_OUTPUTS", /got logits: int64/],
  ])("a graph: %s", async (name, code, message) => {
    await expect(openModel(rewardFolder({ onnx: name }))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    await expect.poll(() => processesWith("onnx-child", true), { timeout: 10_000 }).toEqual([]);
  });

  test("a file that is none", async () => {
    const folder = rewardFolder({});
    writeFileSync(join(folder, "model.onnx"), "hello");
    await expect(openModel(folder)).rejects.toMatchObject({
      code: "ONNX_FILE",
      message: expect.stringMatching(/^\[reward model\] expected an ONNX file .*model\.onnx: .*copy it again/),
    });
  });

  test("no onnxruntime-node", async () => {
    const folder = rewardFolder({ onnx: "llama/model" });
    const absent = { onnxRuntime: "onnxruntime-absent" };
    const error = {
      code: "ONNX_MISSING",
      message: expect.stringMatching(/expected the package onnxruntime-node.*npm install onnxruntime-node$/),
    };
    await expect(openModel(folder, {}, absent)).rejects.toMatchObject(error);
    await expect(foreseeModel(modelReward(folder), { where: "reward model", ...absent })).rejects.toMatchObject(error);
  });

  test("an onnxruntime-node that does not load", async () => {
    const broken = join(rewardFolder({}), "broken.cjs");
    writeFileSync(broken, 'throw new Error("libstdc++ is too old");');
    const opening = openModel(rewardFolder({ onnx: "llama/model" }), {}, { onnxRuntime: broken });
    await expect(opening).rejects.toMatchObject({
      code: "ONNX_RUNTIME",
      message: expect.stringMatching(/loads on this machine, got: libstdc\+\+ is too old/),
    });
  });

  test("a token that the graph does not have, in a folder that does not say how many there are", async () => {
    await using own = await scorer("graphs/plain");
    await expect(own.score([Int32Array.from([9999])], never)).rejects.toMatchObject({ code: "ONNX_RUN" });
    expect([...(await own.score([Int32Array.from([64])], never))]).toEqual([1]);
  });

  test("more memory than there is", async () => {
    const config = { hidden_size: 2 ** 20, num_attention_heads: 4096, max_position_embeddings: 100_000 };
    const folder = rewardFolder({ onnx: "llama/model", config });
    await expect(openModel(folder, { maxTokens: 100_000, workers: 2 })).rejects.toMatchObject({
      code: "MEMORY_PLAN",
      message: expect.stringMatching(
        /takes at most .* GiB, got about .* GiB; set workers, batchTokens or maxTokens lower/,
      ),
    });
  });
});

describe("processes", () => {
  const batch = [Int32Array.from([5, 6])];

  test("one that dies is an error of the call, and of those after it", async () => {
    await using own = await scorer("graphs/plain");
    process.kill(own.pids[0]!, "SIGSTOP");
    const scoring = own.score(batch, never);
    process.kill(own.pids[0]!, "SIGKILL");
    const lost = { code: "REWARD_LOST", message: expect.stringMatching(/\(signal SIGKILL\).*set batchTokens/) };
    await expect(scoring).rejects.toMatchObject(lost);
    await expect(own.score(batch, never)).rejects.toMatchObject(lost);
  });

  test("one that is over its time is ended", async () => {
    await using own = await scorer("graphs/plain", { timeoutMs: 2_000 });
    process.kill(own.pids[0]!, "SIGSTOP");
    await expect(own.score(batch, never)).rejects.toMatchObject({
      code: "REWARD_TIMEOUT",
      message: expect.stringMatching(/within 2000 ms, got nothing; raise timeoutMs/),
    });
    await expect.poll(() => processesWith("onnx-child", true), { timeout: 10_000 }).toEqual([]);
  });

  test("an abort rejects at once with its reason, and the next call is served", async () => {
    await using own = await scorer("graphs/plain");
    process.kill(own.pids[0]!, "SIGSTOP");
    const controller = new AbortController();
    const scoring = own.score(batch, controller.signal);
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(scoring).rejects.toBe(reason);
    await expect(own.score(batch, controller.signal)).rejects.toBe(reason);
    process.kill(own.pids[0]!, "SIGCONT");
    expect([...(await own.score(batch, never))]).toEqual([11 / 64]);
  });

  test("end with the model, and a file that is gone does not matter to one that is open", async () => {
    const folder = rewardFolder({ onnx: "llama/model" });
    const model = await openModel(folder, { workers: 2 });
    expect(processesWith("onnx-child", true)).toHaveLength(2);
    rmSync(join(folder, "model.onnx"));
    expect((await model.score(soundCases, 0, never)).faults.size).toBe(0);
    await closeModels();
    await expect.poll(() => processesWith("onnx-child", true), { timeout: 10_000 }).toEqual([]);
  });
});
