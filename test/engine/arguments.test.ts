// Arguments that the engine refuses, each with the message that names the place. Files and token ids are tested elsewhere.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { Workload } from "../../src/engine/memory.js";
import type {
  Constraint,
  EngineOptions,
  GenerateRequest,
  LogprobsRequest,
  LossSpec,
  OptimStep,
  SamplingParams,
  TrainBatch,
} from "../../src/engine/types.js";
import { InputError, ZazenError } from "../../src/errors.js";
import { bitsOf, pack, policyAt, smallSpec } from "../helpers/engine.js";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create(smallSpec, { seed: 1 }, { threads: 1 });
});
afterAll(() => engine.dispose());

const tokens = pack([
  [1, 2, 3],
  [4, 5],
]);
const zeros = new Float32Array(5);
const refused = (message: string, code = "BAD_ARGUMENT") => ({
  name: "InputError",
  code,
  message: expect.stringContaining(message),
});

describe("options", () => {
  const cases: readonly (readonly [object, string])[] = [
    [{ threads: 0 }, "[engine threads] expected an integer in 1 .. 1024, got 0"],
    [{ threads: 1.5 }, "got 1.5"],
    [{ microBatchTokens: 0 }, "[engine microBatchTokens]"],
    [{ kvBytes: Number.NaN }, "[engine kvBytes]"],
    [{ device: "tpu" }, "[engine device] expected cpu or cuda, got tpu"],
    [{ isa: "neon" }, "[engine isa] expected auto, portable, avx2, avx512, avx512_bf16, got neon"],
    [{ dtype: "float16" }, "[engine dtype] expected float32 or bfloat16, got float16"],
    [{ moments: "int8" }, "[engine moments] expected float32 or bfloat16, got int8"],
    [{ trainable: "no" }, "[engine trainable] expected true or false, got no"],
    [{ reference: 1 }, '[engine reference] expected true, false or "moving", got 1'],
    [{ microBatchToken: 64 }, 'got "microBatchToken"; did you mean "microBatchTokens"?'],
    [{ backend: "cuda" }, "[engine options] expected no other keys than device, threads, "],
    [{ quantization: "nf4" }, 'got "quantization"; leave it out'],
    [{ vocabSize: 7 }, 'got "vocabSize"; leave it out'],
    [{ lora: { rank: 1, alpha: 1, targets: "all-linear", dropout: 0 } }, "[lora] expected no other keys than rank, "],
  ];
  test.each(cases)("%j", async (options, message) => {
    const opening = Engine.create(smallSpec, { seed: 1 }, options as EngineOptions);
    await expect(opening).rejects.toMatchObject(refused(message));
  });

  test("a device that no engine computes on", async () => {
    const opening = Engine.create(smallSpec, { seed: 1 }, { device: "cuda" });
    await expect(opening).rejects.toMatchObject(
      refused("[engine device] expected cpu: there are CUDA kernels", "UNSUPPORTED_DEVICE"),
    );
  });

  test("the seed and the deviation of random weights", async () => {
    await expect(Engine.create(smallSpec, { seed: -1 })).rejects.toMatchObject(refused("[create seed]"));
    await expect(Engine.create(smallSpec, { seed: 1, std: -1 })).rejects.toMatchObject(refused("[create std]"));
  });
});

