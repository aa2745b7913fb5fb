// What a reward model takes, known before it is opened: a native one by the engine's plan, an ONNX file by its bytes and an estimate of what
// its layers compute, since a graph does not say.
import { planMemory } from "../../engine/engine.js";
import { memoryRoom } from "../../engine/memory-limit.js";
import type { LoraOptions, ModelSpec } from "../../engine/types.js";
import { InputError } from "../../errors.js";
import { scoreOptions, scoreWorkload } from "./native.js";
import type { ModelFolder, OnnxConfig } from "./scorer.js";
import type { RewardModelSettings } from "./settings.js";

const BYTES = 4; // of a float32
/** Arrays of hidden and intermediate size that a layer holds at once, about. */
const HIDDEN_ARRAYS = 8;
const INTERMEDIATE_ARRAYS = 3;
/** Scores of attention, before and after the softmax. */
const SCORE_ARRAYS = 2;
/** What a session holds beside its weights: packed copies of matrices, and Node itself. */
const WEIGHT_COPIES = 1.5;
const PROCESS_BYTES = 96 * 2 ** 20;
const USABLE = 0.95;
const GiB = 2 ** 30;

/** What a reward model takes at its largest call. */
export interface ModelMemory {
  /** Of an ONNX file about. */
  readonly bytes: number;
  /** They lie in processes of its own, as those of an ONNX file do. */
  readonly apart: boolean;
}

/** Texts are `maxTokens` long at most. */
export function modelMemory(folder: ModelFolder, settings: RewardModelSettings, maxTokens: number): ModelMemory {
  if (folder.runtime === "native") return nativeMemory(folder, settings, maxTokens);
  const bytes = workerBytes(folder.config, Math.max(settings.batchTokens, maxTokens), maxTokens);
  return { bytes: settings.workers * bytes, apart: true };
}

/** On the engine. */
export function nativeMemory(
  { spec, lora }: { readonly spec: ModelSpec; readonly lora: LoraOptions | null },
  settings: RewardModelSettings,
  maxTokens: number,
): ModelMemory {
  const options = { ...scoreOptions(settings), ...(lora && { lora }) };
  return { bytes: planMemory(spec, options, scoreWorkload(maxTokens)).bytes, apart: false };
}

/** Of a batch of `tokens` tokens, `longest` in a text. */
function workerBytes(
  { bytes, hiddenSize, intermediateSize, heads }: OnnxConfig,
  tokens: number,
  longest: number,
): number {
  const layer = HIDDEN_ARRAYS * (hiddenSize ?? 0) + INTERMEDIATE_ARRAYS * (intermediateSize ?? 0);
  const attention = SCORE_ARRAYS * (heads ?? 0) * longest;
  return PROCESS_BYTES + WEIGHT_COPIES * bytes + BYTES * tokens * (layer + attention);
}

/** Throws InputError MEMORY_PLAN where an ONNX file does not fit; a native model's engine says so itself. */
export function requireRoom(
  wanted: number,
  { workers }: RewardModelSettings,
  where: string,
  room = memoryRoom(),
): void {
  const usable = USABLE * room.available;
  if (wanted <= usable) return;
  const fewer = workers > 1 ? "workers, " : "";
  throw new InputError(
    "MEMORY_PLAN",
    `[${where}] expected an ONNX file that takes at most ${gib(usable)}, got about ${gib(wanted)}; set ${fewer}batchTokens or maxTokens lower`,
  );
}

const gib = (bytes: number): string => `${(bytes / GiB).toFixed(2)} GiB`;
