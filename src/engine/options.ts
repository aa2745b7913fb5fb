// An engine's options, checked and with every default, and the complete struct that the native side gets of spec and options.
import { defaultThreads } from "./addon.js";
import { FAMILIES } from "./families.js";
import { checkKeys, KEYS } from "./known.js";
import { type FilledLora, fillLora, nativeLora } from "./lora.js";
import { ropeFrequencies } from "./rope.js";
import {
  DEFAULT_KV_BYTES,
  DEFAULT_MICRO_BATCH_TOKENS,
  DEVICES,
  type Device,
  DTYPES,
  type EngineOptions,
  type ModelSpec,
} from "./types.js";
import { checkNumber, fail } from "./validate.js";

/** Why a device is refused that is not the CPU. */
export const NO_CUDA_ENGINE = "there are CUDA kernels (zazen/kernels), and no training or sampling by them yet";

const ISAS: readonly Required<EngineOptions>["isa"][] = ["auto", "portable", "avx2", "avx512", "avx512_bf16"];

/** The options of an engine whose spec is settled. */
export type FilledOptions = Required<Omit<EngineOptions, "device" | "lora" | "base" | "head" | "headInit">> & {
  readonly lora?: FilledLora;
};

/** Throws InputError BAD_ARGUMENT, UNSUPPORTED_DEVICE, LORA_TARGET. */
export function fillOptions(options: EngineOptions, spec: ModelSpec): FilledOptions {
  checkKeys("engine options", options, KEYS.engine);
  checkDevice(options.device ?? "cpu");
  const { threads = defaultThreads(), isa = "auto" } = options;
  const { microBatchTokens = DEFAULT_MICRO_BATCH_TOKENS, kvBytes = DEFAULT_KV_BYTES } = options;
  const { trainable = true, reference = false, dtype = "float32", moments = "float32", recompute = false } = options;
  const filled = { threads, microBatchTokens, kvBytes, isa, trainable, reference, dtype, moments, recompute };
  if (!ISAS.includes(filled.isa)) fail("BAD_ARGUMENT", "engine isa", ISAS.join(", "), filled.isa);
  if (!DTYPES.includes(dtype)) fail("BAD_ARGUMENT", "engine dtype", DTYPES.join(" or "), dtype);
  if (!DTYPES.includes(moments)) fail("BAD_ARGUMENT", "engine moments", DTYPES.join(" or "), moments);
  for (const [name, value] of Object.entries({ trainable, recompute }))
    if (typeof value !== "boolean") fail("BAD_ARGUMENT", `engine ${name}`, "true or false", value);
  if (typeof reference !== "boolean" && reference !== "moving")
    fail("BAD_ARGUMENT", "engine reference", 'true, false or "moving"', reference);
  checkNumber("engine threads", filled.threads, 1, 1024, true);
  checkNumber("engine microBatchTokens", filled.microBatchTokens, 1, 2 ** 31 - 1, true);
  checkNumber("engine kvBytes", filled.kvBytes, 1, Number.MAX_SAFE_INTEGER, true);
  return { ...filled, ...(options.lora && { lora: fillLora(options.lora, spec) }) };
}

function checkDevice(device: Device): void {
  if (!DEVICES.includes(device)) fail("BAD_ARGUMENT", "engine device", DEVICES.join(" or "), device);
  if (device !== "cpu") fail("UNSUPPORTED_DEVICE", "engine device", `cpu: ${NO_CUDA_ENGINE}`, device);
}

/** `adapter`: path of a file with adapters, or "". */
export function nativeConfig(spec: ModelSpec, { lora, reference, ...options }: FilledOptions, adapter = ""): object {
  const kept = { reference: reference !== false, movingReference: reference === "moving" };
  return { ...nativeSpec(spec), ...options, ...kept, ...nativeLora(spec, lora, adapter), drawHead: false };
}

/** The spec as the native side has it: what a family or a scaling means is settled here. */
function nativeSpec(spec: ModelSpec): object {
  const { qkvBias, qkNorm } = FAMILIES[spec.family ?? "llama"];
  const { frequencies, scale } = ropeFrequencies(spec);
  const windows = spec.windows ?? new Array<number>(spec.layers).fill(0);
  return {
    ...spec,
    scalarHead: spec.head === "scalar",
    qkvBias,
    qkNorm,
    ropeFrequencies: frequencies,
    ropeScale: scale,
    windows: Int32Array.from(windows),
  };
}
