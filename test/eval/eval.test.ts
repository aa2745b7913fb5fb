// Held-out evaluation: intervals against published values, one generate call, and the figures of thoughts.
import { describe, expect, test } from "vitest";
import { evaluateTrial, thoughtFigures } from "../../src/eval/countdown-trial.js";
import { passAt1 } from "../../src/eval/pass-at-1.js";
import { showShare, wilson } from "../../src/objective/intervals.js";
import { encodeTrial, gradeTrial, TRIAL_VOCAB_SIZE, type TrialProblem } from "../../src/tasks/countdown-trial.js";
import { FakeEngine, fakeSpec } from "../helpers/fake-engine.js";

describe("wilson", () => {
  // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
  test.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])("%i of %i", (correct, n, low, high) => {
    const share = wilson(correct, n);
    expect(share.interval[0]).toBeCloseTo(low, 4);
    expect(share.interval[1]).toBeCloseTo(high, 4);
    expect(share).toMatchObject({ n, correct, rate: correct / n });
  });

  test("shown in percent", () => expect(showShare(wilson(15, 148))).toBe("10.1 [6.2, 16.0]"));
});

describe("passAt1", () => {
  test("samples every problem once, in one call, and keeps who was right", async () => {
    const engine = new FakeEngine(fakeSpec(4, 0));
    const problems = [1, 2, 3, 1, 2];
    const { pass, samples, correct } = await passAt1(engine, {
      problems,
      promptOf: (problem) => Int32Array.from([problem]),
      isCorrect: (problem, sample) => sample.prompt[0] === problem && problem < 3,
      sampling: { maxTokens: 4 },
      seed: 1,
    });
    expect(engine.calls).toEqual(["generate"]);
    expect(samples).toHaveLength(5);
    expect(correct).toEqual([true, true, false, true, true]);
    expect(pass).toMatchObject({ n: 5, correct: 4, rate: 0.8 });
    expect(pass.tokensPerSecond).toBeGreaterThan(0);
  });
});

const problem: TrialProblem = { id: 0, numbers: [3, 2, 1], target: 6 };
const grade = (text: string) => gradeTrial(problem, encodeTrial(text), { thinking: true });

test("thoughtFigures are means over all samples, right or wrong", () => {
  const figures = thoughtFigures([
    grade("3 + 2 = 5 ; 5 + 1 = 6 ok </think> <answer> ( 3 + 2 ) + 1 </answer> <eos>"),
    grade("3 - 2 = 1 ; 1 + 1 = 2 x 3 + 1 = 4 ; 4 - 2 = 2 x stop </think> <answer> 1 + 1 </answer> <eos>"),
  ]);
  expect(figures).toEqual({ attempts: 1.5, thoughtTokens: (12 + 25) / 2, gaveUp: 0.5 });
});

/** A table model that writes one text after any prompt: every token of the text must be unlike the others. */
function parrot(ids: readonly number[], start: number): FakeEngine {
  const v = TRIAL_VOCAB_SIZE;
  const table = new Float64Array(v * v);
  ids.forEach((id, at) => {
    table[(at === 0 ? start : ids[at - 1]!) * v + id] = 1000;
  });
  return new FakeEngine(fakeSpec(v, ids.at(-1)!), {}, table);
}

describe("evaluateTrial", () => {
  const think = encodeTrial("<think>")[0]!;
  const sampling = { temperature: 0, maxTokens: 40 };
  const question = { problems: [problem, problem], thinking: true, sampling, seed: 0 };
  const signal = new AbortController().signal;

  test("grades and counts what the policy wrote", async () => {
    const text = "7 + 2 = 9 ok </think> <answer> 6 </answer> <eos>";
    const { score, grades } = await evaluateTrial(parrot(encodeTrial(text), think), { ...question, signal });
    expect(grades.map((one) => one.correct)).toEqual([false, false]);
    expect(score).toMatchObject({ attempts: 1, thoughtTokens: 6, gaveUp: 0, arithmetic: 1 });
    expect(score.pass).toMatchObject({ n: 2, correct: 0 });
  });

  test("equations that do not hold count against the arithmetic; none at all is null", async () => {
    const wrong = parrot(encodeTrial("7 + 2 = 8 ok </think> <eos>"), think);
    expect((await evaluateTrial(wrong, { ...question, signal })).score.arithmetic).toBe(0);
    const silent = parrot(encodeTrial("</think> <eos>"), think);
    expect((await evaluateTrial(silent, { ...question, signal })).score.arithmetic).toBeNull();
  });

  test("banned ids are not sampled", async () => {
    const engine = parrot(encodeTrial("stop </think> <eos>"), think);
    const free = await evaluateTrial(engine, { ...question, signal });
    expect(free.score.gaveUp).toBe(1);
    const forbidding = { ...sampling, bannedTokenIds: encodeTrial("stop") };
    const banned = await evaluateTrial(engine, { ...question, signal, sampling: forbidding });
    expect(banned.score.gaveUp).toBe(0);
  });
});
