// Stop strings cut text and ids at the right places.
import { describe, expect, test } from "vitest";
import { cutAtStop } from "../../src/cli/stop-strings.js";

/** A vocabulary of text pieces: the text of n ids is that of the first n pieces. */
const cut = (pieces: readonly string[], stops: readonly string[]) =>
  cutAtStop((n) => pieces.slice(0, n).join(""), pieces.length, stops);

/** The slow way: look after every token. */
function slowCut(pieces: readonly string[], stops: readonly string[]) {
  for (let n = 1; n <= pieces.length; n++) {
    const text = pieces.slice(0, n).join("");
    const places = stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    if (places.length > 0) return { tokens: n, text: text.slice(0, Math.min(...places)) };
  }
  return null;
}

describe("cutAtStop", () => {
  test.each([
    [["a", "b", "."], ["."], 3, "ab"],
    [["a.b", "c"], ["."], 1, "a"],
    [["<", "/think", "> rest", "more"], ["</think>"], 3, ""],
    [["one", "\n", "\n", "two"], ["\n\n"], 3, "one"],
    [["x", "ab", "cd", "ef"], ["abcdef", "cd"], 3, "xab"],
    [["x", "abcd"], ["cd", "ab"], 2, "x"],
    [[".", "."], ["."], 1, ""],
  ])("%j with %j keeps %d tokens and %j", (pieces, stops, tokens, text) => {
    expect(cut(pieces, stops)).toEqual({ tokens, text });
    expect(slowCut(pieces, stops)).toEqual({ tokens, text });
  });

  test.each([
    [["a", "b"], ["c"]],
    [["a"], []],
    [[], ["a"]],
  ])("%j with %j goes on", (pieces, stops) => expect(cut(pieces, stops)).toBeNull());

  test("agrees with the slow way on many samples", () => {
    let state = 1;
    const next = (n: number) => {
      state = (state * 48_271) % 2_147_483_647;
      return state % n;
    };
    for (let trial = 0; trial < 500; trial++) {
      const pieces = Array.from({ length: next(12) }, () => ["a", "b", "ab", "ba", "aab"][next(5)] ?? "");
      const stops = Array.from({ length: 1 + next(3) }, () => ["aa", "bb", "abab", "baab", "bbb"][next(5)] ?? "");
      expect(cut(pieces, stops)).toEqual(slowCut(pieces, stops));
    }
  });
});
