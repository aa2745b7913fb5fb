// Runs side by side: settings that differ, figures with intervals, what is paired and what is not, and folders that are no runs.
import { appendFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Comparison, compareRuns } from "../../src/eval/comparison/compare.js";
import { windowOf } from "../../src/eval/comparison/measures.js";
import type { RunRecord } from "../../src/eval/comparison/record.js";
import { settingDifferences } from "../../src/eval/comparison/settings.js";
import { judgeSet, winRate } from "../../src/eval/win-rate.js";
import { wilson, winShare } from "../../src/objective/intervals.js";
import { readPastRun } from "../../src/train/past-run.js";
import { folderOf } from "../helpers/files.js";
import { pastRun } from "../helpers/past-runs.js";

const compareFolders = async (...folders: string[]): Promise<Comparison> =>
  compareRuns(await Promise.all(folders.map(readPastRun)));
const measure = ({ measures }: Comparison, name: string) => measures.find((each) => each.name === name)!;

describe("settings", () => {
  test("every leaf that differs is named, with a value a run, and no other", () => {
    const a = { seed: 1, grpo: { steps: 5, loss: { kl: 0.1 } }, rewards: [{ kind: "maths" }], only: { a: true } };
    const b = { grpo: { loss: { kl: 0.2 }, steps: 5 }, seed: 1, rewards: [{ kind: "exact" }] };
    expect(settingDifferences([a, b])).toEqual([
      { key: "grpo.loss.kl", values: [0.1, 0.2] },
      { key: "rewards", values: [[{ kind: "maths" }], [{ kind: "exact" }]] },
      { key: "only.a", values: [true, undefined] },
    ]);
  });

  test("the order of keys is no difference, in lists neither; an empty group is a value", () => {
    expect(settingDifferences([{ a: [{ x: 1, y: 2 }] }, { a: [{ y: 2, x: 1 }] }])).toEqual([]);
    expect(settingDifferences([{ a: {} }, { a: { b: 1 } }]).map(({ key }) => key)).toEqual(["a", "a.b"]);
  });
});

describe("settings of algorithms", () => {
  const grpo = { algorithm: "grpo", grpo: { steps: 5, beta: 1 }, dpo: { beta: 1 } };

  test("are compared among the runs that read them", () => {
    const dpo = { algorithm: "dpo", grpo: { steps: 9, beta: 1 }, dpo: { beta: 2 } };
    expect(settingDifferences([grpo, dpo])).toEqual([{ key: "algorithm", values: ["grpo", "dpo"] }]);
    expect(settingDifferences([grpo, dpo, { ...grpo, grpo: { steps: 7, beta: 1 } }])).toEqual([
      { key: "algorithm", values: ["grpo", "dpo", "grpo"] },
      { key: "grpo.steps", values: [5, 9, 7] },
    ]);
    expect(settingDifferences([{ ...grpo, dpo: { beta: 3 } }, grpo])).toEqual([]);
  });

  test("of a recipe without a choice are all compared", () => {
    const keys = settingDifferences([{ grpo: { steps: 5 } }, { grpo: { steps: 6 } }]).map(({ key }) => key);
    expect(keys).toEqual(["grpo.steps"]);
  });
});

test("other settings that come to the same held-out problems are no warning", async () => {
  const { settings, notes } = await compareFolders(
    pastRun({ config: { evaluation: { problems: 10 } } }),
    pastRun({ config: { evaluation: { problems: 256 } } }),
  );
  expect(settings).toEqual([{ key: "evaluation.problems", values: [10, 256] }]);
  expect(notes).toEqual([]);
});

