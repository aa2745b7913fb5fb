// Laws 2 and 4 over every combination of what must not change a bit: the type, adapters, the room for keys and values, activation
// checkpointing, threads, the cut into micro-batches, the temperature. Sampled log-probs are those of the training forward, and gradients
// those of the plainest way to compute them; then once more in a process of its own, from what was saved.
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { DTYPES, type EngineOptions, type LoraOptions, type ModelSpec } from "../../src/engine/types.js";
import * as help from "../helpers/engine.js";
import { readSafetensors } from "../helpers/safetensors.js";

const { bitsOf, oddInit, pack, policyAt, randomSequences, smallSpec } = help;

/** Four layers: two pairs whose recomputed activations share memory. */
const spec: ModelSpec = { ...smallSpec, layers: 4 };
const TEMPERATURES = [0.7, 1];
/** Prompts that end in and around a block of 64 keys. */
const prompts = pack(randomSequences([3, 62, 65], spec.vocabSize, 8));
const SAMPLES = 3; // a prompt
const MAX_TOKENS = 70;
/** Blocks of keys and values: one more than the longest sample takes, for nine samples. */
const SCARCE = Math.ceil((65 + MAX_TOKENS - 1) / 64) + 1;

const adapters: readonly (readonly [string, LoraOptions | undefined])[] = [
  ["every weight", undefined],
  ["LoRA", { rank: 3, alpha: 5, targets: "all-linear" }],
  [
    "LoRA with modulesToSave",
    { rank: 4, alpha: 5, rsLora: true, targets: ["q_proj", "down_proj"], modulesToSave: ["lm_head", "norm"] },
  ],
];
const models = DTYPES.flatMap((dtype) =>
  adapters.map(([name, lora], i) => ({ dtype, name, lora, id: `${dtype}-${i}` })),
);
type Model = (typeof models)[number];

const folder = help.temporaryFolder();
const savedIn = ({ id }: Model) => join(folder, id);
const baseOf = ({ dtype, lora }: Model) => (lora === undefined ? {} : { base: join(folder, `base-${dtype}`) });

/** Saves each model after a step: adapters that are fresh do nothing. */
async function learn(model: Model): Promise<void> {
  const { dtype, lora } = model;
  await using base = await Engine.create(spec, oddInit, { dtype, trainable: false });
  await base.save(join(folder, `base-${dtype}`));
  await using engine = await Engine.create(spec, oddInit, { dtype, ...(lora && { lora }) });
  const weights = Float32Array.from(prompts.ids, (_, t) => (prompts.cuSeqlens.includes(t) ? 0 : 0.01));
  await engine.forwardBackward({ ...prompts, weights }, { kind: "sft" });
  await engine.optimStep({ learningRate: 0.05 });
  await engine.save(savedIn(model));
}

function open(model: Model, options: EngineOptions): Promise<Engine> {
  return Engine.load(savedIn(model), { dtype: model.dtype, ...baseOf(model), ...options });
}

/** Names of all that is trained. */
function trainedNames(model: Model): string[] {
  const file = model.lora === undefined ? "model.safetensors" : "adapter_model.safetensors";
  return [...readSafetensors(join(savedIn(model), file)).keys()].map((name) => name.replace("base_model.model.", ""));
}

interface Outcome {
  /** Largest difference between the log-probs that were recorded and those of training. */
  readonly mismatch: number;
  /** All that must be the same bits. */
  readonly bits: Readonly<Record<string, string>>;
  readonly preemptions: number;
  readonly blockBytes: number;
}

/** Samples, and the gradient of the policy loss on the samples. */
async function rollout(model: Model, temperature: number, options: EngineOptions): Promise<Outcome> {
  await using engine = await open(model, options);
  const sampling = { temperature, maxTokens: MAX_TOKENS, stopTokenIds: [] };
  const result = await engine.generate({ prompts, samplesPerPrompt: SAMPLES, sampling, seed: 6 });
  const { tokens, spread } = help.joinSamples(prompts, result);
  const each = (value: (t: number) => number) => spread(Float32Array.from(result.tokens, (_, t) => value(t)));
  const batch = {
    ...tokens,
    weights: each(() => 1 / result.tokens.length),
    advantages: each((t) => Math.sin(1.3 * t)),
    oldLogprobs: spread(result.logprobs),
  };
  const metrics = await engine.forwardBackward(batch, { ...policyAt(temperature), entropyCoefficient: 0.01 });
  expect(metrics.tokens).toBe(result.tokens.length);
  const gradients: Record<string, string> = {};
  for (const name of trainedNames(model)) gradients[name] = bitsOf(await engine.gradient(name));
  const { preemptions, blockBytes } = result.stats;
  const bits = {
    tokens: result.tokens.join(),
    logprobs: bitsOf(result.logprobs),
    loss: String(metrics.loss),
    ...gradients,
  };
  return { mismatch: metrics.mismatchMaxAbs, bits, preemptions, blockBytes };
}