describe("generate", () => {
  const cases: readonly (readonly [Partial<SamplingParams>, string])[] = [
    [{ maxTokens: 0 }, "[generate maxTokens] expected an integer in 1 .. 2147483647, got 0"],
    [{ temperature: -1 }, "[generate temperature]"],
    [{ temperature: 1e-300 }, "[generate temperature]"],
    [{ temperature: Number.NaN }, "got NaN"],
    [{ topK: -1 }, "[generate topK]"],
    [{ topP: 0 }, "[generate topP]"],
    [{ topP: 1.1 }, "got 1.1"],
    [{ minP: -0.1 }, "[generate minP] expected a number in 0 .. 1, got -0.1"],
    [{ minP: 1.5 }, "got 1.5"],
    [{ minP: Number.NaN }, "[generate minP]"],
    [{ repetitionPenalty: 0 }, "[generate repetitionPenalty] expected a number in 0.01 .. 100, got 0"],
    [{ repetitionPenalty: 101 }, "got 101"],
    [{ repetitionPenalty: -1.1 }, "[generate repetitionPenalty]"],
    [{ presencePenalty: 101 }, "[generate presencePenalty] expected a number in -100 .. 100, got 101"],
    [{ presencePenalty: Number.POSITIVE_INFINITY }, "got Infinity"],
    [{ frequencyPenalty: -101 }, "[generate frequencyPenalty]"],
    [{ stopTokenIds: 5 as unknown as number[] }, "[generate stopTokenIds] expected a list, got 5"],
    [{ bannedTokenIds: null as unknown as number[] }, "[generate bannedTokenIds] expected a list, got null"],
    [{ stopStrings: ["a", ""] }, '[generate stopStrings] expected texts that are not empty, got ""'],
    [{ stopStrings: [7] as unknown as string[] }, "got 7"],
    [{ stopStrings: ["a\ud800"] }, "[generate stopStrings] expected whole characters, got half a surrogate pair"],
    [{ stopStrings: "end" as unknown as string[] }, '[generate stopStrings] expected a list, got "end"'],
    [{ constraint: { kind: "choice", choices: [] } }, "[generate constraint] expected { kind:"],
    [{ constraint: { kind: "choice", choices: "ab" as unknown as string[] } }, "name one of the two"],
    [{ constraint: { kind: "choice", choices: ["\udc00"] } }, "[generate constraint]"],
    [{ constraint: { kind: "grammar" } as unknown as Constraint }, "name one of the two"],
    [{ constraint: "yes|no" as unknown as Constraint }, "[generate constraint]"],
    [
      { bannedTokenIds: Array.from({ length: 23 }, (_, id) => id) },
      "expected a token that may be sampled, got all of them",
    ],
  ];
  test.each(cases)("%j", async (sampling, message) => {
    const request = { prompts: tokens, sampling: { maxTokens: 1, ...sampling } };
    await expect(engine.generate(request)).rejects.toMatchObject(refused(message));
  });

  test.each<[Partial<SamplingParams>, string]>([
    [{ stopTokenIds: [1, 23] }, "[generate stopTokenIds] expected token ids in 0 .. 22, got 23 at place 1"],
    [{ stopTokenIds: [-1] }, "got -1 at place 0"],
    [{ stopTokenIds: [1.5] }, "got 1.5 at place 0"],
    [{ bannedTokenIds: [99] }, "[generate bannedTokenIds] expected token ids in 0 .. 22, got 99"],
  ])("ids that the model does not have: %j", async (sampling, message) => {
    const request = { prompts: tokens, sampling: { maxTokens: 1, ...sampling } };
    await expect(engine.generate(request)).rejects.toMatchObject(refused(message, "TOKEN_OUT_OF_RANGE"));
  });

  test.each([
    ["a(", "the end of a group", "PATTERN_INVALID"],
    ["^a", "anchors", "PATTERN_UNSUPPORTED"],
    ["(a{1000}){1000}", "make it smaller", "PATTERN_TOO_LARGE"],
    ["[^\\s\\S]", "", "CONSTRAINT_UNSATISFIABLE"],
  ])("the pattern %s", async (pattern, message, code) => {
    const sampling = { maxTokens: 1, constraint: { kind: "regex", pattern } as const };
    await expect(engine.generate({ prompts: tokens, sampling })).rejects.toMatchObject(refused(message, code));
  });

  test("the bounds of what is taken, and lists of nothing", async () => {
    const bounds: readonly Partial<SamplingParams>[] = [
      { minP: 0 },
      { minP: 1 },
      { repetitionPenalty: 0.01 },
      { repetitionPenalty: 100 },
      { presencePenalty: -100, frequencyPenalty: 100 },
      { stopTokenIds: [], bannedTokenIds: [], stopStrings: [], constraint: null },
    ];
    for (const sampling of bounds) {
      const { logprobs } = await engine.generate({ prompts: tokens, sampling: { maxTokens: 3, ...sampling } });
      expect(logprobs.every(Number.isFinite), JSON.stringify(sampling)).toBe(true);
    }
  });

  test("a sampling for each prompt, each checked", async () => {
    const one: SamplingParams = { maxTokens: 1 };
    await expect(engine.generate({ prompts: tokens, sampling: [one] })).rejects.toMatchObject(
      refused("[generate sampling] expected 2, one a prompt, got 1"),
    );
    const sampling = [one, { ...one, minP: 2 }];
    await expect(engine.generate({ prompts: tokens, sampling })).rejects.toMatchObject(refused("[generate minP]"));
  });

  test("what belongs to the prompts", async () => {
    const base = { prompts: tokens, sampling: { maxTokens: 1 } };
    const problemIds = Int32Array.of(1);
    const full = pack([Array(smallSpec.maxPositions).fill(1)]);
    await expect(engine.generate({ ...base, problemIds })).rejects.toMatchObject(
      refused("expected 2 numbers, one a prompt, got 1"),
    );
    const plain = { ...base, problemIds: [1, 2] as unknown as Int32Array };
    await expect(engine.generate(plain)).rejects.toMatchObject(
      refused("[generate problemIds] expected an Int32Array, got object"),
    );
    await expect(engine.generate({ ...base, samplesPerPrompt: 0 })).rejects.toMatchObject(
      refused("[generate samplesPerPrompt]"),
    );
    await expect(engine.generate({ ...base, seed: 0.5 })).rejects.toMatchObject(refused("[generate seed]"));
    await expect(engine.generate({ ...base, step: -1 })).rejects.toMatchObject(refused("[generate step]"));
    await expect(engine.generate({ ...base, prompts: full })).rejects.toMatchObject(
      refused("expected fewer than 160 tokens, the model's context, got 160", "SEQUENCE_TOO_LONG"),
    );
  });
});

