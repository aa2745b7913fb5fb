// Rewards in index order, sync and async; failures are counted, left out, and fatal above a share.
import { describe, expect, test } from "vitest";
import { type RewardFunction, scoreDefaults, scoreSamples } from "../../src/reward/score.js";

const problems = [10, 20, 30];
const samples = [[1, 2], [3], [4, 5, 6]];
const patient = { ...scoreDefaults, maxErrorShare: 0.5 };
const flat = (rewards: readonly Float64Array[]) => rewards.map((own) => [...own]);

describe("scoreSamples", () => {
  test("grades every sample with its problem", async () => {
    const { rewards, failures } = await scoreSamples(problems, samples, (problem, sample) => problem + sample);
    expect(flat(rewards)).toEqual([[11, 12], [23], [34, 35, 36]]);
    expect(failures).toEqual([]);
  });

  test("calls begin in index order, results keep their place whatever the order of arrival", async () => {
    const begun: number[] = [];
    const slowFirst: RewardFunction<number, number> = async (_, sample) => {
      begun.push(sample);
      await new Promise((done) => setTimeout(done, 12 - 2 * sample));
      return sample;
    };
    const { rewards } = await scoreSamples(problems, samples, slowFirst, { ...scoreDefaults, concurrency: 4 });
    expect(begun).toEqual([1, 2, 3, 4, 5, 6]);
    expect(flat(rewards)).toEqual(samples);
  });

  test("never more calls at once than allowed", async () => {
    let running = 0;
    let most = 0;
    const watch = async () => {
      most = Math.max(most, ++running);
      await new Promise((done) => setTimeout(done, 1));
      running--;
      return 0;
    };
    await scoreSamples(problems, samples, watch, { ...scoreDefaults, concurrency: 2 });
    expect(most).toBe(2);
  });

  test("a reward that throws or is no finite number is a failure, not a 0", async () => {
    const faulty: RewardFunction<number, number> = (_, sample) => {
      if (sample === 2) throw new Error("broken grader");
      return sample === 5 ? Number.NaN : 0;
    };
    const { rewards, failures } = await scoreSamples(problems, samples, faulty, patient);
    expect(flat(rewards)).toEqual([[0, Number.NaN], [0], [0, Number.NaN, 0]]);
    expect(failures.map(({ index, error }) => [index, error.message])).toEqual([
      [1, "broken grader"],
      [4, "[reward] expected a finite number, got NaN"],
    ]);
  });

  test("more failures than the share stop the run with a typed error that shows the first", async () => {
    const broken = async (_: number, sample: number) => {
      if (sample > 2) throw new Error(`no ${sample}`);
      return 0;
    };
    const scoring = scoreSamples(problems, samples, broken, patient);
    await expect(scoring).rejects.toMatchObject({ code: "REWARD_ERRORS", message: expect.stringContaining("no 3") });
    const strict = scoreSamples(problems, samples, (_, s) => (s === 6 ? Number.POSITIVE_INFINITY : 1));
    await expect(strict).rejects.toMatchObject({ code: "REWARD_ERRORS" });
  });

  test("an abort stops before the next call", async () => {
    const controller = new AbortController();
    const abortAtTwo = (_: number, sample: number) => {
      if (sample === 2) controller.abort(new Error("stopped"));
      return sample;
    };
    const options = { ...scoreDefaults, concurrency: 1, signal: controller.signal };
    await expect(scoreSamples(problems, samples, abortAtTwo, options)).rejects.toThrow("stopped");
  });
});
