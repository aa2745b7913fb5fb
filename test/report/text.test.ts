// Sparklines, tables and the formatting of figures.
import { describe, expect, test } from "vitest";
import { type Curve, extend } from "../../src/report/curve.js";
import { clip, compact, duration, palette, safeText, short } from "../../src/report/format.js";
import { sparkline } from "../../src/report/sparkline.js";
import { sectionLines, tableLines } from "../../src/report/table.js";

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

  test("takes a scale from outside", () => {
    expect(sparkline([0, 0.5, 1], 8, [0, 1])).toBe("▁▅█");
    expect(sparkline([0.001, 0], 8, [0, 1])).toBe("▁▁");
  });

  test("has an answer for odd series", () => {
    expect(sparkline([], 5)).toBe("");
    expect(sparkline([2, 2], 5)).toBe("▄▄");
    expect(sparkline([Number.NaN, 1, Number.POSITIVE_INFINITY, 2], 5)).toBe("▁█");
    expect(sparkline([1, 2], 0)).toBe("");
  });
});

describe("extend", () => {
  const curve = (values: readonly number[]) => values.reduce<Curve | null>(extend, null);
  const count = (n: number) => Array.from({ length: n }, (_, i) => i);

  test("keeps a short series as it is", () => {
    expect(curve([3, 1, Number.NaN, 2])).toMatchObject({ first: 3, last: 2, points: [3, 1, 2] });
    expect(curve([])).toBeNull();
  });

  test.each([1000, 4097])("averages a series of %d in bounded memory", (n) => {
    const { first, last, points, stride, filled } = curve(count(n))!;
    expect([first, last]).toEqual([0, n - 1]);
    expect(points.length).toBeLessThanOrEqual(128);
    expect((points.length - 1) * stride + filled).toBe(n);
    for (const [i, mean] of points.slice(0, -1).entries()) expect(mean).toBeCloseTo(i * stride + (stride - 1) / 2, 9);
    expect(points.at(-1)).toBeCloseTo(n - 1 - (filled - 1) / 2, 9);
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

  test("figures with a range behind them are figures", () => {
    const lines = tableLines(
      ["n", "interval"],
      [
        ["1", "33.7-39.6"],
        ["2", "0.0-5.7"],
        ["3", "-"],
      ],
    );
    expect(lines.slice(2)).toEqual(["1  33.7-39.6", "2    0.0-5.7", "3          -"]);
  });

  test("columns move together where the table would be too wide", () => {
    const row = [["1", "x".repeat(10), "y".repeat(20)]];
    expect(tableLines(["a", "b", "c"], row, { width: 35 }).map((line) => line.length)).toEqual([16, 35, 35]);
    expect(tableLines(["a", "b", "c"], row, { width: 34 }).map((line) => line.length)).toEqual([14, 33, 33]);
  });

  test("sections share their columns", () => {
    const sections = [
      { title: "one", rows: [["long key", "1"]] },
      { title: "two", rows: [["k", "22"]] },
    ];
    expect(sectionLines(["key", "n"], sections)).toEqual([
      "key        n",
      "────────  ──",
      "",
      "one",
      "long key   1",
      "",
      "two",
      "k         22",
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