test("generate refuses more new tokens than offsets can count", async () => {
  const prompts = pack(Array(14).fill([1]));
  const request = { prompts, samplesPerPrompt: 2 ** 20, sampling: { maxTokens: 2 ** 31 - 1 } };
  const most = 14 * 2 ** 20 * (smallSpec.maxPositions - 1);
  await expect(engine.generate(request)).rejects.toMatchObject(
    refused(`expected at most 2147483647 new tokens in one call, got ${most}`),
  );
});

describe("keys that nobody knows are not left out in silence", () => {
  const batch = { ...tokens, weights: zeros };
  const sft = { kind: "sft" } as const;
  const sampling = { maxTokens: 1 };
  const calls: readonly (readonly [string, string, () => Promise<unknown>])[] = [
    ["create", "sed", () => Engine.create(smallSpec, { seed: 1, sed: 2 } as { seed: number })],
    ["engine options", "base_model", () => Engine.load("nowhere", { base_model: "x" } as EngineOptions)],
    ["generate", "samples", () => engine.generate({ prompts: tokens, sampling, samples: 2 } as GenerateRequest)],
    [
      "generate sampling",
      "max_tokens",
      () => engine.generate({ prompts: tokens, sampling: { ...sampling, max_tokens: 9 } as SamplingParams }),
    ],
    ["logprobs", "temprature", () => engine.logprobs({ ...tokens, temprature: 2 } as LogprobsRequest)],
    [
      "forwardBackward",
      "importances",
      () => engine.forwardBackward({ ...batch, importances: zeros } as TrainBatch, sft),
    ],
    ["loss", "weights", () => engine.forwardBackward(batch, { ...sft, weights: zeros } as LossSpec)],
    ["loss", "clip", () => engine.forwardBackward(batch, { ...policyAt(1), clip: 0.1 } as LossSpec)],
    ["optimStep", "lr", () => engine.optimStep({ learningRate: 1, lr: 2 } as OptimStep)],
    ["memory workload", "evaluate", () => engine.reserve({ evaluate: [] } as Workload)],
    ["memory train", "sequence", () => engine.reserve({ train: { tokens: 1, longest: 1, sequence: 1 } } as Workload)],
  ];
  test.each(calls)("%s: %s", async (where, key, call) => {
    await expect(call()).rejects.toMatchObject(refused(`[${where}] expected no other keys than `));
    await expect(call()).rejects.toMatchObject(refused(`got "${key}"; `));
  });

  test("a batch of training may be scored as it is", async () => {
    expect((await engine.logprobs(batch)).logprobs.length).toBe(5);
  });
});

describe("packed sequences", () => {
  const cases: readonly (readonly [readonly number[], string])[] = [
    [[], "expected offsets from 0 to 5, the number of ids, got undefined .. undefined"],
    [[1, 5], "got 1 .. 5"],
    [[0, 4], "got 0 .. 4"],
    [[0, 4, 2, 5], "expected ascending offsets, got 4 then 2"],
  ];
  test.each(cases)("%j", async (cuSeqlens, message) => {
    const wrong = { ids: tokens.ids, cuSeqlens: Int32Array.from(cuSeqlens) };
    await expect(engine.logprobs(wrong)).rejects.toMatchObject(refused(message));
  });

  test("plain arrays", async () => {
    const plain = { ids: [1, 2] as unknown as Int32Array, cuSeqlens: Int32Array.of(0, 2) };
    await expect(engine.logprobs(plain)).rejects.toMatchObject(
      refused("[logprobs ids] expected an Int32Array, got object"),
    );
  });
});

