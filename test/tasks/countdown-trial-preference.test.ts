// Preferences of the trial and its demonstrations as texts: what is chosen is better by the verifier, whatever the kind of pair.
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { NULL_ANSWER } from "../../src/prompt/thinking.js";
import { gradeCountdown } from "../../src/tasks/countdown.js";
import {
  decodeTrial,
  demonstration,
  demonstrationText,
  encodeTrial,
  preference,
  sampleProblem,
  type TrialPreference,
  trialSplit,
} from "../../src/tasks/countdown-trial.js";

const { train } = trialSplit();

const draw = (count: number, weights?: readonly number[]): TrialPreference[] => {
  const stream = random(7);
  return Array.from({ length: count }, () => preference(train, stream, weights));
};

const gradeOf = ({ problem }: TrialPreference, answer: string) => gradeCountdown(answer, problem, { useAll: true });

/** Of an expression of two operations, by JavaScript. */
const resultOf = (answer: string): number => new Function(`return ${answer}`)() as number;

describe("preferences", () => {
  test("right against wrong: the chosen answer hits the target, the rejected one obeys the rules and misses it", () => {
    for (const pair of draw(300, [1, 0, 0])) {
      expect(gradeOf(pair, pair.chosen).correct).toBe(true);
      expect(gradeOf(pair, pair.rejected).reason).toBe("wrong value");
    }
  });

  test("near against far: both miss, the chosen one by less", () => {
    for (const pair of draw(300, [0, 1, 0])) {
      const [near, far] = [pair.chosen, pair.rejected].map((answer) =>
        Math.abs(resultOf(answer) - pair.problem.target),
      );
      expect(near).toBeGreaterThan(0);
      expect(near).toBeLessThan(far!);
    }
  });

  test("by the rules against not: the rejected answer is torn, or hits the target with other numbers", () => {
    const reasons = new Set<string | null>();
    const torn = new Set<string>();
    for (const pair of draw(400, [0, 0, 1])) {
      const [chosen, rejected] = [gradeOf(pair, pair.chosen), gradeOf(pair, pair.rejected)];
      expect([null, "wrong value"]).toContain(chosen.reason);
      expect(rejected.correct).toBe(false);
      expect(rejected.reason).not.toBe("wrong value");
      reasons.add(rejected.reason);
      if (rejected.reason === "number not available") expect(resultOf(pair.rejected)).toBe(pair.problem.target);
      else torn.add(pair.rejected);
    }
    expect(reasons).toContain("number not available");
    expect(torn).toContain(NULL_ANSWER);
    expect(torn.size).toBeGreaterThan(50);
  });

  test("all kinds come in the shares of their weights, every word is a token, and a seed gives the same pairs", () => {
    const pairs = draw(1000);
    const rules = pairs.filter((pair) => ![null, "wrong value"].includes(gradeOf(pair, pair.rejected).reason));
    expect(rules.length / 1000).toBeGreaterThan(0.1);
    expect(rules.length / 1000).toBeLessThan(0.4);
    for (const { chosen, rejected } of pairs) {
      expect(chosen).not.toBe(rejected);
      if (rejected === NULL_ANSWER) continue;
      expect(() => [encodeTrial(chosen), encodeTrial(rejected)]).not.toThrow();
    }
    expect(draw(1000)).toEqual(pairs);
  });
});

test("demonstrations as texts are those of the same draws as ids", () => {
  for (let i = 0; i < 200; i++) {
    const problem = sampleProblem(train, random(31, i));
    const { thinking, response } = demonstrationText(problem, random(32, i));
    const ids = demonstration(problem, random(32, i));
    expect(`${thinking} </think> <answer> ${response} </answer> <eos>`).toBe(decodeTrial(ids));
  }
});
