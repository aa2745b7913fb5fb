// A request to generate as the native side takes it, and its result as the caller gets it. Checks and defaults; no native calls.
import type { NativeSamples } from "./addon.js";
import type { ByteAutomaton } from "./constraint/automaton.js";
import { compileConstraint } from "./constraint/compile.js";
import { checkKeys, KEYS } from "./known.js";
import type {
  FinishReason,
  GenerateRequest,
  GenerateResult,
  ModelSpec,
  PackedTokens,
  SamplingParams,
} from "./types.js";
import { checkPacked, checkPrompts, checkSampling, fail } from "./validate.js";

const FINISH: readonly FinishReason[] = ["stop", "length", "abort"];

/** What native code is given: samplings that prompts have in common once. */
export interface GenerateArgs extends PackedTokens {
  readonly samplings: readonly NativeSampling[];
  readonly samplingOf: Int32Array; // [P], into samplings
  readonly samples: number; // a prompt
  readonly seed: number;
  readonly step: number;
  readonly problemIds: Int32Array; // [P]
  readonly aborted: boolean;
}

interface NativeSampling extends Omit<Required<SamplingParams>, "constraint"> {
  readonly stop: Int32Array;
  readonly banned: Int32Array;
  readonly constraint: ByteAutomaton | null;
}

export function finishOf(code: number): FinishReason {
  return FINISH[code] ?? "abort";
}

/** Checks a request and fills its defaults. */
export function generateArgs(request: GenerateRequest, spec: ModelSpec): GenerateArgs {
  checkKeys("generate", request, KEYS.generate);
  const { prompts, samplesPerPrompt = 1, seed = 0, step = 0, signal } = request;
  checkPacked("generate prompts", prompts, spec);
  const count = prompts.cuSeqlens.length - 1;
  const given = perPrompt(request.sampling, count);
  const distinct = [...new Set(given)];
  const filled = distinct.map((sampling) => fillSampling(sampling, spec));
  for (const sampling of filled) checkSampling(sampling, spec);
  const places = new Map(distinct.map((sampling, i) => [sampling, i]));
  const samplingOf = Int32Array.from(given, (sampling) => places.get(sampling)!);
  checkPrompts(
    request,
    Array.from(samplingOf, (i) => filled[i]!),
    spec,
  );
  return {
    ...prompts,
    samples: samplesPerPrompt,
    samplings: filled.map(nativeSampling),
    samplingOf,
    seed,
    step,
    problemIds: request.problemIds ?? Int32Array.from({ length: count }, (_, i) => i),
    aborted: signal?.aborted ?? false,
  };
}

/** The sampling parameters of each prompt [P]. */
function perPrompt(sampling: GenerateRequest["sampling"], count: number): readonly SamplingParams[] {
  if (!Array.isArray(sampling)) return new Array<SamplingParams>(count).fill(sampling as SamplingParams);
  if (sampling.length !== count) fail("BAD_ARGUMENT", "generate sampling", `${count}, one a prompt`, sampling.length);
  return sampling;
}

function fillSampling(sampling: SamplingParams, spec: ModelSpec): Required<SamplingParams> {
  checkKeys("generate sampling", sampling, KEYS.sampling);
  return {
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    stopTokenIds: spec.eosTokenIds,
    stopStrings: [],
    constraint: null,
    bannedTokenIds: [],
    ...sampling,
  };
}

function nativeSampling(sampling: Required<SamplingParams>): NativeSampling {
  return {
    ...sampling,
    stop: Int32Array.from(sampling.stopTokenIds),
    banned: Int32Array.from(sampling.bannedTokenIds),
    constraint: sampling.constraint === null ? null : compileConstraint(sampling.constraint),
  };
}

/** The stop string with this number among those of a sample's prompt; null for -1. */
export function stopStringOf(args: GenerateArgs, sample: number, place: number): string | null {
  const prompt = Math.floor(sample / args.samples);
  return args.samplings[args.samplingOf[prompt] ?? 0]?.stopStrings[place] ?? null;
}

export function generateResult(native: NativeSamples, args: GenerateArgs): GenerateResult {
  return {
    ...native,
    finish: Array.from(native.finish, finishOf),
    stopStrings: Array.from(native.stopStrings, (place, sample) => stopStringOf(args, sample, place)),
  };
}
