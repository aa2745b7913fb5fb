// Multiple choice: the forms in which models name a label, and the texts that name none.
import { describe, expect, test } from "vitest";
import { choiceReference, extractChoice, gradeChoice } from "../../src/tasks/index.js";
import { milliseconds } from "../helpers/timing.js";

const cities = { choices: ["Berlin", "Paris", "Rome, Italy", "New York"] };

describe("extractChoice", () => {
  test.each([
    ["C", "C"],
    ["c", "C"],
    ["(C)", "C"],
    ["(c)", "C"],
    ["c)", "C"],
    ["C.", "C"],
    ["**C**", "C"],
    ["**C.** Rome", "C"],
    ["C) Rome", "C"],
    ["C. Rome", "C"],
    ["C: Rome", "C"],
    ["[B] because of the second line", "B"],
    ["B because it is larger", "B"],
    ["E - none of the above", "E"],
    ["The answer is C.", "C"],
    ["The answer is (C).", "C"],
    ["the correct answer is **D**", "D"],
    ["The answer is: B", "B"],
    ["Answer: A", "A"],
    ["**Answer:** A", "A"],
    ["**Answer**: A", "A"],
    ["Answer: (b)", "B"],
    ["The correct choice is option D, as shown", "D"],
    ["The answer is A. Then again, the answer is B.", "B"],
    ["First I thought (A).\nAnswer: B\nThat is all.", "B"],
    ["so it is \\boxed{C}", "C"],
    ["\\boxed{\\text{C}}", "C"],
    ["\\boxed{\\textbf{(C)}}", "C"],
    ["\\boxed{(c) \\; 12}", "C"],
    ["Answer: A\n\\boxed{B}", "B"],
    ["long reasoning\n#### D", "D"],
    ["long reasoning about A and B\n\nC", "C"],
    ["only one is left, (D), so that one", "D"],
    ["$\\textbf{(E)}$", "E"],
  ])("%j is %s", (text, label) => expect(extractChoice(text)).toBe(label));

  test.each([
    [""],
    ["   \n  "],
    ["A dog barks."],
    ["A's friend"],
    ["a matter of taste"],
    ["Apple"],
    ["CD"],
    ["F"],
    ["A or B"],
    ["A, B"],
    ["A and B"],
    ["(A) or (B)"],
    ["The answer is A or B."],
    ["The answer is either of (A) and (C)."],
    ["\\boxed{A, B}"],
    ["\\boxed{A/C}"],
    ["\\boxed{}"],
    ["#### "],
    ["(A) is wrong and (B) is right"],
    ["(A) is wrong"],
    ["A is not it"],
    ["(B) Paris, though (C) comes near"],
    ["A.5"],
    ["I cannot tell"],
  ])("%j names none", (text) => expect(extractChoice(text)).toBe(null));

  test.each([
    ["Paris", "B"],
    ["paris.", "B"],
    ["The answer is Paris.", "B"],
    ["Answer: **rome,   italy**", "C"],
    ["\\boxed{New York}", "D"],
    ["#### Berlin", "A"],
    ["I see.\nParis", "B"],
    ["B. Paris", "B"],
    ["Madrid", null],
    ["E", null],
  ])("with the options' texts, %j is %s", (text, label) => expect(extractChoice(text, cities)).toBe(label));

  test.each([
    ["Yes", ["Yes", "No"], "Yes"],
    ["The answer is no.", ["Yes", "No"], "No"],
    ["no, because", ["Yes", "No"], null],
    ["3", ["1", "2", "3"], "3"],
    ["Answer: 12", ["1", "12"], "12"],
    ["Answer: 1.5", ["1", "2"], null],
    ["(ii)", ["i", "ii", "iii"], "ii"],
  ])("labels may be any: %j of %j is %s", (text, labels, label) => expect(extractChoice(text, { labels })).toBe(label));

  test("options that read alike name none by their text", () => {
    expect(extractChoice("one", { choices: ["one", "One", "two"] })).toBe(null);
  });

  test("time grows with the text only", () => {
    for (const piece of ["(", "**", "answer is ", "A or ", "\\boxed{", " ", "\n", "A, "]) {
      const limit = 1_000; // milliseconds; linear work takes some tens
      expect(milliseconds(() => extractChoice(piece.repeat(200_000), cities), limit)).toBeLessThan(limit);
    }
  });
});

describe("references", () => {
  test.each([
    ["b", "B"],
    ["(B)", "B"],
    [1, "B"],
    ["Paris", "B"],
    [0, "A"],
  ])("%j is %s", (reference, label) => expect(choiceReference(reference, cities)).toBe(label));

  test.each([["E"], [4], [-1], [1.5], ["Madrid"], [null], [undefined], [["A"]], ["A or B"]])("%j is refused", (bad) =>
    expect(() => choiceReference(bad, cities)).toThrow(/\[choice\] expected one of the labels A, B, C, D, .*, got /),
  );

  test.each([
    [{ labels: ["A"] }],
    [{ labels: ["A", "a"] }],
    [{ labels: ["A", " "] }],
    [{ labels: ["A", "B"], choices: ["x", "y", "z"] }],
    [{ choices: Array.from({ length: 27 }, String) }],
  ])("labels that cannot tell options apart are refused: %j", (options) =>
    expect(() => extractChoice("A", options)).toThrow(/\[choice\] expected at least two distinct labels/),
  );
});

describe("gradeChoice", () => {
  test.each([
    ["The answer is B", "B", null],
    ["Paris", 1, null],
    ["A", "B", "wrong choice"],
    ["no idea", "B", "no choice"],
    [null, "B", "no choice"],
  ])("%j against %j: %s", (text, reference, reason) =>
    expect(gradeChoice(text, reference, cities)).toEqual({ correct: reason === null, reason }),
  );
});
