import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { searchTree } from "../../src/tasks/countdown-trial/search.js";
import {
  DEMONSTRATION_DEFAULTS,
  type DemonstrationOptions,
  decodeTrial,
  demonstration,
  encodePrompt,
  encodeTrial,
  giveUpIds,
  gradeTrial,
  sampleProblem,
  symbolId,
  TRIAL_TOKENS,
  type TrialProblem,
  trialMultisets,
  trialSplit,
} from "../../src/tasks/index.js";

const split = trialSplit();
const THINKING = { thinking: true } as const;
const PLAIN = { thinking: false } as const;
const asked: TrialProblem = { id: 0, numbers: [19, 16, 14], target: 11 };

/** Targets by brute force over ordered numbers: every order, every pair of operations, both groupings. */
function slowTargets([a, b, c]: readonly number[]): number[] {
  const inRange = (x: number) => x >= 1 && x <= 99;
  const results = (x: number, y: number) => [x + y, x * y, ...(x >= y ? [x - y] : [y - x])].filter(inRange);
  const found = new Set<number>();
  for (const [x, y, z] of [
    [a, b, c],
    [a, c, b],
    [b, c, a],
  ] as [number, number, number][]) {
    for (const middle of results(x, y)) for (const target of results(middle, z)) found.add(target);
  }
  return [...found].sort((left, right) => left - right);
}

interface Drawn {
  readonly problem: TrialProblem;
  readonly ids: number[];
  readonly words: string[];
}

function draw(count: number, options: Partial<DemonstrationOptions> = {}): Drawn[] {
  return Array.from({ length: count }, (_, i) => {
    const stream = random(31, i);
    const problem = sampleProblem(split.train, stream);
    const ids = demonstration(problem, stream, options);
    return { problem, ids, words: decodeTrial(ids).split(" ") };
  });
}

describe("vocabulary", () => {
  test("ids are stable", () => {
    expect(TRIAL_TOKENS.slice(0, 100)).toEqual(Array.from({ length: 100 }, (_, i) => String(i)));
    expect(TRIAL_TOKENS.slice(100).join(" ")).toBe(
      "<pad> <bos> <eos> <unk> <q> -> <think> </think> <answer> </answer> + - * ( ) = ; x ok stop tie",
    );
    expect(new Set(TRIAL_TOKENS).size).toBe(121);
  });

  test("text to ids and back", () => {
    const ids = TRIAL_TOKENS.map((_, id) => id);
    expect(encodeTrial(decodeTrial(ids))).toEqual(ids);
    expect(() => encodeTrial("1 + 100")).toThrow(/expected a token of the trial, got "100"/);
    expect(() => decodeTrial([121])).toThrow(/expected ids in 0..120, got 121/);
    expect(() => decodeTrial([-1])).toThrow(/got -1/);
  });
});

describe("problems", () => {
  test("every multiset has the targets that brute force finds", () => {
    const multisets = trialMultisets();
    expect(multisets.length).toBe(816);
    for (const { numbers, problems } of multisets) {
      expect(problems.map((problem) => problem.target)).toEqual(slowTargets(numbers));
      expect([...numbers].sort((a, b) => b - a)).toEqual(numbers);
    }
    const ids = multisets.flatMap(({ problems }) => problems.map((problem) => problem.id));
    expect(ids).toEqual(Array.from({ length: 7_885 }, (_, i) => i));
  });

  test("the split has its sizes", () => {
    expect(split.train.length).toBe(653);
    expect(split.train.flatMap((multiset) => multiset.problems).length).toBe(6_285);
    expect([split.monitor.length, split.evaluation.length]).toEqual([576, 1_024]);
  });

  test.each([undefined, 0, 1, 2])("split seed %s: no multiset and no problem is on two sides", (seed) => {
    const { train, monitor, evaluation } = trialSplit(seed);
    const heldOut = [...monitor, ...evaluation];
    const trained = new Set(train.map((multiset) => multiset.numbers.join(" ")));
    expect(heldOut.filter((problem) => trained.has(problem.numbers.join(" ")))).toEqual([]);
    const ids = [...train.flatMap((multiset) => multiset.problems), ...heldOut].map((problem) => problem.id);
    expect(new Set(ids).size).toBe(7_885);
    expect(ids.length).toBe(7_885);
    expect(new Set(heldOut.map((problem) => problem.numbers.join(" "))).size).toBe(163);
  });

  test("the same seed splits alike, another one otherwise", () => {
    expect(trialSplit(5)).toEqual(trialSplit(5));
    expect(trialSplit(5).train).not.toEqual(trialSplit(6).train);
  });

  test("sampling takes multisets alike, however many targets they have", () => {
    const few = split.train.filter((multiset) => multiset.problems.length <= 6);
    const names = new Set(few.map((multiset) => multiset.numbers.join(" ")));
    const stream = random(32);
    const draws = Array.from({ length: 20_000 }, () => sampleProblem(split.train, stream));
    const share = draws.filter((problem) => names.has(problem.numbers.join(" "))).length / draws.length;
    expect(few.length).toBeGreaterThan(30);
    expect(Math.abs(share - few.length / 653)).toBeLessThan(0.01);
  });
});

