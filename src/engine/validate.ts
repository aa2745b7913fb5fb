// Checks of what is handed to the engine: lengths, ranges and ids, each with the field's name. Native code relies on them.
import { InputError } from "../errors.js";
import { sequencesTogether } from "./pairs.js";
import type {
  DpoLoss,
  GenerateRequest,
  LossSpec,
  ModelSpec,
  PackedTokens,
  PolicyLoss,
  SamplingParams,
  TokenBytes,
  TrainBatch,
} from "./types.js";

export function fail(code: string, where: string, expected: string, got: unknown, advice = ""): never {
  throw new InputError(code, `[${where}] expected ${expected}, got ${String(got)}${advice && `; ${advice}`}`);
}

export function checkNumber(where: string, value: number, low: number, high: number, integer = false): void {
  const valid = Number.isFinite(value) && value >= low && value <= high && (!integer || Number.isInteger(value));
  if (!valid) fail("BAD_ARGUMENT", where, `${integer ? "an integer" : "a number"} in ${low} .. ${high}`, value);
}

/** Offsets are int32. */
const MOST_TOKENS = 2 ** 31 - 1;

/** Of a loss's terms. */
const MOST_COEFFICIENT = 1e6;

/** Of penalties, either way. */
const MOST_PENALTY = 100;

/** Below it, logits / temperature leave the range of float32. */
const LEAST_TEMPERATURE = 1e-6;

export function checkTemperature(where: string, value: number): void {
  checkNumber(where, value, LEAST_TEMPERATURE, 100);
}

/** Sequences laid end to end, each with at least one token, all ids in the vocabulary. */
export function checkPacked(where: string, { ids, cuSeqlens }: PackedTokens, spec: ModelSpec): void {
  if (!(ids instanceof Int32Array)) fail("BAD_ARGUMENT", `${where} ids`, "an Int32Array", typeof ids);
  if (!(cuSeqlens instanceof Int32Array)) fail("BAD_ARGUMENT", `${where} cuSeqlens`, "an Int32Array", typeof cuSeqlens);
  if (cuSeqlens[0] !== 0 || cuSeqlens.at(-1) !== ids.length) {
    const ends = `${cuSeqlens[0]} .. ${cuSeqlens.at(-1)}`;
    fail("BAD_ARGUMENT", `${where} cuSeqlens`, `offsets from 0 to ${ids.length}, the number of ids`, ends);
  }
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const length = (cuSeqlens[s + 1] ?? 0) - (cuSeqlens[s] ?? 0);
    if (length < 0)
      fail("BAD_ARGUMENT", `${where} cuSeqlens`, "ascending offsets", `${cuSeqlens[s]} then ${cuSeqlens[s + 1]}`);
    if (length === 0) fail("EMPTY_PROMPT", where, "at least one token in a sequence", `none in sequence ${s}`);
    if (length > spec.maxPositions)
      fail(
        "SEQUENCE_TOO_LONG",
        where,
        `at most ${spec.maxPositions} tokens, the model's context`,
        `${length} in sequence ${s}`,
      );
  }
  checkIds(where, ids, spec);
}

export function checkIds(where: string, ids: ArrayLike<number>, spec: Pick<ModelSpec, "vocabSize">): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as number;
    if (!Number.isInteger(id) || id < 0 || id >= spec.vocabSize)
      fail("TOKEN_OUT_OF_RANGE", where, `token ids in 0 .. ${spec.vocabSize - 1}`, `${id} at place ${i}`);
  }
}

export function checkSampling(s: Required<SamplingParams>, spec: ModelSpec): void {
  if (s.temperature !== 0) checkTemperature("generate temperature", s.temperature);
  checkNumber("generate topK", s.topK, 0, 2 ** 31 - 1, true);
  checkNumber("generate topP", s.topP, Number.MIN_VALUE, 1);
  checkNumber("generate minP", s.minP, 0, 1);
  checkNumber("generate repetitionPenalty", s.repetitionPenalty, 1 / MOST_PENALTY, MOST_PENALTY);
  checkNumber("generate presencePenalty", s.presencePenalty, -MOST_PENALTY, MOST_PENALTY);
  checkNumber("generate frequencyPenalty", s.frequencyPenalty, -MOST_PENALTY, MOST_PENALTY);
  checkNumber("generate maxTokens", s.maxTokens, 1, 2 ** 31 - 1, true);
  checkList("generate stopTokenIds", s.stopTokenIds);
  checkList("generate bannedTokenIds", s.bannedTokenIds);
  checkIds("generate stopTokenIds", s.stopTokenIds, spec);
  checkIds("generate bannedTokenIds", s.bannedTokenIds, spec);
  if (new Set(s.bannedTokenIds).size >= spec.vocabSize)
    fail("BAD_ARGUMENT", "generate bannedTokenIds", "a token that may be sampled", "all of them");
  checkStopStrings(s.stopStrings);
}