describe("logprobs", () => {
  test.each([
    [{ temperature: 0 }, "[logprobs temperature]"],
    [{ top: 24 }, "[logprobs top] expected an integer in 0 .. 23, got 24"],
  ])("%j", async (options, message) => {
    await expect(engine.logprobs({ ...tokens, ...options })).rejects.toMatchObject(refused(message));
  });

  test("the reference of an engine without one", async () => {
    const fault = refused("create it with reference: true", "NO_REFERENCE");
    await expect(engine.logprobs({ ...tokens, reference: true })).rejects.toMatchObject(fault);
  });
});

describe("forwardBackward", () => {
  const policy = policyAt(1);
  const whole = { ...tokens, weights: zeros, advantages: zeros, oldLogprobs: zeros };
  const cases: readonly (readonly [string, Partial<Record<keyof TrainBatch, unknown>>, LossSpec, string])[] = [
    [
      "no weights",
      { weights: undefined },
      { kind: "sft" },
      "[forwardBackward weights] expected a Float32Array of 5, got none",
    ],
    ["few weights", { weights: new Float32Array(4) }, { kind: "sft" }, "expected a Float32Array of 5, got 4"],
    [
      "a weight on a first token",
      { weights: Float32Array.of(0, 1, 1, 0.5, 1) },
      { kind: "sft" },
      "which nothing predicts, got 0.5",
    ],
    ["plain weights", { weights: [0, 1, 1, 0, 1] }, { kind: "sft" }, "expected a Float32Array of 5, got object"],
    ["few advantages for sft", { advantages: new Float32Array(1) }, { kind: "sft" }, "[forwardBackward advantages]"],
    [
      "few old log-probs for sft",
      { oldLogprobs: new Float32Array(4) },
      { kind: "sft" },
      "expected a Float32Array of 5",
    ],
    ["a reference for sft that is long", { refLogprobs: new Float32Array(6) }, { kind: "sft" }, "of 5, got 6"],
    [
      "another loss",
      {},
      { kind: "kto" } as unknown as LossSpec,
      "[loss kind] expected sft, policy, dpo, value or bradley-terry, got kto",
    ],
    [
      "no advantages",
      { advantages: undefined },
      policy,
      "[forwardBackward advantages] expected a Float32Array of 5, got none",
    ],
    ["few old log-probs", { oldLogprobs: new Float32Array(1) }, policy, "[forwardBackward oldLogprobs]"],
    [
      "no reference",
      {},
      { ...policy, klCoefficient: 0.1 },
      "[forwardBackward refLogprobs] expected a Float32Array of 5, got none",
    ],
    ["few reference log-probs", { refLogprobs: new Float32Array(2) }, policy, "[forwardBackward refLogprobs]"],
    ["temperature 0", {}, policyAt(0), "[loss temperature]"],
    ["clipLow", {}, { ...policy, clipLow: 2 }, "[loss clipLow] expected a number in 0 .. 1, got 2"],
    ["clipHigh", {}, { ...policy, clipHigh: -1 }, "[loss clipHigh]"],
    ["dualClip", {}, { ...policy, dualClip: 1 }, "[loss dualClip] expected 0, or a number above 1 and at most 1000000"],
    ["klCoefficient", {}, { ...policy, klCoefficient: -1 }, "[loss klCoefficient]"],
    ["entropyCoefficient", {}, { ...policy, entropyCoefficient: Number.NaN }, "[loss entropyCoefficient]"],
  ];
  const dpo = { kind: "dpo", beta: 0.1 } as const;
  const two = { refLogprobs: zeros, pairWeights: Float32Array.of(1) };
  const ofPairs: typeof cases = [
    ["no reference of pairs", { pairWeights: two.pairWeights }, dpo, "[forwardBackward refLogprobs]"],
    [
      "no weights of pairs",
      { refLogprobs: zeros },
      dpo,
      "[forwardBackward pairWeights] expected a Float32Array of 1, got none",
    ],
    ["two weights of a pair", { ...two, pairWeights: Float32Array.of(1, 1) }, dpo, "a Float32Array of 1, got 2"],
    [
      "half a pair",
      { ...two, cuSeqlens: Int32Array.of(0, 5) },
      dpo,
      "an even number of sequences, chosen and rejected",
    ],
    ["beta 0", two, { ...dpo, beta: 0 }, "[loss beta]"],
    ["more than half of the labels flipped", two, { ...dpo, labelSmoothing: 0.6 }, "[loss labelSmoothing]"],
  ];
  test.each([...cases, ...ofPairs])("%s", async (_name, changes, loss, message) => {
    const running = engine.forwardBackward({ ...whole, ...changes } as TrainBatch, loss);
    await expect(running).rejects.toBeInstanceOf(InputError);
    await expect(running).rejects.toMatchObject(refused(message));
  });

  test("an engine for inference", async () => {
    await using other = await Engine.create(smallSpec, { seed: 1 }, { trainable: false });
    const fault = refused("create it with trainable: true", "NOT_TRAINABLE");
    await expect(other.forwardBackward(whole, policy)).rejects.toMatchObject(fault);
    await expect(other.optimStep({ learningRate: 1 })).rejects.toMatchObject(fault);
  });
});