test("a prompt is 7 tokens", () => {
  expect(decodeTrial(encodePrompt(asked, THINKING))).toBe("<q> 19 16 14 -> 11 <think>");
  expect(decodeTrial(encodePrompt(asked, PLAIN))).toBe("<q> 19 16 14 -> 11 <answer>");
});

describe("demonstrations", () => {
  test.each([
    [0, "4e7ece0fc8b67bd3"],
    [1, "a2a11ef8e6d3b723"],
    [2, "72c560f669a9b3fd"],
  ])("seed %i: 20,000 prompts and completions have the ids they always had", (seed, expected) => {
    const stream = random(seed);
    const hash = createHash("sha256");
    for (let i = 0; i < 20_000; i++) {
      const problem = sampleProblem(split.train, stream);
      hash.update(Int32Array.from([...encodePrompt(problem, THINKING), ...demonstration(problem, stream)]));
    }
    expect(hash.digest("hex").slice(0, 16)).toBe(expected);
  });

  test("a search that is kept is the one made anew", () => {
    for (const { numbers } of split.train) {
      const kept = searchTree(numbers);
      expect(searchTree(numbers)).toBe(kept);
      expect(searchTree([...numbers])).not.toBe(kept);
      expect(searchTree([...numbers])).toEqual(kept);
    }
    const stream = random(35);
    for (let i = 0; i < 2_000; i++) {
      const problem = sampleProblem(split.train, stream);
      const alone: TrialProblem = { ...problem, numbers: [...problem.numbers] };
      expect(demonstration(problem, random(36, i))).toEqual(demonstration(alone, random(36, i)));
    }
  });

  const drawn = draw(4_000);
  const grades = drawn.map(({ problem, ids }) => gradeTrial(problem, ids, THINKING));

  test("are right in 50 to 55% of cases", () => {
    const right = grades.filter((grade) => grade.correct).length / grades.length;
    expect(right).toBeGreaterThan(0.5 - 0.02);
    expect(right).toBeLessThan(0.55);
  });

  test("have the written form: attempts, verdicts, the last attempt as the answer", () => {
    const attempt = String.raw`\d+ [-+*] \d+ = \d+ ; \d+ [-+*] \d+ = \d+`;
    const answer = String.raw`(\( \d+ [-+*] \d+ \) [-+*] \d+|\d+ [-+*] \( \d+ [-+*] \d+ \))`;
    const form = new RegExp(`^(${attempt} x )*${attempt} (ok|x stop) </think> <answer> ${answer} </answer> <eos>$`);
    for (const { words } of drawn) expect(words.join(" ")).toMatch(form);
  });

  test("are wrong exactly when they give up, and never end a thought right after a miss", () => {
    for (const [i, { words }] of drawn.entries()) {
      const stopped = words.includes("stop");
      expect(grades[i]).toMatchObject({ wellFormed: true, gaveUp: stopped, correct: !stopped });
      expect(words[words.indexOf("</think>") - 1]).toBe(stopped ? "stop" : "ok");
    }
  });

  test("every equation holds, larger before smaller, in 1..99; verdicts are true", () => {
    const apply: Record<string, (a: number, b: number) => number> = {
      "+": (a, b) => a + b,
      "-": (a, b) => a - b,
      "*": (a, b) => a * b,
    };
    for (const { words, problem } of drawn) {
      words.forEach((word, at) => {
        if (word !== "=") return;
        const [a, operator, b, , result] = words.slice(at - 3, at + 2);
        expect(apply[operator!]!(Number(a), Number(b))).toBe(Number(result));
        expect(Number(a)).toBeGreaterThanOrEqual(Number(b));
        expect(Number(result)).toBeGreaterThanOrEqual(1);
        const verdict = words[at + 2];
        if (verdict === ";") return;
        expect(verdict).toBe(Number(result) === problem.target ? "ok" : "x");
      });
    }
  });

  test("first steps go round in canonical order", () => {
    const problem = { id: 0, numbers: [9, 4, 2], target: 98 } as const; // out of reach of one attempt: the cycle shows
    const cycle = ["9 + 4", "9 - 4", "9 * 4", "9 + 2", "9 - 2", "9 * 2", "4 + 2", "4 - 2", "4 * 2"];
    const text = decodeTrial(
      demonstration(problem, random(33), { startAtSolution: 0, attemptWeights: [...new Array(11).fill(0), 1] }),
    );
    const firsts = [...text.matchAll(/(\d+ [-+*] \d+) = \d+ ;/g)].map((match) => match[1]!);
    const start = cycle.indexOf(firsts[0]!);
    expect(firsts).toEqual(Array.from({ length: 12 }, (_, i) => cycle[(start + i) % 9]));
  });

  test("equal numbers do not repeat a first step", () => {
    const problem = { id: 0, numbers: [5, 5, 5], target: 99 } as const;
    const text = decodeTrial(demonstration(problem, random(34), { startAtSolution: 0, attemptWeights: [0, 0, 1] }));
    expect(new Set([...text.matchAll(/(\d+ [-+*] \d+) = \d+ ;/g)].map((match) => match[1])).size).toBe(2); // 5 - 5 is out of range
  });

  test("each option moves what it names", () => {
    const right = (options: Partial<DemonstrationOptions>) =>
      draw(1_000, options).filter(({ words }) => words.includes("ok")).length / 1_000;
    expect(right({ startAtSolution: 1, closestSecond: 1 })).toBe(1);
    const base = right({});
    expect(right({ startAtSolution: 0 })).toBeLessThan(base - 0.03);
    expect(right({ closestSecond: 0 })).toBeLessThan(base - 0.1);
    expect(right({ attemptWeights: [1] })).toBeLessThan(base - 0.05);
    const verdicts = draw(200, { attemptWeights: [0, 0, 1] }).map(
      ({ words }) => words.filter((word) => word === "x").length,
    );
    expect(Math.max(...verdicts)).toBe(3);
  });

  test("the defaults are the measured ones", () => {
    expect(DEMONSTRATION_DEFAULTS.attemptWeights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
    const longest = Math.max(...drawn.map(({ ids }) => ids.length));
    expect(longest).toBeLessThanOrEqual(144);
  });

  test("without thinking the answers stay the same", () => {
    const plain = draw(500, PLAIN);
    plain.forEach(({ ids, problem }, i) => {
      const full = drawn[i]!;
      expect(ids).toEqual(full.ids.slice(full.ids.indexOf(symbolId("<answer>")) + 1));
      expect(gradeTrial(problem, ids, PLAIN)).toMatchObject({
        correct: grades[i]!.correct,
        wellFormed: true,
        attempts: 0,
      });
    });
  });

  test("banning the give-up ids leaves every other ending open", () => {
    expect(giveUpIds()).toEqual([symbolId("stop")]);
    for (const { ids } of drawn) expect(ids.includes(symbolId("stop"))).toBe(!ids.includes(symbolId("ok")));
  });
});

describe("grade", () => {
  const good =
    "19 + 16 = 35 ; 35 - 14 = 21 x 19 - 16 = 3 ; 14 - 3 = 11 ok </think> <answer> 14 - ( 19 - 16 ) </answer>";
  const grade = (text: string, format: { thinking: boolean } = THINKING) =>
    gradeTrial(asked, encodeTrial(text), format);

  test("the example of the task", () => {
    const expected = {
      correct: true,
      reason: null,
      wellFormed: true,
      gaveUp: false,
      attempts: 2,
      thoughtTokens: 24,
      answerText: "14 - ( 19 - 16 )",
    };
    expect(grade(good)).toEqual(expected);
    expect(grade(`${good} <eos>`)).toEqual(expected);
    expect(gradeTrial(asked, Int32Array.from(encodeTrial(good)), THINKING)).toEqual(expected);
  });

  test("the answer counts, not what the thought claims", () => {
    expect(grade("ok </think> <answer> 19 - 16 </answer>")).toMatchObject({
      correct: false,
      reason: "number not used",
    });
    expect(grade("ok </think> <answer> 19 - 16 + 14 </answer>")).toMatchObject({
      correct: false,
      reason: "wrong value",
    });
    expect(grade("x stop </think> <answer> 14 - 19 + 16 </answer>")).toMatchObject({ correct: true, gaveUp: true });
    expect(grade("ok </think> <answer> 11 </answer>")).toMatchObject({
      correct: false,
      reason: "number not available",
    });
    expect(grade("ok </think> <answer> 14 - ( 19 - 16 ) = 11 </answer>")).toMatchObject({
      correct: false,
      reason: "syntax",
    });
    expect(grade("</think> <answer> </answer>")).toMatchObject({ correct: false, reason: "empty", wellFormed: true });
  });

  test.each([
    "",
    "<eos>",
    "19 - 16 = 3 ; 14 - 3 = 11 ok",
    "14 - ( 19 - 16 ) </answer>",
    "<answer> 14 - ( 19 - 16 ) </answer>",
    "ok </think> 14 - ( 19 - 16 ) </answer>",
    "ok </think> <answer> 14 - ( 19 - 16 )",
    "ok </think> <answer> 14 - ( 19 - 16 ) <eos>",
    "ok </think> ok <answer> 14 - ( 19 - 16 ) </answer>",
    "ok </think> </think> <answer> 14 - ( 19 - 16 ) </answer>",
    "ok </think> <answer> <answer> 14 - ( 19 - 16 ) </answer>",
    "ok </think> <answer> 14 - ( 19 - 16 ) </answer> </answer>",
    "ok </think> <answer> 14 - ( 19 - 16 ) </answer> ok",
    "ok </think> <answer> 14 - ( 19 - 16 ) </answer> <eos> <eos>",
    "<think> ok </think> <answer> 14 - ( 19 - 16 ) </answer>",
    "<answer> 14 </answer> </think> <answer> 14 - ( 19 - 16 ) </answer>",
    "<eos> ok </think> <answer> 14 - ( 19 - 16 ) </answer>",
  ])("a broken format is wrong: %s", (text) => {
    expect(grade(text)).toMatchObject({
      correct: false,
      wellFormed: false,
      answerText: null,
      reason: "the format is broken",
    });
  });

  test("without thinking the answer follows at once", () => {
    expect(grade("14 - ( 19 - 16 ) </answer> <eos>", PLAIN)).toMatchObject({ correct: true, thoughtTokens: 0 });
    expect(grade(good, PLAIN)).toMatchObject({ correct: false, wellFormed: false });
  });

  test("a thought that never ends is counted whole", () => {
    expect(grade("19 - 16 = 3 ; 14 - 3 = 11 x 19 - 16 = 3")).toMatchObject({
      attempts: 1,
      thoughtTokens: 17,
      gaveUp: false,
    });
  });
});