/** One id or one text in the place of a list would be read as none, or letter by letter. */
function checkList(where: string, value: unknown): void {
  if (!Array.isArray(value)) fail("BAD_ARGUMENT", where, "a list", JSON.stringify(value));
}

function checkStopStrings(strings: readonly string[]): void {
  const where = "generate stopStrings";
  checkList(where, strings);
  for (const text of strings) {
    if (typeof text !== "string" || text === "")
      fail("BAD_ARGUMENT", where, "texts that are not empty", JSON.stringify(text));
    if (/\p{Surrogate}/u.test(text)) fail("BAD_ARGUMENT", where, "whole characters", "half a surrogate pair");
  }
}

/** What a vocabulary writes: ascending offsets over the bytes. */
export function checkTokenBytes({ bytes, offsets }: TokenBytes): void {
  if (!(bytes instanceof Uint8Array)) fail("BAD_ARGUMENT", "useVocabulary bytes", "a Uint8Array", typeof bytes);
  if (!(offsets instanceof Int32Array)) fail("BAD_ARGUMENT", "useVocabulary offsets", "an Int32Array", typeof offsets);
  const where = "useVocabulary offsets";
  if (offsets.length < 2) fail("BAD_ARGUMENT", where, "those of at least 1 token", offsets.length - 1);
  const falls = offsets.findIndex((offset, t) => t > 0 && offset < offsets[t - 1]!);
  if (offsets[0] !== 0 || falls >= 0 || offsets.at(-1) !== bytes.length)
    fail("BAD_ARGUMENT", where, `ascending offsets from 0 to ${bytes.length}, the number of bytes`, "others");
}

/** What a request says beside its sampling; its prompts are packed and its samplings [P] are checked. */
export function checkPrompts(
  request: GenerateRequest,
  samplings: readonly SamplingParams[], // [P]
  spec: ModelSpec,
): void {
  const { prompts, samplesPerPrompt = 1, seed = 0, step = 0, problemIds } = request;
  checkNumber("generate samplesPerPrompt", samplesPerPrompt, 1, 1 << 20, true);
  checkNumber("generate seed", seed, 0, Number.MAX_SAFE_INTEGER, true);
  checkNumber("generate step", step, 0, 2 ** 32 - 1, true);
  const lengths = Array.from(prompts.cuSeqlens.subarray(1), (end, p) => end - (prompts.cuSeqlens[p] ?? 0));
  checkProblemIds(problemIds, lengths.length);
  const long = lengths.find((length) => length >= spec.maxPositions);
  if (long !== undefined) {
    const expected = `fewer than ${spec.maxPositions} tokens, the model's context`;
    fail("SEQUENCE_TOO_LONG", "generate prompts", expected, long);
  }
  const room = lengths.reduce(
    (sum, length, p) => sum + Math.min(samplings[p]!.maxTokens, spec.maxPositions - length),
    0,
  );
  const tokens = samplesPerPrompt * room;
  if (tokens > MOST_TOKENS)
    fail("BAD_ARGUMENT", "generate", `at most ${MOST_TOKENS} new tokens in one call`, tokens, "ask for fewer samples");
}

function checkProblemIds(problemIds: unknown, count: number): void {
  if (problemIds === undefined) return;
  const where = "generate problemIds";
  if (!(problemIds instanceof Int32Array)) fail("BAD_ARGUMENT", where, "an Int32Array", typeof problemIds);
  if (problemIds.length !== count) fail("BAD_ARGUMENT", where, `${count} numbers, one a prompt`, problemIds.length);
}

/** Per-token arrays of a training batch, as the loss asks for them. One that the loss has no use for is checked like the others. */
export function checkTrainBatch(batch: TrainBatch, loss: LossSpec): void {
  const policy = loss.kind === "policy";
  const arrays: readonly (readonly [string, unknown, boolean])[] = [
    ["weights", batch.weights, true],
    ["advantages", batch.advantages, policy],
    ["oldLogprobs", batch.oldLogprobs, policy],
    ["refLogprobs", batch.refLogprobs, loss.kind === "dpo" || (policy && loss.klCoefficient !== 0)],
    ["samplerLogprobs", batch.samplerLogprobs, false],
    ["importance", batch.importance, false],
    ["returns", batch.returns, loss.kind === "value"],
    ["oldValues", batch.oldValues, loss.kind === "value" && loss.clip > 0],
  ];
  for (const [name, array, needed] of arrays) {
    if (array === undefined && !needed) continue;
    checkFloats(`forwardBackward ${name}`, array, batch.ids.length);
  }
  if (sequencesTogether(loss.kind) > 1)
    checkPairs("forwardBackward", batch.cuSeqlens, batch.pairWeights, batch.margins);
  for (const start of batch.cuSeqlens.subarray(0, -1)) {
    if (batch.weights[start] !== 0)
      fail(
        "BAD_ARGUMENT",
        "forwardBackward weights",
        "0 for the first token of a sequence, which nothing predicts",
        batch.weights[start],
      );
  }
}