describe("ablations", () => {
  const rlmt = (change: object, more = {}) =>
    pastRun({
      recipe: "rlmt",
      config: { data: [{ source: "a.jsonl", weight: 1 }], reward: { model: "rm-a" }, ...change },
      ...more,
    });

  test("of the prompt mix: the sources that differ, and that the prompts do", async () => {
    const mixed = [
      { source: "a.jsonl", weight: 3 },
      { source: "b.jsonl", weight: 1 },
    ];
    const comparison = await compareFolders(rlmt({}), rlmt({ data: mixed, mixture: { exhausted: "leave" } }));
    expect(comparison.settings).toEqual([
      { key: "data", values: [[{ source: "a.jsonl", weight: 1 }], mixed] },
      { key: "mixture.exhausted", values: [undefined, "leave"] },
    ]);
    expect(comparison.notes).toEqual(["the prompts of training are not the same"]);
    expect(measure(comparison, "held-out/sampled").differences[1]).toMatchObject({ how: "paired problems", n: 10 });
  });

  test("of runs that left out other numbers of rows: it is said", async () => {
    const leaving = (left: number) => {
      const folder = rlmt({});
      const data = [{ source: "a.jsonl", rows: 9, dropped: { where: 1, long: left }, truncated: 0 }];
      writeFileSync(join(folder, "summary.json"), JSON.stringify({ recipe: "rlmt", data }));
      return folder;
    };
    const [a, b, c] = [leaving(2), leaving(4), leaving(2)];
    expect((await compareFolders(a, b, c)).notes).toEqual([
      `${a} and ${b} left out 3 and 5 rows of their data: they are not trained on the same`,
    ]);
  });

  test("of runs that left out as many rows, but others: it is said by the prompts that they used", async () => {
    const using = (sha256: string) => {
      const folder = rlmt({});
      const data = [{ source: "a.jsonl", rows: 9, dropped: { long: 1 }, truncated: 0 }];
      writeFileSync(
        join(folder, "summary.json"),
        JSON.stringify({ recipe: "rlmt", data, prompts: { count: 8, sha256 } }),
      );
      return folder;
    };
    const [a, b, c] = [using("aa"), using("bb"), using("aa")];
    expect((await compareFolders(a, b, c)).notes).toEqual([
      `${a} and ${b} are not trained on the same prompts, though as many rows are left out`,
    ]);
  });

  test("figures that one run lacks are named", async () => {
    const full = rlmt({}, { figures: () => ({ malformed: 0.1, kl: 0.2, "length/thought": 3, "style/steps": 1 }) });
    const bare = rlmt({});
    expect((await compareFolders(full, bare)).notes).toEqual([
      `${bare} has no malformed, start; no malformed, end; no KL to the reference, end`,
    ]);
  });

  test("shares of steps keep within 0 and 1, and those that are all alike have no interval", async () => {
    const shares = (share: (step: number) => number) =>
      rlmt({}, { figures: (step: number) => ({ malformed: share(step) }) });
    const comparison = await compareFolders(
      shares((step) => (step % 2 === 0 ? 1 : 0.9)),
      shares(() => 1),
    );
    const [spread, alike] = measure(comparison, "malformed/end").values;
    expect(spread!.interval![1]).toBe(1);
    expect(alike).toMatchObject({ mean: 1, interval: null });
  });

  test("of the reward model: its setting, and that rewards are not on one scale", async () => {
    const comparison = await compareFolders(rlmt({}), rlmt({ reward: { model: "rm-b" } }));
    expect(comparison.settings).toEqual([{ key: "reward.model", values: ["rm-a", "rm-b"] }]);
    expect(comparison.notes).toEqual(["the rewards are not the same, so the rows about reward are not on one scale"]);
  });

  test("a run that trains on what it sampled before says whose rewards they are, and takes as long as its last step", async () => {
    const folder = rlmt({}, { steps: 4, phase: "dpo" });
    const trained = Array.from({ length: 6 }, (_, i) => ({ phase: "dpo", step: 5 + i, seconds: 20 + i, loss: 0.5 }));
    appendFileSync(join(folder, "metrics.jsonl"), trained.map((line) => `${JSON.stringify(line)}\n`).join(""));
    const { measures: all, notes, runs } = await compareFolders(rlmt({}, { steps: 4 }), folder);
    expect(notes).toEqual([
      `${folder}: its last 6 steps train on what was sampled before: only held-out figures are of the policy that it ends with`,
    ]);
    expect(runs[1]).toMatchObject({ phase: "dpo", steps: 4 });
    const ends = all.filter(({ name }) => name.endsWith("/end"));
    expect(ends.length).toBeGreaterThan(0);
    for (const { values, differences } of ends) expect([values[1], differences[1]]).toEqual([null, null]);
    expect(all.find(({ name }) => name === "reward/mean/start")!.values[1]).not.toBeNull();
    expect(all.find(({ name }) => name === "seconds")!.values.map((value) => value!.mean)).toEqual([8, 25]);
  });

  test("of the algorithm: GRPO, PPO and DPO by the figures that they share", async () => {
    const loop = (phase: string) =>
      rlmt({ algorithm: phase }, { phase, figures: () => ({ malformed: 0.1, "length/answer": 9 }) });
    const comparison = await compareFolders(loop("grpo"), loop("ppo"), loop("dpo"));
    expect(comparison.runs.map(({ phase }) => phase)).toEqual(["grpo", "ppo", "dpo"]);
    expect(comparison.settings).toEqual([{ key: "algorithm", values: ["grpo", "ppo", "dpo"] }]);
    for (const name of ["reward/mean/end", "malformed/end", "length/answer/end", "held-out/sampled"])
      expect(
        measure(comparison, name).values.every((value) => value !== null),
        name,
      ).toBe(true);
  });
});

