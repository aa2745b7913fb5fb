// Sparklines, tables and the formatting of figures.
import { describe, expect, test } from "vitest";
import { clip, compact, duration, palette, safeText, short } from "../../src/report/format.js";
import { sparkline } from "../../src/report/sparkline.js";
import { tableLines } from "../../src/report/table.js";

describe("sparkline", () => {
  test("spans its own lowest and highest value", () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe("▁▂▃▄▅▆▇█");
    expect(sparkline([-1, 3, 1], 8)).toBe("▁█▅");
  });

  test("averages a longer series into its width", () => {
    expect(sparkline([0, 0, 7, 7, 0, 0], 3)).toBe("▁█▁");
    expect(
      sparkline(
        Array.from({ length: 1000 }, (_, i) => i),
        7,
      ),
    ).toHaveLength(7);
    expect(sparkline([0, 1, 2, 3, 4], 3)).toHaveLength(3);
  });

  test("has an answer for odd series", () => {
    expect(sparkline([], 5)).toBe("");
    expect(sparkline([2, 2], 5)).toBe("▄▄");
    expect(sparkline([Number.NaN, 1, Number.POSITIVE_INFINITY, 2], 5)).toBe("▁█");
    expect(sparkline([1, 2], 0)).toBe("");
  });
});

describe("tableLines", () => {
  test("aligns words to the left and figures to the right", () => {
    const rows = [
      ["SFT", "36.6%", "a"],
      ["GRPO, longer", "7.8%", "-"],
      ["none", "-", ""],
    ];
    expect(tableLines(["arm", "pass@1", "x"], rows)).toEqual([
      "arm           pass@1  x",
      "────────────  ──────  ─",
      "SFT            36.6%  a",
      "GRPO, longer    7.8%  -",
      "none               -",
    ]);
  });

  test("wraps the last column to the width", () => {
    const lines = tableLines(["key", "help"], [["rate", "one two three four five six seven"]], { width: 28 });
    expect(lines).toEqual([
      "key   help",
      "────  ──────────────────────",
      "rate  one two three four",
      "      five six seven",
    ]);
  });

  test("short rows, no rows, line breaks and control characters keep the form", () => {
    expect(tableLines(["a", "b"], [])).toEqual(["a  b", "─  ─"]);
    expect(tableLines(["a", "b"], [["1"], ["x\ny", "\u001b[2J"]]).slice(2)).toEqual(["1", "x y  \u{fffd}[2J"]);
  });
});

describe("figures and text", () => {
  test.each([
    [0, "0 s"],
    [59.4, "59 s"],
    [59.6, "1 m 00 s"],
    [65, "1 m 05 s"],
    [7384, "2 h 03 m"],
    [-3, "0 s"],
  ])("duration(%d) is %s", (seconds, text) => expect(duration(seconds)).toBe(text));

  test("compact and short", () => {
    expect([950, 31_249, 4_100_000].map(compact)).toEqual(["950", "31.2k", "4.1M"]);
    expect([60, 0.123456, 1e-7, -0.5].map(short)).toEqual(["60", "0.123", "1e-7", "-0.5"]);
  });

  test("safeText takes away what could steer a terminal, and nothing else", () => {
    expect(safeText("a\u001b[31mb\u0007\r\u009b\u202ec")).toBe("a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}\u{fffd}c");
    expect(safeText("x\n\ty é 漢 🙂")).toBe("x\n\ty é 漢 🙂");
  });

  test("clip counts characters, not halves of them", () => {
    expect(clip("🙂🙂🙂", 3)).toBe("🙂🙂🙂");
    expect(clip("🙂🙂🙂", 2)).toBe("🙂…");
  });

  test("a palette without colour writes no escape codes", () => {
    const { bold, dim, warning } = palette(false);
    expect(bold("a") + dim("b") + warning("c")).toBe("abc");
    expect(palette(true).dim("b")).toBe("\u001b[2mb\u001b[22m");
  });
});
