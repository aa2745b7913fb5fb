// The sentence on what was learnt says no more than the figures: each case is a pair of arms with made-up figures.
import { describe, expect, test } from "vitest";
import type { TrialScore } from "../../src/eval/countdown-trial.js";
import { type Arm, armTable, armWork, whatWasLearnt } from "../../src/methods/trial-report.js";
import { wilson } from "../../src/objective/intervals.js";
import { tableLines } from "../../src/report/table.js";
import type { TrialGrade } from "../../src/tasks/countdown-trial.js";

const n = 200;

function arm(title: string, correct: number, thought: Partial<TrialScore>): Arm {
  const pass = { ...wilson(correct, n), seconds: 1, tokensPerSecond: 1 };
  const score: TrialScore = { pass, attempts: 2, thoughtTokens: 30.4, gaveUp: 0.5, arithmetic: 0.98, ...thought };
  const grades = Array.from({ length: n }, (_, p): TrialGrade => {
    const right = p < correct;
    return {
      correct: right,
      reason: null,
      wellFormed: true,
      gaveUp: false,
      attempts: 1,
      thoughtTokens: 1,
      answerText: "",
    };
  });
  const evaluation = { score, completions: [], grades };
  return { name: title, title, cost: null, judged: { sampled: evaluation, greedy: evaluation }, parameters: 1 };
}

describe("whatWasLearnt", () => {
  const before = arm("SFT", 60, {});

  test.each([
    [
      "more attempts, arithmetic as before",
      { attempts: 4.5, gaveUp: 0.002 },
      /^The policy learnt to keep searching rather than new/,
    ],
    ["more attempts and better arithmetic", { attempts: 4.5, arithmetic: 1 - 1e-9, gaveUp: 0 }, /keep searching/],
    ["as many attempts, better arithmetic", { arithmetic: 1.01 }, /^The policy learnt to reckon better rather than/],
    ["neither", {}, /^The policy learnt to choose better attempts/],
  ])("%s", (_, thought, sentence) => expect(whatWasLearnt(before, arm("GRPO", 150, thought))).toMatch(sentence));

  test("gives the figures that it speaks of", () => {
    const after = arm("GRPO", 150, { attempts: 4.5, gaveUp: 0.002, arithmetic: 0.981 });
    expect(whatWasLearnt(before, after)).toBe(
      "The policy learnt to keep searching rather than new arithmetic: pass@1 went from 30.0% to 75.0%, " +
        "attempts a problem from 2.0 to 4.5, giving up from 50.0% to 0.2%, equations that hold from 98.0% to 98.1%.",
    );
  });

  test("no difference, or a worse policy, is said to be that", () => {
    const longer = { attempts: 9 };
    expect(whatWasLearnt(before, arm("GRPO", 61, longer))).toBe(
      "200 problems do not show whether the policy got better: pass@1 went from 30.0% to 30.5%, " +
        "a difference of 0.5 points with a 95% interval of -0.9 to 1.9.",
    );
    expect(whatWasLearnt(before, arm("GRPO", 40, longer))).toMatch(/^The policy got worse: .* from 30\.0% to 20\.0%/);
  });

  test("where every pair is equal there is no interval", () => {
    expect(whatWasLearnt(before, arm("GRPO", 60, { attempts: 9 }))).toBe(
      "pass@1 did not change: sampled, the same 60 of 200 problems are solved before and after.",
    );
  });
});

test("the table gives each arm its share, interval and thought", () => {
  const { title, columns, rows } = armTable(n, [arm("SFT", 60, {})]);
  expect(title).toBe("Held-out pass@1 in % with its 95% interval, 200 problems");
  const figures = ["30.0", "24.1-36.7", "2.0", "30", "50.0%"];
  expect(rows).toEqual([
    ["SFT", "sampled", ...figures, "-"],
    ["", "greedy", ...figures, ""],
  ]);
  for (const row of rows) expect(row).toHaveLength(columns.length);
});

test("the table of all arms fits in 80 columns, its figures to the right", () => {
  const names = ["SFT", "SFT, then GRPO", "SFT continued", "SFT, no giving up", "no thinking: GRPO"];
  const cost = { steps: 1, seconds: 123, tokens: 1, tokensPerSecond: 1, best: null };
  const arms = names.map((name) => ({ ...arm(name, n, { thoughtTokens: 144, gaveUp: 1, attempts: 10 }), cost }));
  const { title, columns, rows, legend } = armTable(1024, arms);
  const lines = tableLines(columns, rows, { width: 80 });
  for (const line of [title, ...lines, ...legend]) expect([...line].length).toBeLessThanOrEqual(80);
  expect(lines[2]).toMatch(/^SFT +sampled +100\.0 98\.1-100\.0 +10\.0 +144 +100\.0% 123 s$/);
  expect(lines[0]).toMatch(/pass@1 +interval attempts thought gave up train$/);
});

test("work grows with each part's settings", () => {
  const grpo = { steps: 10, prompts: 4, samplesPerPrompt: 2, epochs: 1, sampling: { maxTokens: 20 } };
  const evaluation = { problems: 8, sampling: { maxTokens: null } };
  const settings = { sft: { steps: 10, tokensPerStep: 100 }, grpo, evaluation };
  const work = (change: object) => armWork({ ...settings, ...change } as Parameters<typeof armWork>[0]);
  const base = work({});
  expect(work({ sft: { steps: 20, tokensPerStep: 100 } }).sft).toBe(2 * base.sft);
  expect(work({ grpo: { ...grpo, prompts: 8 } }).grpo).toBe(2 * base.grpo);
  expect(work({ evaluation: { ...evaluation, problems: 16 } }).evaluation).toBe(2 * base.evaluation);
  expect(work({ evaluation: { problems: 8, sampling: { maxTokens: 40 } } }).evaluation).toBe(2 * base.evaluation);
});