describe("figures", () => {
  test("of the ends, the best, and the cost", async () => {
    const figures = (step: number) => ({ "length/answer": 10 * step, kl: 0.1, "style/steps": step });
    const comparison = await compareFolders(pastRun({ figures }), pastRun({ reward: (step) => step / 20 + 0.5 }));
    expect([1, 2, 6, 12, 20, 60, 120, 1000].map(windowOf)).toEqual([1, 1, 3, 5, 5, 6, 12, 20]);
    expect(measure(comparison, "reward/mean/start").values[0]).toMatchObject({ mean: expect.closeTo(0.15, 12), n: 5 });
    expect(measure(comparison, "reward/mean/end").values[1]!.mean).toBeCloseTo(1.4, 12);
    expect(measure(comparison, "reward/best").values.map((value) => value!.mean)).toEqual([1, 1.5]);
    expect(measure(comparison, "length/answer/end").values).toEqual([expect.objectContaining({ mean: 180 }), null]);
    expect(measure(comparison, "length/answer/end").differences).toEqual([null, null]);
    expect(measure(comparison, "style/steps/end").values[0]!.mean).toBe(18);
    expect(measure(comparison, "tokens").values[0]!.mean).toBe(20 * 150);
    expect(measure(comparison, "seconds").values[0]!.mean).toBe(40);
    expect(comparison.measures.some(({ name }) => name.startsWith("length/thought"))).toBe(false);
  });

  test("steps of the same number are paired: a constant difference has no width", async () => {
    const comparison = await compareFolders(pastRun(), pastRun({ reward: (step) => step / 20 + 0.25 }));
    const [, difference] = measure(comparison, "reward/mean/end").differences;
    expect(difference).toMatchObject({ how: "paired steps", n: 5, mean: expect.closeTo(0.25, 12) });
    expect(difference!.interval![1] - difference!.interval![0]).toBeLessThan(1e-12);
  });

  test("few values have no interval", async () => {
    const comparison = await compareFolders(pastRun({ steps: 8 }), pastRun({ steps: 8 }));
    expect(measure(comparison, "reward/mean/end").values[0]).toEqual({
      mean: expect.any(Number),
      interval: null,
      n: 4,
    });
    expect(measure(comparison, "reward/mean/end").differences[1]).toEqual({
      mean: 0,
      interval: null,
      n: 4,
      how: "no interval",
    });
  });

  test("runs of other lengths are not paired, and it is said", async () => {
    const comparison = await compareFolders(pastRun(), pastRun({ steps: 40 }));
    expect(measure(comparison, "reward/mean/end").differences[1]).toMatchObject({ how: "unpaired steps" });
    expect(comparison.notes).toContain("the runs have 20, 40 steps: ends are those of each run");
  });

  test("the same runs give the same document", async () => {
    const folders = [pastRun(), pastRun({ reward: (step) => Math.sin(step) })];
    expect(await compareFolders(...folders)).toEqual(await compareFolders(...folders));
  });
});

