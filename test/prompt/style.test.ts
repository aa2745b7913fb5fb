// What is counted in a thought, mark by mark, and that no text of a model's makes counting slow.
import { describe, expect, test } from "vitest";
import { STYLE_MARKS, type Style, thinkingStyle } from "../../src/prompt/style.js";

const nothing: Style = { paragraphs: 0, steps: 0, list_items: 0, revisions: 0, constraints: 0, questions: 0 };

describe("a thought's style", () => {
  test.each<[keyof Style, number, string]>([
    ["paragraphs", 3, "\n\none\ntwo\n\nthree\n \t\n\nfour\n"],
    [
      "steps",
      5,
      "Step 1: look\nThen more, then more\n  **First, this\n## Step 2\nfinally\nstepping\nthenceforth\nsteps",
    ],
    ["list_items", 6, "- a\n* b\n  • c\n1. d\n(2) e\nb) f\n-g\n3.5 x\n12.\n--- -"],
    [
      "revisions",
      6,
      "Wait, hmm. Actually no. Let me reconsider; let's double-check. That’s wrong. Waiters waited. Hm.",
    ],
    [
      "constraints",
      6,
      "It must rhyme. They should not, shouldn't. The user wants at most two; avoid e. mustard shoulder",
    ],
    ["questions", 3, "Why? How?? So？ No."],
  ])("%s: %i", (name, count, text) => {
    expect(thinkingStyle(text)).toMatchObject({ [name]: count });
  });

  test("nothing in nothing, and in plain words", () => {
    expect(thinkingStyle("")).toEqual(nothing);
    expect(thinkingStyle("A plain line.")).toEqual({ ...nothing, paragraphs: 1 });
  });

  test("lines end as they do on Windows too", () => {
    expect(thinkingStyle("- a\r\n- b\r\n\r\nc")).toEqual({ ...nothing, list_items: 2, paragraphs: 2 });
  });

  test("counting twice is counting the same: no expression keeps a place", () => {
    const text = "Wait? Let me try again. You must. Wait?";
    expect(thinkingStyle(text)).toEqual(thinkingStyle(text));
  });

  test.each(["\n", " ", "- ", "?", "wait ", "the user ", "let me ", "("])(
    "a text of %j without end is read in time",
    (piece) => {
      const began = performance.now();
      thinkingStyle(piece.repeat(200_000 / piece.length));
      expect(performance.now() - began).toBeLessThan(1000);
    },
  );

  test("every mark has an expression and is counted", () => {
    expect(Object.keys(thinkingStyle("")).sort()).toEqual(["paragraphs", ...Object.keys(STYLE_MARKS)].sort());
  });
});