describe("optimStep", () => {
  test.each<[OptimStep, string]>([
    [{ learningRate: -1 }, "[optimStep learningRate]"],
    [{ learningRate: 1, beta1: 1 }, "[optimStep beta1]"],
    [{ learningRate: 1, beta2: -0.1 }, "[optimStep beta2]"],
    [{ learningRate: 1, eps: -1 }, "[optimStep eps]"],
    [{ learningRate: 1, eps: 0 }, "[optimStep eps]"],
    [{ learningRate: 1, eps: 1e-60 }, "[optimStep eps]"],
    [{ learningRate: 1, weightDecay: Number.NaN }, "[optimStep weightDecay]"],
    [{ learningRate: 1, maxGradNorm: -1 }, "[optimStep maxGradNorm]"],
  ])("%j", async (step, message) => {
    await expect(engine.optimStep(step)).rejects.toMatchObject(refused(message));
  });

  test("the least eps leaves weights whose gradient is 0 as they are", async () => {
    await using other = await Engine.create(smallSpec, { seed: 1 }, { threads: 1 });
    const before = await other.logprobs(tokens);
    await other.optimStep({ learningRate: 1, eps: 1e-30 });
    expect(bitsOf((await other.logprobs(tokens)).logprobs)).toBe(bitsOf(before.logprobs));
  });

  test("a gradient that is not finite is refused and cleared; weights and moments stay", async () => {
    const before = await engine.logprobs(tokens);
    await engine.forwardBackward({ ...tokens, weights: Float32Array.of(0, Number.NaN, 1, 0, 1) }, { kind: "sft" });
    const fault = { ...refused("expected a finite gradient", "GRADIENT_NOT_FINITE"), name: "ZazenError" };
    await expect(engine.optimStep({ learningRate: 1e-3 })).rejects.toMatchObject(fault);
    expect(await engine.logprobs(tokens)).toEqual(before);
    expect(await engine.optimStep({ learningRate: 1e-3 })).toEqual({ gradNorm: 0, step: 1 });
  });

  test("the name of a gradient", async () => {
    await expect(engine.gradient("lm_head")).rejects.toMatchObject(refused('got "lm_head"', "PARAMETER_UNKNOWN"));
  });
});

test("the state of the engine is no fault of its input", async () => {
  const other = await Engine.create(smallSpec, { seed: 1 }, { threads: 1 });
  const first = other.logprobs(tokens);
  const busy = await other.logprobs(tokens).catch((error: unknown) => error);
  await first;
  await other.dispose();
  const gone = await other.logprobs(tokens).catch((error: unknown) => error);
  for (const [error, code] of [[busy, "ENGINE_BUSY"] as const, [gone, "ENGINE_DISPOSED"] as const]) {
    expect(error).toBeInstanceOf(ZazenError);
    expect(error).not.toBeInstanceOf(InputError);
    expect(error).toMatchObject({ code });
  }
});

test("a folder that cannot be made", async () => {
  await expect(engine.save("/dev/null/model")).rejects.toMatchObject(
    refused("[/dev/null/model] expected a folder", "FILE_IO"),
  );
});
