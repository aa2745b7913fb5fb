// The named kernels on device arrays, against those on typed arrays. The CUDA addon is built with the emulator in the place of a GPU: the
// same kernels, the same binding.
import { type ExecFileSyncOptions, execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { random } from "../src/data/random.js";
import { cudaReport } from "../src/engine/cuda.js";
import { advantageNormalize, DeviceArray, device, logprobGather, policyLoss } from "../src/kernels.js";
import { tempFolder } from "./helpers/recipes.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const build = join(root, "build", "emulated");
const buildTimeout = 600_000;
const emulated = process.platform === "linux" && process.arch === "x64";

/** Of one float32 result, relative to the larger of itself and 1. */
const TOLERANCE = 1e-6;

function expectClose(actual: DeviceArray, wanted: Float32Array): void {
  const values = actual.read();
  expect(values.length).toBe(wanted.length);
  const errors = Array.from(wanted, (value, i) => Math.abs(values[i]! - value) / Math.max(1, Math.abs(value)));
  expect(errors.findIndex((error) => !(error <= TOLERANCE))).toBe(-1);
}

function noise(length: number, seed: number, scale = 1): Float32Array {
  const draw = random(seed, 3);
  return Float32Array.from({ length }, () => scale * (2 * draw.next() - 1));
}

const refused = (call: () => unknown) => {
  try {
    call();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return "nothing";
};

test("without the addon every use says how to build it", () => {
  process.env.ZAZEN_CUDA_ADDON = join(build, "none.node");
  expect(refused(() => new DeviceArray(1))).toBe("CUDA_ADDON_MISSING");
  expect(cudaReport().device).toBeNull();
  expect(cudaReport().error).toContain("npm run build:cuda");
});

test("an addon that does not load is to be built again", () => {
  const file = join(tempFolder(), "broken.node");
  writeFileSync(file, "no library");
  process.env.ZAZEN_CUDA_ADDON = file;
  expect(refused(() => new DeviceArray(1))).toBe("CUDA_ADDON_BROKEN");
  expect(cudaReport().error).toContain("npm run build:cuda");
});

describe.runIf(emulated)("on an emulated device", () => {
  beforeAll(() => {
    const quiet: ExecFileSyncOptions = { cwd: root, stdio: ["ignore", "ignore", "inherit"] };
    execFileSync("cmake", ["-S", "native", "-B", build, "-DZAZEN_EMULATION=ON"], quiet);
    const jobs = String(availableParallelism());
    execFileSync("cmake", ["--build", build, "--target", "zazen_cuda", "--parallel", jobs], quiet);
    process.env.ZAZEN_CUDA_ADDON = join(build, "zazen-cuda.node");
  }, buildTimeout);

  test("arrays are zeros, take values and give them back", () => {
    using array = new DeviceArray(5);
    expect(array.read()).toEqual(new Float32Array(5));
    const values = noise(5, 1);
    array.write(values);
    expect(array.read()).toEqual(values);
    using part = DeviceArray.from(values.subarray(1, 4));
    expect(part.read()).toEqual(values.slice(1, 4));
    expect(new DeviceArray(0).read().length).toBe(0);
  });

  test("group advantages", () => {
    const rewards = noise(37, 2, 5);
    const cuGroups = Int32Array.from([0, 8, 8, 9, 37]);
    using on = DeviceArray.from(rewards);
    for (const scaleByStd of [true, false]) {
      using got = device.advantageNormalize(on, cuGroups, { scaleByStd });
      expectClose(got, advantageNormalize(rewards, cuGroups, { scaleByStd }));
    }
  });

  test("log-prob gather, which leaves the logits as they are", () => {
    const logits = noise(3 * 611, 3, 8);
    const ids = Int32Array.from([0, 610, 77]);
    for (const temperature of [1, 0.5]) {
      using on = DeviceArray.from(logits);
      const got = device.logprobGather(on, ids, { temperature });
      const wanted = logprobGather(logits, ids, { temperature });
      expectClose(got.logprobs, wanted.logprobs);
      expectClose(got.entropy, wanted.entropy);
      expect(on.read()).toEqual(logits);
    }
  });

  test("policy loss with its gradient, by token and by sequence", () => {
    const T = 300;
    const logprobs = noise(T, 4);
    const near = (seed: number) => noise(T, seed, 0.4).map((x, i) => x + logprobs[i]!);
    const host = {
      logprobs,
      oldLogprobs: near(5),
      refLogprobs: near(6),
      samplerLogprobs: near(7),
      importance: noise(T, 8).map(Math.abs),
      entropy: noise(T, 9).map(Math.abs),
      advantages: noise(T, 10),
      weights: noise(T, 11).map((w) => (w < 0 ? 0 : w)),
    };
    const on = Object.fromEntries(Object.entries(host).map(([name, array]) => [name, DeviceArray.from(array)]));
    const arrays = on as { [Name in keyof typeof host]: DeviceArray };
    const cuSeqlens = Int32Array.from([0, 100, 100, T]);
    for (const ratio of ["token", "sequence"] as const) {
      const options = { ratio, klCoefficient: 0.1, entropyCoefficient: 0.01, dualClip: 3 };
      const wanted = policyLoss({ ...host, cuSeqlens }, options);
      const got = device.policyLoss({ ...arrays, cuSeqlens }, options);
      expectClose(got.dLogprobs, wanted.dLogprobs);
      expectClose(got.dEntropy, wanted.dEntropy);
      for (const key of ["loss", "kl", "ratio", "clipFraction", "clipLowFraction", "clipHighFraction"] as const)
        expect(got[key]).toBeCloseTo(wanted[key], 5);
      expect(got.tokens).toBe(wanted.tokens);
    }
  });

  test("a cuBLASLt that is not there is named with every path", () => {
    process.env.CUBLAS_LIBRARY_DIR = "/no/such/folder";
    const { cublasLt, cublasLtError } = cudaReport();
    delete process.env.CUBLAS_LIBRARY_DIR;
    expect(cublasLt).toBeNull();
    for (const name of ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so:"])
      expect(cublasLtError).toContain(`/no/such/folder/${name}`);
  });

  test("bad input is refused by name", () => {
    const array = DeviceArray.from(noise(6, 12));
    expect(refused(() => new DeviceArray(-1))).toBe("BAD_ARGUMENT");
    expect(refused(() => new DeviceArray(1.5))).toBe("BAD_ARGUMENT");
    expect(refused(() => DeviceArray.from([1] as never))).toBe("BAD_ARGUMENT");
    expect(refused(() => array.write(new Float32Array(5)))).toBe("BAD_ARGUMENT");
    expect(refused(() => device.advantageNormalize(new Float32Array(6) as never, Int32Array.from([0, 6])))).toBe(
      "BAD_ARGUMENT",
    );
    expect(refused(() => device.advantageNormalize(array, Int32Array.from([0, 7])))).toBe("BAD_ARGUMENT");
    expect(refused(() => device.logprobGather(array, Int32Array.from([0, 3])))).toBe("TOKEN_OUT_OF_RANGE");
    expect(refused(() => device.logprobGather(array, Int32Array.from([0, 0, 0, 0])))).toBe("BAD_ARGUMENT");
    const four = { logprobs: array, oldLogprobs: array, advantages: array, weights: array };
    expect(refused(() => device.policyLoss({ ...four, weights: new DeviceArray(5) }))).toBe("BAD_ARGUMENT");
    expect(refused(() => device.policyLoss(four, { klCoefficient: 1 }))).toBe("BAD_ARGUMENT");
    expect(refused(() => device.policyLoss(four, { ratio: "sequence" }))).toBe("BAD_ARGUMENT");
  });

  test("a disposed array refuses use, and may be disposed again", () => {
    const array = DeviceArray.from(noise(6, 13));
    array.dispose();
    array.dispose();
    expect(refused(() => array.read())).toBe("DEVICE_ARRAY_DISPOSED");
    expect(refused(() => device.advantageNormalize(array, Int32Array.from([0, 6])))).toBe("DEVICE_ARRAY_DISPOSED");
  });

  test("an error of the device reaches JavaScript, and the next call works", () => {
    expect(cudaReport()).toMatchObject({ device: null, error: expect.stringContaining("kernels run on the host") });
    using array = DeviceArray.from(noise(3, 14));
    expect(array.read().length).toBe(3);
  });
});
