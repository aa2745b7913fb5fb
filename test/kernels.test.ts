// The three named kernels on typed arrays: against fixtures in float64, against slow references on odd shapes, and what they refuse.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { random } from "../src/data/random.js";
import {
  advantageNormalize,
  logprobGather,
  type PolicyLossInput,
  type PolicyLossOptions,
  policyLoss,
} from "../src/kernels.js";
import { groupAdvantages } from "../src/objective/advantage.js";
import { highEntropyMask } from "../src/objective/entropy-mask.js";
import { tokenWeights } from "../src/objective/weights.js";
import { bitsOf, fixtures } from "./helpers/engine.js";

/** Of one float32 result, relative to the larger of itself and 1. */
const TOLERANCE = 1e-6;

const readJson = (name: string) => JSON.parse(readFileSync(join(fixtures, name), "utf8"));

function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, tolerance = TOLERANCE): void {
  expect(actual.length).toBe(wanted.length);
  const errors = Array.from(wanted, (value, i) => Math.abs(actual[i]! - value) / Math.max(1, Math.abs(value)));
  expect(errors.findIndex((error) => !(error <= tolerance))).toBe(-1);
}

/** Numbers without a pattern, about -scale .. scale. */
function noise(length: number, seed: number, scale = 1): Float32Array {
  const draw = random(seed, 3);
  return Float32Array.from({ length }, () => scale * (2 * draw.next() - 1));
}

describe("advantageNormalize", () => {
  interface Fixture {
    readonly rewards: number[];
    readonly cu_groups: number[];
    readonly cases: readonly { scale_by_std: boolean; eps: number; advantages: number[] }[];
  }
  const fixture = readJson("advantages.json") as Fixture;

  test.each(fixture.cases)("PyTorch, by std: $scale_by_std", ({ scale_by_std: scaleByStd, eps, advantages }) => {
    const rewards = Float32Array.from(fixture.rewards);
    const actual = advantageNormalize(rewards, Int32Array.from(fixture.cu_groups), { scaleByStd, eps });
    expectClose(actual, advantages);
  });

  /** Straight from the definition, in float64. */
  function slow(rewards: Float32Array, eps: number, scaleByStd: boolean): number[] {
    if (rewards.every((reward) => reward === rewards[0])) return Array(rewards.length).fill(0);
    const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
    const variance = rewards.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / (rewards.length - 1);
    return Array.from(rewards, (reward) => (reward - mean) / (scaleByStd ? Math.sqrt(variance) + eps : 1));
  }

  test.each([1, 2, 3, 15, 16, 17, 31, 33, 100, 1023])("groups of %i", (size) => {
    const groups = 5;
    const rewards = noise(groups * size, size, 3);
    const cuGroups = Int32Array.from({ length: groups + 1 }, (_, g) => g * size);
    for (const scaleByStd of [true, false]) {
      const wanted = Array.from({ length: groups }, (_, g) =>
        slow(rewards.subarray(g * size, (g + 1) * size), 0.01, scaleByStd),
      );
      expectClose(advantageNormalize(rewards, cuGroups, { scaleByStd, eps: 0.01 }), wanted.flat());
    }
  });

  test("the loop's own advantages are the kernel's", () => {
    const sizes = [1, 2, 3, 8, 16, 17];
    const cuGroups = Int32Array.from([0, ...sizes.map((_, g) => sizes.slice(0, g + 1).reduce((a, b) => a + b))]);
    const binary = noise(cuGroups.at(-1)!, 9)
      .map((value) => (value > 0 ? 1 : 0))
      .fill(1, cuGroups[3], cuGroups[4]);
    for (const rewards of [binary, noise(cuGroups.at(-1)!, 10, 2)]) {
      for (const rule of [
        { scaleByStd: true, eps: 1e-6 },
        { scaleByStd: false, eps: 0.5 },
      ]) {
        const groups = sizes.map((_, g) => groupAdvantages(rewards.subarray(cuGroups[g], cuGroups[g + 1]), rule));
        expectClose(
          advantageNormalize(rewards, cuGroups, rule),
          groups.flatMap((group) => [...group]),
        );
      }
    }
  });

  test("defaults: by std, eps 1e-6", () => {
    expectClose(
      advantageNormalize(Float32Array.of(0, 1), Int32Array.of(0, 2)),
      [-1, 1].map((x) => (x * 0.5) / (Math.SQRT1_2 + 1e-6)),
    );
  });

  test("empty groups and no groups", () => {
    expect(advantageNormalize(new Float32Array(0), Int32Array.of(0, 0, 0))).toEqual(new Float32Array(0));
    expect(advantageNormalize(new Float32Array(0), Int32Array.of(0))).toEqual(new Float32Array(0));
  });

  test.each<[string, unknown, unknown, string]>([
    ["a plain array", [1, 2], Int32Array.of(0, 2), "[advantageNormalize rewards] expected a Float32Array, got object"],
    ["doubles", Float64Array.of(1), Int32Array.of(0, 1), "[advantageNormalize rewards] expected a Float32Array"],
    ["plain offsets", Float32Array.of(1), [0, 1], "[advantageNormalize cuGroups] expected an Int32Array"],
    ["offsets that end early", Float32Array.of(1, 2), Int32Array.of(0, 1), "expected offsets from 0 to 2, got 0 .. 1"],
    [
      "offsets that go back",
      Float32Array.of(1, 2),
      Int32Array.of(0, 2, 1, 2),
      "expected ascending offsets, got 2 then 1",
    ],
    ["no offsets", new Float32Array(0), new Int32Array(0), "got undefined .. undefined"],
  ])("%s", (_name, rewards, cuGroups, message) => {
    const call = () => advantageNormalize(rewards as Float32Array, cuGroups as Int32Array);
    expect(call).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining(message) }));
  });
});

