import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { gradeCountdown, multisets, solveCountdown } from "../../src/tasks/index.js";

const game24 = new URL("../../../shared/data/game24/24.csv", import.meta.url);

const problem = (target: number, ...numbers: number[]) => ({ numbers, target });

describe("grade", () => {
  test.each([
    ["(1 + 3) * 6 * 1", problem(24, 1, 1, 3, 6), null],
    ["8 \u00f7 (3 \u2212 8 \u00f7 3)", problem(24, 3, 3, 8, 8), null],
    ["1 / 3 * 3", problem(1, 1, 3, 3), null],
    ["3 - 5", problem(-2, 3, 5), null],
    ["(1 - 2) / (3 - 4)", problem(1, 1, 2, 3, 4), null],
    ["0 / 5", problem(0, 0, 5), null],
    ["1 + 3 * 6 * 1", problem(24, 1, 1, 3, 6), "wrong value"],
    ["8 / 3", problem(2, 8, 3), "wrong value"],
    ["4 * 6", problem(24, 4, 4, 6), "number not used"],
    ["4 * 6 + 4 - 4", problem(24, 4, 4, 6), "number not available"],
    ["24", problem(24, 4, 6), "number not available"],
    ["6 / (3 - 3)", problem(2, 3, 3, 6), "division by zero"],
    ["0 / 0", problem(0, 0, 0), "division by zero"],
    ["4 * 6 = 24", problem(24, 4, 6), "syntax"],
    ["the answer is 4 * 6", problem(24, 4, 6), "syntax"],
    ["", problem(24, 4, 6), "empty"],
  ])("%s", (answer, asked, reason) => {
    expect(gradeCountdown(answer, asked)).toEqual({ correct: reason === null, reason });
  });

  test("numbers may be left over when the rules say so", () => {
    expect(gradeCountdown("4 * 6", problem(24, 4, 4, 6), { useAll: false }).correct).toBe(true);
    expect(gradeCountdown("4 * 6 + 6 - 6", problem(24, 4, 4, 6), { useAll: false }).reason).toBe(
      "number not available",
    );
  });

  test("a problem that cannot be computed with exactly is refused", () => {
    const bad = [problem(24), problem(24, 1.5, 2), problem(24, -1, 2), problem(0.5, 1), problem(1, 2 ** 30, 2 ** 30)];
    for (const asked of [...bad, problem(9, ...new Array<number>(9).fill(1))]) {
      expect(() => gradeCountdown("1", asked)).toThrow(/\[countdown\] expected 1 to 8 whole numbers/);
    }
  });

  test("no text of a model throws", () => {
    const stream = random(21);
    const pieces = [
      "3",
      "8",
      "+",
      "/",
      "(",
      ")",
      "<think>",
      "\u0000",
      "\ud83d",
      "e9",
      "--",
      "NaN",
      "1".repeat(99),
      "\n",
    ];
    for (let i = 0; i < 5_000; i++) {
      const text = Array.from({ length: stream.int(40) }, () => stream.choice(pieces)).join("");
      expect(typeof gradeCountdown(text, problem(24, 3, 3, 8, 8)).correct).toBe("boolean");
    }
  });
});

describe("solve", () => {
  // Solvable multisets of the 24 game, as published for RARO's Countdown task.
  test.each([
    [10, 566, 715],
    [13, 1362, 1820],
  ])("24 from four numbers in 1..%d: %d of %d", (largest, solvable, all) => {
    const problems = multisets(4, largest).map((numbers) => problem(24, ...numbers));
    expect(problems.length).toBe(all);
    const answers = problems.map((asked) => solveCountdown(asked));
    expect(answers.filter((answer) => answer !== null).length).toBe(solvable);
    answers.forEach((answer, i) => {
      if (answer !== null) expect(gradeCountdown(answer, problems[i]!)).toEqual({ correct: true, reason: null });
    });
  });

  test("24 from four numbers in 1..25: 11,967 of 20,475", { timeout: 60_000 }, () => {
    const found = multisets(4, 25).map((numbers) => solveCountdown(problem(24, ...numbers)) !== null);
    expect([found.filter(Boolean).length, found.length]).toEqual([11_967, 20_475]);
  });

  test("may leave numbers over when the rules say so", () => {
    expect(solveCountdown(problem(24, 4, 6, 25))).toBeNull();
    expect(gradeCountdown(solveCountdown(problem(24, 4, 6, 25), { useAll: false })!, problem(24, 4, 6)).correct).toBe(
      true,
    );
    expect(solveCountdown(problem(7, 7))).toBe("7");
    expect(solveCountdown(problem(7, 8))).toBeNull();
  });

  test.skipIf(!existsSync(game24))("every puzzle of the ranked 24 list has a solution", () => {
    const lines = readFileSync(game24, "utf8").trim().split("\n").slice(1);
    expect(lines.length).toBe(1362);
    for (const line of lines) {
      const numbers = line.split(",")[1]!.split(" ").map(Number);
      expect(gradeCountdown(solveCountdown(problem(24, ...numbers))!, problem(24, ...numbers)).correct).toBe(true);
    }
  });
});

test("multisets are sorted, distinct and complete", () => {
  expect(multisets(2, 3)).toEqual([
    [1, 1],
    [1, 2],
    [1, 3],
    [2, 2],
    [2, 3],
    [3, 3],
  ]);
  expect(multisets(3, 16).length).toBe(816);
});
