// The exactness probe: right on this build, and not blind to planted faults.
import { expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { exactnessProbe, type OpenProbed, PROBE } from "../../src/engine/exactness.js";
import type { GenerateResult, LogprobsRequest, LogprobsResult } from "../../src/engine/types.js";

interface Faults {
  readonly logprobs?: (request: LogprobsRequest, result: LogprobsResult) => void;
  readonly generate?: (result: GenerateResult) => void;
}

/** Engines whose results are changed in place. The instruction set is the fastest throughout: the faults are not its own. */
function faulty(faults: Faults): OpenProbed {
  return async ({ threads, dtype }) => {
    const engine = await Engine.create(PROBE, { seed: 1, std: 0.1 }, { threads, dtype, trainable: false });
    return {
      logprobs: async (request) => {
        const result = await engine.logprobs(request);
        faults.logprobs?.(request, result);
        return result;
      },
      generate: async (request) => {
        const result = await engine.generate(request);
        faults.generate?.(result);
        return result;
      },
      [Symbol.asyncDispose]: () => engine.dispose(),
    };
  };
}

test("this build is exact, and every instruction set was asked", { timeout: 60_000 }, async () => {
  const { ok, cases, failures } = await exactnessProbe();
  expect([ok, failures]).toEqual([true, []]);
  expect(cases).toBeGreaterThanOrEqual(2 * 2 * (1 + 7 + 9));
});

test("a row that is the neighbour's is seen", { timeout: 60_000 }, async () => {
  const logprobs = ({ cuSeqlens }: LogprobsRequest, result: LogprobsResult) => {
    if (cuSeqlens.length > 3) result.logprobs[cuSeqlens[1]! + 1] = result.logprobs[1]!;
  };
  const { ok, failures } = await exactnessProbe(faulty({ logprobs }));
  expect(ok).toBe(false);
  expect(failures).toContainEqual(expect.stringMatching(/^portable, 1 threads, bfloat16, place 1 of 7$/));
});

test("a log-prob recorded one bit off is seen", { timeout: 60_000 }, async () => {
  const generate = ({ logprobs }: GenerateResult) => {
    const bits = new Int32Array(logprobs.buffer, logprobs.byteOffset, logprobs.length);
    bits[3]! ^= 1;
  };
  const { failures } = await exactnessProbe(faulty({ generate }));
  expect(failures).toContain("portable, 2 threads, float32, sample 0 scored again");
  expect(failures.every((failure) => failure.endsWith("sample 0 scored again"))).toBe(true);
});