describe("logprobGather", () => {
  function slow(row: Float32Array, id: number, temperature: number): { logprob: number; entropy: number } {
    const scaled = Array.from(row, (logit) => logit / temperature);
    const max = Math.max(...scaled);
    const logSum = max + Math.log(scaled.reduce((sum, value) => sum + Math.exp(value - max), 0));
    const logprobs = scaled.map((value) => value - logSum);
    return { logprob: logprobs[id]!, entropy: -logprobs.reduce((sum, logp) => sum + Math.exp(logp) * logp, 0) };
  }

  const shapes = [1, 2, 3, 7].flatMap((T) => [1, 2, 15, 16, 17, 31, 33, 64, 257, 1000].map((V) => ({ T, V })));
  test.each(shapes)("$T rows of $V", ({ T, V }) => {
    const logits = noise(T * V, T * 31 + V, 12);
    const before = bitsOf(logits);
    const ids = Int32Array.from({ length: T }, (_, t) => (t * 7919 + V - 1) % V);
    for (const temperature of [0.7, 1, 2]) {
      const { logprobs, entropy } = logprobGather(logits, ids, { temperature });
      const wanted = Array.from(ids, (id, t) => slow(logits.subarray(t * V, (t + 1) * V), id, temperature));
      // A logit of 12 / 0.7 carries an error of half its last bit, 1e-6, into the result.
      expectClose(
        logprobs,
        wanted.map((row) => row.logprob),
        2e-6,
      );
      expectClose(
        entropy,
        wanted.map((row) => row.entropy),
        2e-6,
      );
    }
    expect(bitsOf(logits)).toBe(before);
  });

  test("threads and other rows do not change a bit", () => {
    const [T, V] = [37, 1003];
    const logits = noise(T * V, 5, 8);
    const ids = Int32Array.from({ length: T }, (_, t) => t * 27);
    const wanted = logprobGather(logits, ids, { threads: 1, temperature: 0.7 });
    expect(logprobGather(logits, ids, { threads: 2, temperature: 0.7 })).toEqual(wanted);
    const row = logits.slice(5 * V, 6 * V);
    const alone = logprobGather(row, ids.slice(5, 6), { temperature: 0.7 });
    expect(bitsOf(alone.logprobs)).toBe(bitsOf(wanted.logprobs.slice(5, 6)));
  });

  test("large logits do not overflow", () => {
    const { logprobs, entropy } = logprobGather(Float32Array.of(1e38, -1e38, 0), Int32Array.of(0));
    expect([logprobs[0], entropy[0]]).toEqual([0, 0]);
  });

  test("no rows", () => expect(logprobGather(new Float32Array(0), new Int32Array(0)).logprobs.length).toBe(0));

  test.each<[string, unknown, unknown, object, string, string]>([
    ["plain logits", [1], Int32Array.of(0), {}, "BAD_ARGUMENT", "[logprobGather logits] expected a Float32Array"],
    ["plain ids", Float32Array.of(1), [0], {}, "BAD_ARGUMENT", "[logprobGather ids] expected an Int32Array"],
    [
      "part of a row",
      new Float32Array(5),
      Int32Array.of(0, 1),
      {},
      "BAD_ARGUMENT",
      "expected rows for 2 ids, got 5 elements",
    ],
    ["no logits", new Float32Array(0), Int32Array.of(0), {}, "BAD_ARGUMENT", "expected rows for 1 ids, got 0 elements"],
    [
      "an id past the end",
      new Float32Array(6),
      Int32Array.of(0, 3),
      {},
      "TOKEN_OUT_OF_RANGE",
      "expected ids in 0 .. 2, got 3 at place 1",
    ],
    ["a negative id", new Float32Array(6), Int32Array.of(-1, 0), {}, "TOKEN_OUT_OF_RANGE", "got -1 at place 0"],
    [
      "temperature 0",
      new Float32Array(6),
      Int32Array.of(0),
      { temperature: 0 },
      "BAD_ARGUMENT",
      "[logprobGather temperature]",
    ],
    ["no threads", new Float32Array(6), Int32Array.of(0), { threads: 0 }, "BAD_ARGUMENT", "[logprobGather threads]"],
  ])("%s", (_name, logits, ids, options, code, message) => {
    const call = () => logprobGather(logits as Float32Array, ids as Int32Array, options);
    expect(call).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
  });
});