describe("held-out figures", () => {
  test("how the answers are written, paired where both are known", async () => {
    const unread = { malformed: true, thoughtTokens: null, answerTokens: null };
    const think = pastRun({ written: (p) => (p === 0 ? unread : { thoughtTokens: 20 + p, answerTokens: 7 }) });
    const comparison = await compareFolders(pastRun(), think);
    const means = (name: string) => measure(comparison, name).values.map((value) => value!.mean);
    expect(means("held-out/thought")).toEqual([0, 25]);
    expect(means("held-out/answer")).toEqual([3, 7]);
    expect(means("held-out/malformed")).toEqual([0, 0.1]);
    expect(measure(comparison, "held-out/answer").differences[1]).toMatchObject({
      how: "paired problems",
      n: 9,
      mean: 4,
    });
    expect(measure(comparison, "held-out/malformed").differences[1]).toMatchObject({ n: 10, mean: 0.1 });
  });

  const grades = (right: (problem: number) => boolean, problems = 40) =>
    Object.fromEntries(Array.from({ length: problems }, (_, problem) => [problem, Number(right(problem))]));

  test("right or wrong has Wilson's interval; the difference is over the same problems", async () => {
    const [a, b] = [grades((p) => p % 4 === 0), grades((p) => p % 4 <= 1)];
    const comparison = await compareFolders(pastRun({ heldOut: a }), pastRun({ heldOut: b }));
    const { values, differences } = measure(comparison, "held-out/sampled");
    expect(values[0]).toEqual({ mean: 0.25, n: 40, interval: wilson(10, 40).interval });
    expect(differences[1]).toMatchObject({ how: "paired problems", n: 40, mean: 0.25 });
    expect(differences[1]!.interval![0]).toBeGreaterThan(0);
    expect(comparison.notes).toEqual([]);
  });

  test("pairing shows what the runs' own intervals hide", async () => {
    const reward = (p: number) => Math.sin(p) * 10; // problems differ by far more than the runs
    const of = (gain: number) =>
      Object.fromEntries(Array.from({ length: 30 }, (_, p) => [p, reward(p) + gain * (1 + (p % 3))]));
    const comparison = await compareFolders(
      pastRun({ heldOut: of(0), figure: "reward" }),
      pastRun({ heldOut: of(0.1), figure: "reward" }),
    );
    const { values, differences } = measure(comparison, "held-out/sampled");
    expect(values[0]!.interval![1]).toBeGreaterThan(values[1]!.interval![0]);
    expect(differences[1]!.interval![0]).toBeGreaterThan(0.1);
  });

  test("only problems in common are paired, asked in the same words", async () => {
    const one = pastRun({ heldOut: grades(() => true, 10) });
    const some = pastRun({ heldOut: grades(() => false, 6) });
    const others = pastRun({ heldOut: grades(() => false, 10), question: (problem) => `Other ${problem}?` });
    const comparison = await compareFolders(one, some, others);
    expect(measure(comparison, "held-out/sampled").differences).toMatchObject([
      null,
      { how: "paired problems", n: 6, mean: -1 },
      { how: "unpaired problems", n: 10, mean: -1 },
    ]);
    expect(comparison.notes).toEqual([
      expect.stringContaining("have 6 held-out problems in common, of 10 and 6"),
      expect.stringContaining("have 0 held-out problems in common: their difference is not paired"),
    ]);
  });

  test("answers that could not be graded are left out", async () => {
    const comparison = await compareFolders(
      pastRun({ heldOut: { 0: 1, 1: null, 2: 0, 3: 1, 4: 1, 5: 1, 6: 0 } }),
      pastRun({ heldOut: { 0: 1, 1: 1, 2: 1, 3: null, 4: 1, 5: 1, 6: 0 } }),
    );
    const { values, differences } = measure(comparison, "held-out/sampled");
    expect([values[0]!.n, values[1]!.n, differences[1]!.n]).toEqual([6, 6, 5]);
  });

  test("a run without any is said, and one that kept means only has no interval", async () => {
    const bare = pastRun({ heldOut: {} });
    expect((await compareFolders(pastRun(), bare)).notes).toContainEqual(
      expect.stringContaining(`no held-out figure of ${bare}`),
    );
    const means = pastRun();
    rmSync(join(means, "held-out.jsonl"));
    const comparison = await compareFolders(pastRun(), means);
    expect(measure(comparison, "held-out/sampled").values[1]).toEqual({ mean: 0.5, interval: null, n: 0 });
    expect(measure(comparison, "held-out/sampled").differences[1]).toMatchObject({ mean: 0, how: "no interval" });
    expect(comparison.notes).toContainEqual(expect.stringContaining("held-out figures without answers: no interval"));
  });

  test("figures of other names have no difference", async () => {
    const comparison = await compareFolders(pastRun(), pastRun({ figure: "reward" }));
    expect(measure(comparison, "held-out/sampled").differences).toEqual([null, null]);
    expect(comparison.notes).toContainEqual(
      expect.stringContaining("have different held-out figures, pass@1 and reward"),
    );
  });
});

