// Checks of what is handed to the engine: lengths, ranges and ids, each with the field's name. Native code relies on them.
import { InputError } from "../errors.js";
import type { LossSpec, ModelSpec, PackedTokens, SamplingParams, TrainBatch } from "./types.js";

export function fail(code: string, where: string, expected: string, got: unknown, advice = ""): never {
  throw new InputError(code, `[${where}] expected ${expected}, got ${String(got)}${advice && `; ${advice}`}`);
}

export function checkNumber(where: string, value: number, low: number, high: number, integer = false): void {
  const valid = Number.isFinite(value) && value >= low && value <= high && (!integer || Number.isInteger(value));
  if (!valid) fail("BAD_ARGUMENT", where, `${integer ? "an integer" : "a number"} in ${low} .. ${high}`, value);
}

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

export function checkIds(where: string, ids: ArrayLike<number>, spec: ModelSpec): void {
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
  checkNumber("generate maxTokens", s.maxTokens, 1, 2 ** 31 - 1, true);
  checkIds("generate stopTokenIds", s.stopTokenIds, spec);
  checkIds("generate bannedTokenIds", s.bannedTokenIds, spec);
  if (new Set(s.bannedTokenIds).size >= spec.vocabSize)
    fail("BAD_ARGUMENT", "generate bannedTokenIds", "a token that may be sampled", "all of them");
}

/** Per-token arrays of a training batch, as the loss asks for them. */
export function checkTrainBatch(batch: TrainBatch, loss: LossSpec): void {
  const arrays: (readonly [string, Float32Array | undefined, boolean])[] = [["weights", batch.weights, true]];
  if (loss.kind === "policy") {
    arrays.push(["advantages", batch.advantages, true], ["oldLogprobs", batch.oldLogprobs, true]);
    arrays.push(["refLogprobs", batch.refLogprobs, loss.klCoefficient !== 0]);
  }
  for (const [name, array, needed] of arrays) {
    if (!array && !needed) continue;
    if (array?.length !== batch.ids.length)
      fail("BAD_ARGUMENT", `forwardBackward ${name}`, `a Float32Array of ${batch.ids.length}`, array?.length ?? "none");
  }
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

export function checkLoss(loss: LossSpec): void {
  if (loss.kind === "sft") return;
  checkTemperature("loss temperature", loss.temperature);
  checkNumber("loss clipLow", loss.clipLow, 0, 1);
  checkNumber("loss clipHigh", loss.clipHigh, 0, 1e6);
  if (loss.dualClip !== 0) checkNumber("loss dualClip", loss.dualClip, 1, 1e6);
  checkNumber("loss klCoefficient", loss.klCoefficient, 0, 1e6);
  checkNumber("loss entropyCoefficient", loss.entropyCoefficient, -1e6, 1e6);
}