/** Sequences in twos, and a weight, or a margin, for each two. */
export function checkPairs(where: string, cuSeqlens: Int32Array, pairWeights: unknown, margins?: unknown): void {
  const sequences = cuSeqlens.length - 1;
  if (sequences % 2 !== 0)
    fail("BAD_ARGUMENT", `${where} cuSeqlens`, "an even number of sequences, chosen and rejected in turn", sequences);
  checkFloats(`${where} pairWeights`, pairWeights, sequences / 2);
  if (margins !== undefined) checkFloats(`${where} margins`, margins, sequences / 2);
}

function checkFloats(where: string, array: unknown, length: number): void {
  const floats = array instanceof Float32Array;
  if (floats && array.length === length) return;
  const got = floats ? array.length : array === undefined ? "none" : typeof array;
  fail("BAD_ARGUMENT", where, `a Float32Array of ${length}`, got);
}

export function checkLoss(loss: LossSpec): void {
  const { kind } = loss;
  if (kind === "policy") checkPolicy(loss);
  else if (kind === "dpo") checkDpo(loss);
  else if (kind === "value") checkNumber("loss clip", loss.clip, 0, MOST_COEFFICIENT);
  else if (kind === "bradley-terry")
    checkNumber("loss centerCoefficient", fillLoss(loss).centerCoefficient, 0, MOST_COEFFICIENT);
  else if (kind !== "sft") fail("BAD_ARGUMENT", "loss kind", "sft, policy, dpo, value or bradley-terry", kind);
}

function checkPolicy(loss: PolicyLoss): void {
  checkTemperature("loss temperature", loss.temperature);
  checkNumber("loss clipLow", loss.clipLow, 0, 1);
  checkNumber("loss clipHigh", loss.clipHigh, 0, 1e6);
  if (loss.dualClip !== 0 && !(loss.dualClip > 1 && loss.dualClip <= 1e6))
    fail("BAD_ARGUMENT", "loss dualClip", "0, or a number above 1 and at most 1000000", loss.dualClip);
  checkNumber("loss klCoefficient", loss.klCoefficient, 0, 1e6);
  checkNumber("loss entropyCoefficient", loss.entropyCoefficient, -1e6, 1e6);
  const { ratio, objective, klEstimator, klMaxLogRatio, klMax } = fillLoss(loss);
  checkNumber("loss klMaxLogRatio", klMaxLogRatio, 0, MOST_COEFFICIENT);
  checkNumber("loss klMax", klMax, 0, MOST_COEFFICIENT);
  checkChoice("loss ratio", ratio, ["token", "sequence"]);
  checkChoice("loss objective", objective, ["clip", "cispo"]);
  checkChoice("loss klEstimator", klEstimator, ["k1", "k2", "k3"]);
  if (objective === "cispo" && loss.dualClip !== 0)
    fail("BAD_ARGUMENT", "loss dualClip", '0 for the objective "cispo", which it does not bound', loss.dualClip);
}

function checkDpo(loss: DpoLoss): void {
  const { beta, labelSmoothing } = fillLoss(loss);
  checkNumber("loss beta", beta, Number.MIN_VALUE, 1e6);
  checkNumber("loss labelSmoothing", labelSmoothing, 0, 0.5);
}

function checkChoice(where: string, value: string, choices: readonly string[]): void {
  if (!choices.includes(value)) fail("BAD_ARGUMENT", where, choices.join(", "), value);
}

/** A loss with every default filled in. */
export function fillLoss<Loss extends LossSpec>(loss: Loss): Required<Loss>;
export function fillLoss(loss: LossSpec): LossSpec {
  if (loss.kind === "dpo") return { labelSmoothing: 0, ...loss };
  if (loss.kind === "bradley-terry") return { centerCoefficient: 0, ...loss };
  if (loss.kind !== "policy") return loss;
  return { ratio: "token", objective: "clip", klEstimator: "k3", klMaxLogRatio: 0, klMax: 0, ...loss };
}