describe("whether runs may be compared", () => {
  test("recipes, rewards, prompts and held-out problems that differ are said", async () => {
    const first = pastRun({ config: { data: "a", rewards: [1], evaluation: { data: "x", every: 1 } } });
    const second = pastRun({
      recipe: "other",
      config: { data: "b", rewards: [2], evaluation: { data: "y", every: 2 } },
      question: (problem) => `${problem < 8 ? "Problem" : "Other"} ${problem}?`,
      finished: false,
    });
    const { notes, settings, runs } = await compareFolders(first, second);
    expect(settings.map(({ key }) => key)).toEqual(["data", "rewards", "evaluation.data", "evaluation.every"]);
    expect(runs[1]).toMatchObject({ recipe: "other", finished: false });
    expect(notes).toEqual([
      `${second}: not finished, 20 steps so far`,
      expect.stringContaining("the recipes differ: rlvr, other"),
      expect.stringContaining("the rewards are not the same"),
      "the prompts of training are not the same",
      expect.stringContaining("the held-out problems are not the same"),
      expect.stringContaining("have 8 held-out problems in common, of 10 and 10: those are paired"),
    ]);
  });

  test("one run is none to compare", async () => {
    const runs = [await readPastRun(pastRun())];
    expect(() => compareRuns(runs)).toThrow(expect.objectContaining({ code: "COMPARE_RUNS" }));
  });
});

describe("reading a run folder", () => {
  const refused = (code: string, text: string) =>
    expect.objectContaining({ code, message: expect.stringContaining(text) });
  const line = (record: object) => `${JSON.stringify(record)}\n`;
  const recipe = line({ recipe: "quickstart", config: {} });

  test.each<[string, Record<string, string>, string, string]>([
    ["no run folder", {}, "COMPARE_FOLDER", "expected a run folder with recipe.json, got none"],
    ["another recipe.json", { "recipe.json": line({ a: 1 }) }, "COMPARE_FOLDER", "expected {recipe, config}"],
    ["no JSON in recipe.json", { "recipe.json": "{" }, "COMPARE_FOLDER", "expected JSON"],
    [
      "no metrics",
      { "recipe.json": recipe },
      "COMPARE_METRICS",
      "expected steps with reward/mean in metrics.jsonl, got none",
    ],
    [
      "no policy",
      { "recipe.json": recipe, "metrics.jsonl": line({ phase: "sft", step: 1, loss: 1 }) },
      "COMPARE_METRICS",
      "trained a policy",
    ],
    [
      "a line of another kind",
      { "recipe.json": recipe, "metrics.jsonl": `${line({ step: 1 })}${line({ phase: "a", step: 1 })}` },
      "JSONL_LINE",
      "metrics.jsonl:1] expected a line as a run writes it",
    ],
    [
      "damage in the middle",
      { "recipe.json": recipe, "metrics.jsonl": `{"phase": "gr\n${line({ phase: "a", step: 1 })}` },
      "JSONL_LINE",
      "metrics.jsonl:1] expected one JSON value",
    ],
  ])("%s", async (_, files, code, text) => {
    await expect(readPastRun(folderOf(files))).rejects.toThrow(refused(code, text));
  });

  test("nothing there", async () => {
    await expect(readPastRun("/no/such/run")).rejects.toThrow(refused("COMPARE_FOLDER", "[/no/such/run]"));
  });

  test("what a killed run leaves: half a line at the end of either file is passed over and told", async () => {
    for (const file of ["metrics.jsonl", "held-out.jsonl"]) {
      const folder = pastRun();
      const path = join(folder, file);
      const size = readFileSync(path).length;
      truncateSync(path, size - 5);
      const { notes, steps, evaluations } = await readPastRun(folder);
      expect(notes).toEqual([
        expect.stringMatching(/^its last line is left out: .*jsonl:\d+\] expected one JSON value/),
      ]);
      expect([steps.length, evaluations[0]?.answers?.length]).toEqual([20, file === "held-out.jsonl" ? 9 : 10]);
    }
    const zeros = pastRun();
    appendFileSync(join(zeros, "metrics.jsonl"), Buffer.alloc(64));
    expect((await readPastRun(zeros)).notes).toHaveLength(1);
  });

  test("of several parts the first is taken, and another by its name", async () => {
    const lines = [
      { phase: "sft", step: 1, loss: 2 },
      { phase: "evaluate-sft", step: 1, "pass@1": 0.1 },
      { phase: "grpo", step: 1, "reward/mean": 0.2 },
      { phase: "evaluate-grpo", step: 1, "pass@1": 0.3 },
      { phase: "evaluate-grpo", step: 2, "pass@1": 0.4 },
      { phase: "control", step: 1, "reward/mean": 0.5 },
      { phase: "control", step: 2, "reward/mean": 0.6 },
      { phase: "evaluate-control", step: 1, "pass@1": 0.7 },
    ];
    const folder = folderOf({ "recipe.json": recipe, "metrics.jsonl": lines.map(line).join("") });
    const sketch = ({ phase, steps, evaluations }: RunRecord) => [
      phase,
      steps.length,
      evaluations.map(({ when, step, decoded, mean }) => [when, step, decoded, mean]),
    ];
    const first = await readPastRun(folder);
    expect(sketch(first)).toEqual([
      "grpo",
      1,
      [
        ["before", 0, "sampled", 0.1],
        ["after", 1, "sampled", 0.3],
        ["after", 1, "greedy", 0.4],
      ],
    ]);
    expect(first.notes).toEqual([`part grpo; it has also trained in control: name one as ${folder}#control`]);
    expect(sketch(await readPastRun(`${folder}#control`))).toEqual([
      "control",
      2,
      [
        ["before", 0, "sampled", 0.3],
        ["before", 0, "greedy", 0.4],
        ["after", 2, "sampled", 0.7],
      ],
    ]);
    await expect(readPastRun(`${folder}#nothing`)).rejects.toThrow(
      refused("COMPARE_FOLDER", "one of the parts grpo, control"),
    );
  });

  test("a file's last byte may be missing", async () => {
    const folder = pastRun();
    const path = join(folder, "metrics.jsonl");
    writeFileSync(path, readFileSync(path, "utf8").trimEnd());
    expect(await readPastRun(folder)).toMatchObject({ notes: [] });
  });
});

