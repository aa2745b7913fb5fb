// The grader against what others wrote: the references of MATH-500 and GSM8K, and 800 responses to 100 problems with the verdicts of
// another evaluator (that of Qwen2.5-Math). Skipped where the data is missing.
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { extractMathsAnswer, gradeMaths, gsm8kReference } from "../../src/tasks/index.js";
import { readMathsAnswer } from "../../src/tasks/maths/read.js";

const DATA = new URL("../../../shared/data/", import.meta.url);
const COT = new URL("math_cot_100/math_cot_100.jsonl", DATA);
const MATH = new URL("math500/test.json", DATA);
const GSM8K = ["train", "test"].map((split) => new URL(`gsm8k/${split}.jsonl`, DATA));

interface Judged {
  readonly answer: string;
  readonly response: readonly string[]; // [8]
  readonly score: readonly boolean[]; // [8] the verdicts
}

interface Solved {
  readonly solution: string;
  readonly answer: string;
}

const lines = <Row>(file: URL): Row[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);

describe.skipIf(!existsSync(COT))("math_cot_100", () => {
  const verdicts = !existsSync(COT)
    ? []
    : lines<Judged>(COT).flatMap(({ answer, response, score }, problem) =>
        response.map((text, sample) => {
          const { correct } = gradeMaths(extractMathsAnswer(text), answer);
          return { problem, sample, correct, verdict: score[sample] };
        }),
      );

  // In each of the nine the verdict is wrong: eight times 4:30 p.m. was refused where the reference is 4:30 p.m. (the evaluator had cut
  // "m" out of both as a unit), and once 10000 where it is 10{,}000.
  test("791 of 800 verdicts agree, and the other nine are known", () => {
    const apart = verdicts.filter(({ correct, verdict }) => correct !== verdict);
    expect(verdicts.length).toBe(800);
    expect(apart.map(({ problem, sample }) => [problem, sample])).toEqual([
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((sample) => [3, sample]),
      [72, 7],
    ]);
    expect(apart.every(({ correct }) => correct)).toBe(true);
  });
});

describe.skipIf(!existsSync(MATH))("math500", () => {
  const problems = existsSync(MATH) ? (JSON.parse(readFileSync(MATH, "utf8")) as Solved[]) : [];

  test("every reference is read, equals itself, and is found in its solution", () => {
    expect(problems.length).toBe(500);
    for (const { answer, solution } of problems) {
      expect(readMathsAnswer(answer).form, answer).not.toBeNull();
      expect(gradeMaths(answer, answer), answer).toEqual({ correct: true, reason: null });
      expect(extractMathsAnswer(solution)).toBe(answer);
    }
  });

  // Money, degrees and units do not count, a base may be left out, `x=5` is 5: such references are left aside.
  test("of its different references, three pairs are the same", () => {
    const references = [...new Set(problems.map(({ answer }) => answer))];
    const plain = references.filter((text) => !/\^\\circ|\$|\{ ?cm|x=|_\d|,\\!/.test(text));
    const clashes = plain.flatMap((one) =>
      plain.filter((other) => one < other && gradeMaths(one, other).correct).map((other) => [one, other]),
    );
    expect(clashes).toEqual([
      [String.raw`\frac14`, String.raw`\frac{1}{4}`],
      [String.raw`2 \sqrt{5}`, String.raw`2\sqrt{5}`],
      ["-2,1", "1,-2"],
    ]);
  });
});

describe.skipIf(!GSM8K.every((file) => existsSync(file)))("gsm8k", () => {
  test("every reference is found, equals its number, and not the next one", () => {
    const solutions = GSM8K.flatMap((file) => lines<Solved>(file)).map(({ answer }) => answer);
    expect(solutions.length).toBe(8792);
    for (const solution of solutions) {
      const reference = gsm8kReference(solution);
      const number = Number(solution.split("####")[1]?.replaceAll(",", ""));
      expect(gradeMaths(extractMathsAnswer(solution), reference).correct, reference).toBe(true);
      expect(gradeMaths(String(number), reference).correct, reference).toBe(true);
      expect(gradeMaths(String(number + 1), reference).reason, reference).toBe("wrong value");
    }
  });
});
