// Stop strings in text that comes in pieces, and text that is written as it comes: cut in the right places, whole characters, by turns.
import { describe, expect, test } from "vitest";
import { LiveText } from "../../src/cli/live-text.js";
import { random } from "../../src/data/random.js";
import type { FinishReason, GenerateChunk } from "../../src/engine/types.js";
import { beforeStop, uncertain } from "../../src/prompt/stop-strings.js";

test.each([
  ["one. two", ".", "one"],
  ["one", ".", "one"],
  ["one. two", null, "one. two"],
  ["aab", "ab", "a"],
])("%j before %j is %j", (text, stop, want) => {
  expect(beforeStop(text, stop)).toBe(want);
});

test.each([
  ["abc", [], 0],
  ["abc</th", ["</think>"], 4],
  ["abc</th", ["x", "h!", "</think>"], 4],
  ["aa", ["aab"], 2],
  ["</think>", ["</think>"], 0],
  ["", ["a"], 0],
] as const)("of %j with %j the last %d characters are uncertain", (text, stops, want) => {
  expect(uncertain(text, stops)).toBe(want);
});

describe("live text", () => {
  const bytes = (ids: readonly number[]) => Uint8Array.from(ids);
  const decode = (ids: readonly number[]) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes(ids));
  const chunk = (
    sample: number,
    ids: readonly number[],
    finish: FinishReason | null = null,
    stopString: string | null = null,
  ) =>
    ({
      sample,
      tokens: Int32Array.from(ids),
      logprobs: new Float32Array(0),
      samplerLogprobs: new Float32Array(0),
      finish,
      stopString,
    }) satisfies GenerateChunk;
  const idsOf = (text: string) => [...new TextEncoder().encode(text)];

  test("random texts in random pieces by random turns come out whole, and no piece ends inside a character", () => {
    const letters = [..."ab é😀<>\n"];
    for (let seed = 0; seed < 200; seed++) {
      const draw = random(seed);
      const texts = Array.from({ length: 1 + draw.int(3) }, () =>
        Array.from({ length: draw.int(12) }, () => letters[draw.int(letters.length)]!).join(""),
      );
      const stops = ["<é", "ab"];
      const stopped = texts.map((text) => {
        const found = stops
          .filter((stop) => text.includes(stop))
          .sort((a, b) => text.indexOf(a) + a.length - text.indexOf(b) - b.length);
        return found[0] ?? null;
      });
      const ids = texts.map((text, s) =>
        idsOf(stopped[s] === null ? text : text.slice(0, text.indexOf(stopped[s]!) + stopped[s]!.length)),
      );
      const pieces: string[] = [];
      const live = new LiveText(decode, idsOf("prompt"), texts.length, stops, (text) => pieces.push(text));
      const left = ids.map((row) => [...row]);
      for (let open = [...left.keys()]; open.length > 0; ) {
        const s = open[draw.int(open.length)]!;
        const piece = left[s]!.splice(0, draw.int(4));
        const isOver = left[s]!.length === 0;
        live.add(chunk(s, piece, isOver ? "stop" : null, isOver ? stopped[s]! : null));
        if (isOver) open = open.filter((other) => other !== s);
      }
      const want = texts.map(
        (text, s) => `${texts.length > 1 ? `--- ${s + 1}\n` : ""}${beforeStop(text, stopped[s]!)}\n`,
      );
      expect(pieces.join(""), JSON.stringify(texts)).toBe(want.join(""));
      expect(pieces.some((piece) => /\p{Surrogate}|\ufffd/u.test(piece))).toBe(false);
    }
  });

  test("is written as it comes, but for what may be a stop string", () => {
    const pieces: string[] = [];
    const live = new LiveText(decode, [], 1, ["</a>"], (text) => pieces.push(text));
    for (const text of ["one ", "two<", "/b", "</a"]) live.add(chunk(0, idsOf(text)));
    expect(pieces).toEqual(["one ", "two", "</b"]);
    live.add(chunk(0, idsOf(">"), "stop", "</a>"));
    expect(pieces.join("")).toBe("one two</b\n");
  });

  test("bytes that are no character come out as U+FFFD at the end", () => {
    const pieces: string[] = [];
    const live = new LiveText(decode, [], 1, [], (text) => pieces.push(text));
    live.add(chunk(0, [0x61, 0xf0, 0x9f]));
    live.add(chunk(0, [], "abort"));
    expect(pieces.join("")).toBe("a\ufffd\n");
  });
});
