// The entries of the package: each file that package.json names comes from a source that loads, and has what the README promises of it.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { rewardInput } from "./helpers/rewards.js";

const { exports } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  exports: Record<string, { types: string; default: string }>;
};

/** The source of an entry, as a module. */
function entry(name: string): Promise<Record<string, unknown>> {
  const { types, default: file } = exports[name]!;
  expect(types).toBe(file.replace(/js$/, "d.ts"));
  return import(file.replace(/^\.\/dist\//, "../src/").replace(/js$/, "ts"));
}

test.each([
  [".", ["Engine", "sampleCompletions", "scoreSamples", "recipes", "RewardPool"]],
  ["./kernels", ["advantageNormalize", "logprobGather", "policyLoss", "dpoLoss"]],
  ["./tasks", ["gradeCountdown", "gradeMaths", "gradeChoice", "gradeExact", "gradeFormat"]],
  ["./rewards", ["RewardPool", "RewardError", "verifier", "recordCheck", "rewardSpec", "scoreSamples"]],
])("%s", async (name, promised) => {
  const module = await entry(name);
  expect(promised.filter((each) => module[each] === undefined)).toEqual([]);
});

test("no other entry is promised", () => {
  expect(Object.keys(exports)).toEqual([".", "./kernels", "./rewards", "./tasks"]);
});

describe("zazen/rewards", () => {
  test("grades by a verifier, alone and in the pool", async () => {
    const { RewardPool, recordCheck, rewardSpec, verifier } = await import("../src/rewards.js");
    const spec = rewardSpec.parse({ kind: "exact" });
    const inputs = ["four", "five"].map((text) => rewardInput(text, { record: { answer: "four" } }));
    expect(spec).toMatchObject({ kind: "exact", field: "answer", weight: 1 });
    if (!("kind" in spec) || spec.kind !== "exact") throw new Error("expected the verifier exact");
    expect(inputs.map((input) => verifier(spec).grade(input))).toEqual([1, 0]);
    expect(() => recordCheck([spec])({})).toThrow(/answer/);
    const pool = await RewardPool.create([spec], { workers: 1 });
    const { rewards } = await pool.score([inputs]);
    await pool.dispose();
    expect(rewards.map((row) => [...row])).toEqual([[1, 0]]);
  });
});