/** Log-probs of the sampled tokens, in bits, and the script's part of the work to compute them again. */
async function recorded(model: Model, temperature: number) {
  await using engine = await open(model, { trainable: false });
  const sampling = { temperature, maxTokens: MAX_TOKENS, stopTokenIds: [] };
  const result = await engine.generate({ prompts, samplesPerPrompt: SAMPLES, sampling, seed: 7 });
  const { tokens, spread } = help.joinSamples(prompts, result);
  const sampled = [...spread(new Float32Array(result.tokens.length).fill(1))];
  const { ids, cuSeqlens } = tokens;
  const request = { ids: [...ids], cuSeqlens: [...cuSeqlens], temperature, sampled };
  return {
    bits: bitsOf(result.logprobs),
    work: { ...request, folder: savedIn(model), ...baseOf(model), dtype: model.dtype },
  };
}

beforeAll(async () => {
  for (const model of models) await learn(model);
});

const ways = ["ample", "scarce"].flatMap((room) =>
  [false, true].flatMap((recompute) =>
    [1, 2].flatMap((threads) =>
      [4096, 70].map((microBatchTokens) => ({ room, recompute, threads, microBatchTokens }) as const),
    ),
  ),
);

describe.each(models)("$dtype, $name", (model) => {
  describe.each(TEMPERATURES)("T %d", (temperature) => {
    let plain: Outcome;
    beforeAll(async () => {
      plain = await rollout(model, temperature, { threads: 1 });
      expect(Object.values(plain.bits).filter((bits) => /^0*$/.test(bits))).toEqual([]);
    });

    test.each(ways)(
      "$room room, recompute: $recompute, threads: $threads, micro-batches of $microBatchTokens",
      async ({ room, ...options }) => {
        const kvBytes = SCARCE * plain.blockBytes;
        const got = await rollout(model, temperature, { ...options, ...(room === "scarce" && { kvBytes }) });
        expect(got.mismatch).toBe(0);
        expect(got.bits).toEqual(plain.bits);
        expect(got.preemptions > 0).toBe(room === "scarce");
      },
    );
  });

  test("the comparison sees another temperature, and adapters that are not there", async () => {
    const [cold, warm] = [await rollout(model, 0.7, {}), await rollout(model, 1, {})];
    for (const name of Object.keys(warm.bits)) expect(cold.bits[name], name).not.toBe(warm.bits[name]);
    if (model.lora === undefined) return;
    const { work, bits } = await recorded({ ...model, lora: undefined, id: `base-${model.dtype}` }, 1);
    await using engine = await open(model, { trainable: false });
    const { logprobs } = await engine.logprobs({
      ids: Int32Array.from(work.ids),
      cuSeqlens: Int32Array.from(work.cuSeqlens),
    });
    expect(bitsOf(logprobs.filter((_, t) => work.sampled[t] === 1))).not.toBe(bits);
  });
});

test("a new process computes the same from what was saved, on the portable code", async () => {
  const all = [];
  for (const model of models) for (const temperature of TEMPERATURES) all.push(await recorded(model, temperature));
  const printed = await help.runScript(`
    const { Engine } = await import(dist + "engine/engine.js");
    const all = [];
    for (const { ids, cuSeqlens, sampled, temperature, folder, ...options } of ${JSON.stringify(all.map(({ work }) => work))}) {
      const engine = await Engine.load(folder, { ...options, isa: "portable", threads: 2, microBatchTokens: 150 });
      const request = { ids: Int32Array.from(ids), cuSeqlens: Int32Array.from(cuSeqlens), temperature };
      const own = (await engine.logprobs(request)).logprobs.filter((_, t) => sampled[t] === 1);
      all.push(Buffer.from(own.buffer, own.byteOffset, own.byteLength).toString("hex"));
      await engine.dispose();
    }
    console.log(JSON.stringify(all));
  `);
  expect(JSON.parse(printed)).toEqual(all.map(({ bits }) => bits));
});
