// `zazen compare` as a process: two real runs, tables, one JSON document, a page; and what is refused with exit code 2.
import { existsSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Comparison } from "../../src/eval/comparison/compare.js";
import { folderOf } from "../helpers/files.js";
import { pastRun } from "../helpers/past-runs.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { cliIsBuilt, failure, json, zazen } from "./process.js";

describe.skipIf(!cliIsBuilt)("zazen compare", () => {
  let folder: string;
  let a: string;
  let b: string;
  beforeAll(() => {
    folder = temporaryFolder("compare");
    [a, b] = [join(folder, "a"), join(folder, "b")];
    const small = {
      "sft.steps": 4,
      "sft.tokensPerStep": 200,
      "grpo.steps": 10,
      "grpo.prompts": 2,
      "grpo.samplesPerPrompt": 4,
    };
    const others = { "model.layers": 1, "evaluation.problems": 12, "evaluation.minimumPass": 0, threads: 1 };
    const sets = Object.entries({ ...small, ...others }).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    json(["train", "quickstart", "--out", a, ...sets]);
    json(["train", "quickstart", "--out", b, ...sets, "--set", "grpo.loss.klCoefficient=0.1"]);
  });

  test("names the one setting that differs, and pairs what both answered", () => {
    const comparison = json<Comparison>(["compare", a, b]);
    expect(comparison.settings).toEqual([{ key: "grpo.loss.klCoefficient", values: [0, 0.1] }]);
    expect(comparison.notes).toEqual([`${a} has no KL to the reference, end`]);
    expect(comparison.runs).toMatchObject([
      { name: a, recipe: "quickstart", phase: "grpo", steps: 10, finished: true },
      { name: b },
    ]);
    const of = (name: string) => comparison.measures.find((measure) => measure.name === name)!;
    expect(of("held-out/sampled").differences[1]).toMatchObject({ n: 12, how: "paired problems" });
    expect(of("held-out/greedy").values[0]).toMatchObject({
      n: 12,
      interval: [expect.any(Number), expect.any(Number)],
    });
    expect(of("kl/end").values).toEqual([null, expect.objectContaining({ mean: expect.any(Number) })]);
    expect(of("malformed/end").values[0]!.mean).toBeGreaterThanOrEqual(0);
    expect(of("steps").values).toMatchObject([{ mean: 10 }, { mean: 10 }]);
    expect(of("tokens").values[0]!.mean).toBeGreaterThan(10 * 8);
  });

  test("says the same in tables", () => {
    const { status, stdout } = zazen(["compare", a, b, a]);
    expect(status).toBe(0);
    expect(stdout).toContain(`A  ${a}: quickstart, grpo, 10 steps`);
    expect(stdout).toContain("1 setting differs, all others are equal:\n  grpo.loss.klCoefficient: A 0, B 0.1, C 0\n");
    expect(stdout).toMatch(/^pass@1, sampled +\d\.\d+ \[\d\.\d+, \d\.\d+\] +\d/m);
    expect(stdout).toMatch(
      /^pass@1, sampled .* 12 paired problems +0\.000 \[-0\.140, \+0\.140\] +12 paired problems$/m,
    );
  });

  test("a run with itself: all equal, and no difference", () => {
    expect(zazen(["compare", a, a]).stdout).toContain("All settings are equal.");
    for (const { differences } of json<Comparison>(["compare", a, a]).measures)
      expect(differences[1]?.mean ?? 0).toBe(0);
  });

  test("writes a page, and stdout is one document all the same", () => {
    const out = join(folder, "page.html");
    const comparison = json<Comparison>(["compare", a, b, "--out", out]);
    expect(comparison.runs).toHaveLength(2);
    const html = readFileSync(out, "utf8");
    expect(html).toContain("Held-out pass@1");
    expect(html).toContain("grpo.loss.klCoefficient");
    expect(html).toContain("https://github.com/leeoniya/uPlot"); // the head of uPlot's own file
  });

  test("a run that was killed at its last line is compared, and it is said", () => {
    const cut = pastRun({ steps: 6, finished: false });
    truncateSync(join(cut, "held-out.jsonl"), 2000);
    const { notes } = json<Comparison>(["compare", a, cut]);
    expect(notes).toContainEqual(expect.stringMatching(/its last line is left out/));
    expect(notes).toContainEqual(`${cut}: not finished, 6 steps so far`);
    expect(notes).toContainEqual(expect.stringContaining("the recipes differ: quickstart, rlvr"));
  });

  test.each<[string, () => string[], string]>([
    ["one run", () => [a], "COMPARE_RUNS"],
    ["no run", () => [], "USAGE"],
    ["a folder that is no run's", () => [a, folder], "COMPARE_FOLDER"],
    ["nothing there", () => [a, join(folder, "none")], "COMPARE_FOLDER"],
    [
      "a run without metrics",
      () => [a, folderOf({ "recipe.json": '{"recipe": "sft", "config": {}}' })],
      "COMPARE_METRICS",
    ],
    ["a part that there is not", () => [a, `${b}#nothing`], "COMPARE_FOLDER"],
    ["no place to write", () => [a, b, "--out", join(folder, "no", "such", "page.html")], "FILE_IO"],
  ])("refuses %s", (_, args, code) => {
    expect(failure(["compare", ...args()])).toMatchObject({ status: 2, code });
    expect(existsSync(join(folder, "no"))).toBe(false);
  });
});