describe("policyLoss as TRL and verl compute it", () => {
  interface Variant {
    readonly source: string;
    readonly name: string;
    readonly aggregate: "token-mean" | "sequence-mean" | "constant";
    readonly importance: boolean;
    readonly share: number;
    /** Which reference it is; default "ref". */
    readonly ref?: "refFar";
    readonly settings: PolicyLossOptions;
    readonly loss: number;
    readonly dlogp: number[];
    readonly dentropy: number[];
    readonly metrics: Readonly<Record<string, number>>;
    readonly high_entropy?: number[];
  }
  type Arrays = Readonly<Record<"logp" | "old" | "ref" | "refFar" | "entropy" | "importance" | "advantages", number[]>>;
  const { lengths, constant_length, inputs, cases } = readJson("policy_variants.json") as {
    readonly lengths: number[];
    readonly constant_length: number;
    readonly inputs: Arrays;
    readonly cases: readonly Variant[];
  };
  const cuSeqlens = Int32Array.from([0, ...lengths]);
  for (let s = 1; s < cuSeqlens.length; s++) cuSeqlens[s]! += cuSeqlens[s - 1]!;
  const advantages = Float32Array.from(lengths.flatMap((length, s) => Array(length).fill(inputs.advantages[s])));
  const entropy = Float32Array.from(inputs.entropy);

  test.each(cases.map((one) => [`${one.source}: ${one.name}`, one] as const))("%s", (_, one) => {
    const masks = lengths.map((length) => new Uint8Array(length).fill(1));
    const weights = Float32Array.from(tokenWeights(masks, one.aggregate, constant_length).flatMap((own) => [...own]));
    const { mask } = highEntropyMask(entropy, weights, one.share);
    const factor = (t: number) => (one.importance ? inputs.importance[t]! : 1) * mask[t]!;
    const input = {
      logprobs: Float32Array.from(inputs.logp),
      oldLogprobs: Float32Array.from(inputs.old),
      refLogprobs: Float32Array.from(inputs[one.ref ?? "ref"]),
      entropy,
      importance: Float32Array.from(weights, (_weight, t) => factor(t)),
      advantages,
      weights,
      cuSeqlens,
    };
    const actual = policyLoss(input, one.settings);
    expectClose([actual.loss], [one.loss], 1e-6);
    expectClose(actual.dLogprobs, one.dlogp, 1e-7);
    expectClose(actual.dEntropy, one.dentropy, 1e-7);
    if (one.high_entropy !== undefined) expect([...mask]).toEqual(one.high_entropy);
    const clipped = one.metrics["actor/pg_clipfrac"];
    if (clipped !== undefined && one.settings.dualClip === undefined)
      expect(actual.clipFraction).toBeCloseTo(clipped, 6);
    const low = one.metrics["clip_ratio/low_mean"];
    // TRL counts sequences under their ratio, and a kernel tokens.
    if (low === undefined || one.settings.ratio === "sequence" || one.settings.dualClip !== undefined) return;
    expect(actual.clipLowFraction).toBeCloseTo(low, 6);
    expect(actual.clipHighFraction).toBeCloseTo(one.metrics["clip_ratio/high_mean"]!, 6);
  });
});

