// The sentence on what was learnt says no more than the figures: each case is a pair of arms with made-up figures.
import { describe, expect, test } from "vitest";
import type { TrialScore } from "../../src/eval/countdown-trial.js";
import { type Arm, armTable, armWork, whatWasLearnt } from "../../src/methods/trial-report.js";
import { wilson } from "../../src/objective/intervals.js";
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
  const evaluation = { score, samples: [], grades };
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
    expect(whatWasLearnt(before, arm("GRPO", 60, longer))).toMatch(/^Nothing that these figures can show/);
    expect(whatWasLearnt(before, arm("GRPO", 40, longer))).toMatch(/^The policy got worse: .* from 30\.0% to 20\.0%/);
  });
});

test("the table gives each arm its share, interval and thought", () => {
  const [title, columns, rows] = armTable(n, [arm("SFT", 60, {})]);
  expect(title).toContain("200 problems");
  expect(rows[0]).toHaveLength(columns.length);
  expect(rows[0]).toEqual([
    "SFT",
    "30.0 [24.1, 36.7]",
    "30.0 [24.1, 36.7]",
    "2.0 / 2.0",
    "30 / 30",
    "50.0 / 50.0",
    "0",
  ]);
});

test("work grows with each part's settings", () => {
  const grpo = { steps: 10, prompts: 4, samplesPerPrompt: 2, epochs: 1, sampling: { maxTokens: 20 } };
  const settings = { sft: { steps: 10, tokensPerStep: 100 }, grpo, evaluation: { problems: 8 } };
  const work = (change: object) => armWork({ ...settings, ...change } as Parameters<typeof armWork>[0]);
  const base = work({});
  expect(work({ sft: { steps: 20, tokensPerStep: 100 } }).sft).toBe(2 * base.sft);
  expect(work({ grpo: { ...grpo, prompts: 8 } }).grpo).toBe(2 * base.grpo);
  expect(work({ evaluation: { problems: 16 } }).evaluation).toBe(2 * base.evaluation);
});
