// Finds and loads the CUDA addon: a file of its own, built only when asked (npm run build:cuda) and looked for only when something asks
// for a GPU. Nothing falls back to the CPU.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { ZazenError } from "../errors.js";
import { type NativePolicySums, toZazenError } from "./addon.js";

/** An array of 32-bit elements in device memory. */
export interface NativeDeviceArray {
  write(values: Float32Array): void;
  read(into: Float32Array): void;
  dispose(): void;
}

export interface CudaAddon {
  DeviceArray: new (length: number) => NativeDeviceArray;
  advantageNormalize(args: object): void;
  logprobGather(args: object): void;
  policyLoss(args: object): NativePolicySums;
  deviceInfo(): DeviceInfo;
  /** Throws UNSUPPORTED with the paths that were tried. */
  cublasLt(): CublasLtInfo;
}

/** The cuBLASLt that is opened at run time, for the products whose bits it has. */
export interface CublasLtInfo {
  readonly file: string;
  /** 10000 x major + 100 x minor + patch. */
  readonly version: number;
}

export interface DeviceInfo {
  readonly name: string;
  /** Compute capability. */
  readonly major: number;
  readonly minor: number;
  /** Streaming multiprocessors. */
  readonly processors: number;
  readonly memoryBytes: number;
  readonly freeBytes: number;
  /** CUDA versions, 1000 x major + 10 x minor. */
  readonly driver: number;
  readonly runtime: number;
}

/** Names another file of the addon. */
const FILE_VARIABLE = "ZAZEN_CUDA_ADDON";
const FILE = "../../build/cuda/zazen-cuda.node";

let loaded: CudaAddon | undefined;

/** Where the CUDA addon of this build lies, whether it is there or not. */
export function cudaAddonFile(): string {
  return process.env[FILE_VARIABLE] || fileURLToPath(new URL(FILE, import.meta.url));
}

/** The CUDA addon; throws CUDA_ADDON_MISSING or CUDA_ADDON_BROKEN with how to build it. */
export function cudaAddon(): CudaAddon {
  loaded ??= load(cudaAddonFile());
  return loaded;
}

function load(file: string): CudaAddon {
  if (!existsSync(file)) {
    throw new ZazenError(
      "CUDA_ADDON_MISSING",
      `[cuda] expected the CUDA addon, got none at ${file}; with a CUDA toolkit: npm run build:cuda`,
    );
  }
  try {
    return createRequire(import.meta.url)(file) as CudaAddon;
  } catch (error) {
    throw new ZazenError(
      "CUDA_ADDON_BROKEN",
      `[cuda] expected ${file} to load, got: ${(error as Error).message}; build it again: npm run build:cuda`,
      { cause: error },
    );
  }
}

/** Calls into the CUDA addon; its errors are those of Zazen. */
export function onCuda<T>(call: (addon: CudaAddon) => T): T {
  try {
    return call(cudaAddon());
  } catch (error) {
    throw toZazenError(error);
  }
}

/** What `zazen doctor` says of the CUDA addon: the device and the cuBLASLt that it sees, or why it sees none. */
export interface CudaReport {
  readonly file: string;
  readonly device: DeviceInfo | null;
  readonly error: string | null;
  readonly cublasLt: CublasLtInfo | null;
  readonly cublasLtError: string | null;
}

export function cudaReport(): CudaReport {
  const [device, error] = answered((addon) => addon.deviceInfo());
  const [cublasLt, cublasLtError] = answered((addon) => addon.cublasLt());
  return { file: cudaAddonFile(), device, error, cublasLt, cublasLtError };
}

/** What the addon answers, or the message of what it throws. */
function answered<T>(ask: (addon: CudaAddon) => T): [T, null] | [null, string] {
  try {
    return [onCuda(ask), null];
  } catch (error) {
    return [null, (error as Error).message];
  }
}
