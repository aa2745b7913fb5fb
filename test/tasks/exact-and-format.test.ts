// Exact match under each of its options, and the form of completions, fault by fault.
import { describe, expect, test } from "vitest";
import { exactReferences, formatPattern, gradeExact, gradeFormat, normaliseExact } from "../../src/tasks/index.js";

describe("gradeExact", () => {
  test.each([
    ["Paris", "paris", {}, true],
    ["  Paris \n", "Paris", {}, true],
    ["New\n  York", "new york", {}, true],
    ["Paris", "paris", { ignoreCase: false }, false],
    ["a  b", "a b", { ignoreSpace: false }, false],
    ["Paris.", "Paris", {}, false],
    ["Paris.", "Paris", { ignorePunctuation: true }, true],
    ["the cat", "Cat", { ignoreArticles: true }, true],
    ["theory", "ory", { ignoreArticles: true }, false],
    ["caf\u00e9", "cafe\u0301", {}, true],
    ["STRASSE", "strasse", {}, true],
    ["7", 7, {}, true],
    ["blue", ["red", "Blue"], {}, true],
    ["", "x", {}, false],
    ["", "", {}, true],
    ["\u00bfqu\u00e9?", "qu\u00e9", { ignorePunctuation: true }, true],
  ] as const)("%j against %j with %j: %s", (answer, reference, options, correct) => {
    expect(gradeExact(answer, reference, options).correct).toBe(correct);
  });

  test("says what is wrong", () => {
    expect(gradeExact("x", "y").reason).toBe("another text");
    expect(gradeExact(" ", "y").reason).toBe("no answer");
    expect(gradeExact(null, "y").reason).toBe("no answer");
  });

  test("the published examples of SQuAD's normalisation", () => {
    const squad = { ignorePunctuation: true, ignoreArticles: true };
    expect(normaliseExact("The  Super Bowl, 50!", squad)).toBe("super bowl 50");
    expect(normaliseExact("An apple a day", squad)).toBe("apple day");
  });

  test.each([[null], [{}], [[]], [["a", null]], [true]])("%j is no reference", (bad) => {
    expect(() => exactReferences(bad)).toThrow(/\[exact\] expected a text, a number, or a list of those, got /);
  });
});

describe("gradeFormat", () => {
  const think = { thinking: "think" };
  test.each([
    ["<think>a</think>b", null],
    ["\n<think>a</think>\nb", null],
    ["a</think>b", null],
    ["b", "thinking: does not close"],
    ["<think>a", "thinking: does not close"],
    ["<think>a</think>b</think>c", "thinking: closes twice"],
    ["<think><think>a</think>b", "thinking: opens twice"],
    ["<think>a</think>b<think>", "thinking: opens twice"],
    ["b<think>a</think>c", "thinking: opens late"],
    ["<think> </think>b", "thinking: empty"],
    ["</think>b", "thinking: empty"],
    ["</think>a<think>", "thinking: opens late"],
    ["</think><think>", "thinking: opens late"],
    ["<think>a</think> \n", "thinking: nothing behind it"],
  ])("the thought of %j: %s", (text, reason) => {
    expect(gradeFormat(text, think)).toEqual({ correct: reason === null, reason });
  });

  const parts = { sections: ["plan", "answer"] };
  test.each([
    ["<plan>p</plan> and <answer>a</answer>", null],
    ["<plan>p</plan>", "section answer: missing"],
    ["<plan>p</plan><answer>a", "section answer: missing"],
    ["<answer>a</answer><plan>p</plan>", "section answer: out of order"],
    ["<plan><answer>a</answer></plan>", "section answer: out of order"],
    ["</plan>p<plan><answer>a</answer>", "section plan: out of order"],
    ["<plan>p</plan><plan>p</plan><answer>a</answer>", "section plan: twice"],
    ["<plan>p</plan><answer> </answer>", "section answer: empty"],
  ])("the sections of %j: %s", (text, reason) => {
    expect(gradeFormat(text, parts)).toEqual({ correct: reason === null, reason });
  });

  test("sections stand behind the thought", () => {
    const rules = { ...think, ...parts };
    const sections = "<plan>p</plan><answer>a</answer>";
    expect(gradeFormat(`<think>a</think>${sections}`, rules).correct).toBe(true);
    expect(gradeFormat(`<think>${sections}</think>b`, rules).reason).toBe("section plan: missing");
  });

  test("a pattern has to match, the same on every call", () => {
    const rules = { pattern: formatPattern("^\\d+$", "m") };
    for (const _ of [1, 2]) {
      expect(gradeFormat("a\n12", rules).correct).toBe(true);
      expect(gradeFormat("a12", rules)).toEqual({ correct: false, reason: "pattern: no match" });
    }
  });

  test.each([
    ["(", ""],
    ["a", "g"],
    ["a", "y"],
    ["a", "q"],
  ])("the pattern /%s/%s is refused by name", (source, flags) => {
    expect(() => formatPattern(source, flags)).toThrow(/\[format\] expected a regular expression .* got \//);
  });
});