/** What every case of the policy loss has. */
type LossArrays = Required<Omit<PolicyLossInput, "samplerLogprobs" | "importance" | "cuSeqlens">>;

describe("policyLoss", () => {
  interface Case {
    readonly name: string;
    readonly clip_low: number;
    readonly clip_high: number;
    readonly dual_clip: number;
    readonly kl_coef: number;
    readonly entropy_coef: number;
    readonly loss: number;
    readonly sums: Readonly<Record<"tokens" | "ratio" | "kl" | "clipped", number>>;
    readonly dlogp: number[];
    readonly dentropy: number[];
  }
  type Inputs = Readonly<Record<"logp" | "old" | "ref" | "entropy" | "advantages" | "weights", number[]>>;
  const fixture = readJson("policy_loss.json") as { readonly inputs: Inputs; readonly cases: readonly Case[] };

  const inputOf = ({ logp, old, ref, entropy, advantages, weights }: Inputs): LossArrays => ({
    logprobs: Float32Array.from(logp),
    oldLogprobs: Float32Array.from(old),
    refLogprobs: Float32Array.from(ref),
    entropy: Float32Array.from(entropy),
    advantages: Float32Array.from(advantages),
    weights: Float32Array.from(weights),
  });

  test.each(fixture.cases)("PyTorch: $name", (one) => {
    const options: PolicyLossOptions = {
      clipLow: one.clip_low,
      clipHigh: one.clip_high,
      dualClip: one.dual_clip,
      klCoefficient: one.kl_coef,
      entropyCoefficient: one.entropy_coef,
    };
    const actual = policyLoss(inputOf(fixture.inputs), options);
    const { tokens, ratio, kl, clipped } = one.sums;
    // The fixture counts what the clip decided; the kernel counts what the bound of the dual clip decided as well.
    expect([actual.tokens, actual.clipFraction]).toEqual([tokens, (clipped + dualClipped(one.dual_clip)) / tokens]);
    expectClose([actual.loss, actual.ratio, actual.kl], [one.loss, ratio / tokens, kl / tokens]);
    expectClose(actual.dLogprobs, one.dlogp);
    expectClose(actual.dEntropy, one.dentropy);
  });

  function dualClipped(bound: number): number {
    const { logp, old, advantages, weights } = fixture.inputs;
    const bounded = (t: number) => advantages[t]! < 0 && weights[t] !== 0 && Math.exp(logp[t]! - old[t]!) > bound;
    return bound > 0 ? logp.filter((_, t) => bounded(t)).length : 0;
  }

  type Bounds = Required<Omit<PolicyLossOptions, "ratio" | "objective" | "klEstimator" | "klMaxLogRatio" | "klMax">>;
  const all: Bounds = {
    clipLow: 0.2,
    clipHigh: 0.3,
    dualClip: 2,
    klCoefficient: 0.1,
    entropyCoefficient: 0.05,
  };

  /** One token's loss, straight from the definition. */
  function slow(input: LossArrays, t: number, o: Bounds): number {
    const at = (array: Float32Array) => array[t]!;
    const ratio = Math.exp(at(input.logprobs) - at(input.oldLogprobs));
    const clipped = Math.min(Math.max(ratio, 1 - o.clipLow), 1 + o.clipHigh);
    const A = at(input.advantages);
    let surrogate = Math.min(ratio * A, clipped * A);
    if (o.dualClip > 0 && A < 0) surrogate = Math.max(surrogate, o.dualClip * A);
    const d = at(input.refLogprobs) - at(input.logprobs);
    const k3 = Math.exp(d) - d - 1;
    return at(input.weights) * (-surrogate + o.klCoefficient * k3 - o.entropyCoefficient * at(input.entropy));
  }

  test.each([1, 2, 15, 16, 17, 33, 1001])("%i tokens against the definition and finite differences", (T) => {
    const old = noise(T, T + 1, 2);
    const input = {
      logprobs: noise(T, T + 2).map((value, t) => old[t]! + 0.6 * value),
      oldLogprobs: old,
      refLogprobs: noise(T, T + 3).map((value, t) => old[t]! + 0.6 * value),
      entropy: noise(T, T + 4, 2),
      advantages: noise(T, T + 5, 2),
      weights: noise(T, T + 6).map((value) => (value > 0.5 ? 0 : 1.5 + value)),
    };
    const { loss, dLogprobs, dEntropy } = policyLoss(input, all);
    const wanted = Array.from(old, (_, t) => slow(input, t, all));
    expectClose([loss], [wanted.reduce((sum, value) => sum + value, 0)]);
    for (let t = 0; t < T; t++) {
      const slope = differenceAt(input, "logprobs", t);
      if (slope !== null) expect(Math.abs(dLogprobs[t]! - slope)).toBeLessThan(2e-3);
      expect(dEntropy[t]).toBeCloseTo(-all.entropyCoefficient * input.weights[t]!, 6);
    }
  });

  /** Central difference of a token's loss, or null at a corner of the clip. */
  function differenceAt(input: LossArrays, name: "logprobs", t: number): number | null {
    const h = 2 ** -10;
    const shifted = (by: number) => slow({ ...input, [name]: input[name].map((x) => x + by) }, t, all);
    const [left, right] = [(shifted(0) - shifted(-h)) / h, (shifted(h) - shifted(0)) / h];
    return Math.abs(left - right) > 0.03 ? null : (left + right) / 2;
  }

  test("the optional arrays may be left out", () => {
    const { logprobs, oldLogprobs, advantages, weights } = inputOf(fixture.inputs);
    const bare = policyLoss({ logprobs, oldLogprobs, advantages, weights });
    const whole = policyLoss(inputOf(fixture.inputs), { klCoefficient: 0, entropyCoefficient: 0 });
    expect(bare.dLogprobs).toEqual(whole.dLogprobs);
    expect(bare.dEntropy).toEqual(new Float32Array(logprobs.length));
    expect([bare.loss, bare.kl]).toEqual([whole.loss, 0]);
  });

  test("arrays among the options do not take the place of those of the input", () => {
    const options = { clipLow: 0.2, weights: new Float32Array(1), logprobs: new Float32Array(1) } as PolicyLossOptions;
    expect(policyLoss(inputOf(fixture.inputs), options)).toEqual(policyLoss(inputOf(fixture.inputs)));
  });

  const good = inputOf(fixture.inputs);
  const few = new Float32Array(3);
  test.each<[string, object, PolicyLossOptions, string]>([
    ["few advantages", { advantages: few }, {}, "[policyLoss advantages] expected 37 elements, got 3"],
    ["few old log-probs", { oldLogprobs: few }, {}, "[policyLoss oldLogprobs] expected 37 elements, got 3"],
    ["few reference log-probs", { refLogprobs: few }, {}, "[policyLoss refLogprobs] expected 37"],
    ["few entropies", { entropy: few }, {}, "[policyLoss entropy] expected 37"],
    ["plain weights", { weights: Array(37).fill(1) }, {}, "[policyLoss weights] expected a Float32Array, got object"],
    ["no reference", { refLogprobs: undefined }, { klCoefficient: 1 }, "[policyLoss refLogprobs]"],
    ["no clip", {}, { clipLow: Number.NaN }, "[loss clipLow]"],
    ["a dual clip within the clip", {}, { dualClip: 0.5 }, "[loss dualClip]"],
    ["no entropy", { entropy: undefined }, { entropyCoefficient: 1 }, "[policyLoss entropy]"],
    ["few sampler log-probs", { samplerLogprobs: few }, {}, "[policyLoss samplerLogprobs] expected 37"],
    ["few factors", { importance: few }, {}, "[policyLoss importance] expected 37"],
    ["sequences without offsets", {}, { ratio: "sequence" }, "[policyLoss cuSeqlens] expected an Int32Array"],
    [
      "offsets that end early",
      { cuSeqlens: Int32Array.of(0, 36) },
      { ratio: "sequence" },
      "offsets from 0 to 37, got 0",
    ],
    ["another ratio", {}, { ratio: "word" as "token" }, "[loss ratio] expected token, sequence, got word"],
    ["another objective", {}, { objective: "ppo" as "clip" }, "[loss objective] expected clip, cispo, got ppo"],
    ["a bound of the KL below 0", {}, { klMax: -1 }, "[loss klMax] expected a number in 0 .. 1000000, got -1"],
    ["another estimator", {}, { klEstimator: "k4" as "k3" }, "[loss klEstimator] expected k1, k2, k3, got k4"],
    ["a dual clip of CISPO", {}, { objective: "cispo", dualClip: 3 }, "[loss dualClip] expected 0"],
  ])("%s", (_name, changes, options, message) => {
    const call = () => policyLoss({ ...good, ...changes } as PolicyLossInput, options);
    expect(call).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining(message) }));
  });
});