describe("a second judge", () => {
  const set = async (answer: (problem: number) => string, problems = 8) => {
    const heldOut = Object.fromEntries(Array.from({ length: problems }, (_, problem) => [problem, 0]));
    return (await readPastRun(pastRun({ heldOut, answer }))).evaluations[0]!;
  };
  const length = async (answers: readonly { answer: string }[]) => answers.map(({ answer }) => answer.length);

  test("wins, ties and losses, problem by problem; ties count half", async () => {
    const a = await judgeSet(await set(() => "four"), length);
    const b = await judgeSet(await set((problem) => "x".repeat(problem)), length);
    expect(winRate(a, b)).toEqual({
      n: 8,
      wins: 3,
      ties: 1,
      losses: 4,
      rate: 3.5 / 8,
      interval: winShare([1, 1, 1, 0.5, 0, 0, 0, 0]).interval,
    });
    expect(winRate(b, a).rate).toBe(1 - 3.5 / 8); // the order of the two is of no account
    expect(b).toMatchObject({ figure: "score", mean: 3.5 });
  });

  test("an answer that could not be scored is in no pair", async () => {
    const a = await judgeSet(await set(() => "four"), length);
    const b = await judgeSet(await set(String), async (answers) => answers.map((_, i) => (i < 2 ? Number.NaN : 9)));
    expect(winRate(a, b)).toMatchObject({ n: 6, wins: 6 });
  });

  test("no problems in common, no rate", async () => {
    const a = await judgeSet(await set(String, 0 + 2), length);
    expect(winRate(a, { ...a, answers: [] })).toEqual({
      n: 0,
      wins: 0,
      ties: 0,
      losses: 0,
      rate: null,
      interval: null,
    });
  });

  test("is part of a comparison", async () => {
    const runs = await Promise.all([pastRun({ answer: () => "a" }), pastRun({ answer: () => "bb" })].map(readPastRun));
    const sets = await Promise.all(runs.map(({ evaluations }) => judgeSet(evaluations[0]!, length)));
    const comparison = compareRuns(runs, {
      judge: "lengths",
      sets,
      wins: [null, winRate(sets[0]!, sets[1]!)],
      notes: [],
    });
    expect(measure(comparison, "judge/score").differences[1]).toMatchObject({ mean: 1, how: "paired problems" });
    expect(measure(comparison, "judge/win_rate").values).toEqual([
      null,
      { mean: 1, n: 10, interval: winShare(Array(10).fill(1)).interval },
    ]);
    expect(comparison.judge).toMatchObject({ name: "lengths", wins: [null, { n: 10, wins: 10, rate: 1 }] });
    const alone = compareRuns(runs);
    expect(alone.judge).toBeNull();
    expect(comparison.measures.filter(({ name }) => !name.startsWith("judge/"))).toEqual(alone.measures);
    expect(comparison.notes).toEqual([
      expect.stringMatching(/^lengths judges .*: 10 wins, 0 ties, 0 losses on 10 problems$/),
    ]);
  });
});
