// The page of a comparison: what is in it, that nothing in it can run or load what it should not, and how curves are laid over each other.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { alignCurves, type ComparePage, comparePage } from "../../src/report/compare-page.js";

const uplot = createRequire(import.meta.url).resolve("uplot");
const assets = {
  script: readFileSync(uplot.replace(/[^/]+$/, "uPlot.iife.min.js"), "utf8"),
  style: readFileSync(uplot.replace(/[^/]+$/, "uPlot.min.css"), "utf8"),
};
const hostile = `</script><img src=x onerror=alert(1)>"'&`;
const page: ComparePage = {
  title: "Comparison of 2 runs",
  runs: [
    { label: "A", name: "one" },
    { label: "B", name: hostile },
  ],
  notes: [hostile],
  tables: [{ title: "Figures", columns: ["figure", "A", "B"], rows: [["reward", "1", hostile]] }],
  plots: [
    {
      title: "Reward",
      curves: [
        [
          [1, 0.5],
          [2, 0.75],
        ],
        [[2, 0.25]],
      ],
    },
    { title: "Nothing", curves: [[], []] },
  ],
  intervals: [
    {
      ...{ title: hostile, range: [0, 1], even: 0.5 },
      points: [null, { mean: 0.75, interval: [0.5, 1] }],
    },
  ],
};
const html = comparePage(page, assets);
const scripts = [...html.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)];

describe("the page", () => {
  test("asks no network for anything", () => {
    expect(html).toContain(`content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"`);
    const bare = { runs: [{ label: "A", name: "one" }], notes: [], tables: [], intervals: [] };
    const plain = comparePage({ ...page, ...bare }, assets);
    expect(plain.replace(assets.script, "")).not.toMatch(/\b(src|href)=|url\(|@import|https?:/);
  });

  test("has the text of runs, notes and tables, none of it as HTML", () => {
    expect(scripts).toHaveLength(3);
    expect(html).not.toContain("<img");
    expect(html.match(/&lt;\/script&gt;&lt;img src=x onerror=alert\(1\)&gt;&quot;&#39;&amp;/g)).toHaveLength(4);
  });

  test("draws an interval as a line with its mean on it, and where neither is ahead", () => {
    const [svg] = /<svg[\s\S]*<\/svg>/.exec(html)!;
    const place = (share: number) => (24 + 292 * share).toFixed(1);
    expect(svg).toContain(`<line x1="${place(0.5)}" x2="${place(1)}" y1="13" y2="13" stroke="var(--run-1)"`);
    expect(svg).toContain(`<circle cx="${place(0.75)}" cy="13"`);
    expect(svg).toContain(`<line x1="${place(0.5)}" x2="${place(0.5)}" y1="0"`);
    expect(svg.match(/<circle/g)).toHaveLength(1);
  });

  test("draws the plots that have points, with every run's curve", () => {
    const [, , data] = scripts.find(([, attributes]) => attributes!.includes("application/json"))!;
    expect(JSON.parse(data!)).toEqual({
      labels: ["A", "B"],
      plots: [
        {
          title: "Reward",
          data: [
            [1, 2],
            [0.5, 0.75],
            [null, 0.25],
          ],
        },
      ],
    });
    expect(html.match(/<figure>/g)).toHaveLength(1);
    expect(html).not.toContain("Nothing");
  });

  test("its own script runs, and gives uPlot a curve a run", () => {
    const made: { options: { width: number; series: { label: string; stroke?: string }[] }; data: unknown }[] = [];
    class uPlot {
      constructor(options: (typeof made)[number]["options"], data: unknown) {
        made.push({ options, data });
      }
    }
    const [, , data] = scripts.find(([, attributes]) => attributes!.includes("application/json"))!;
    const document = {
      getElementById: () => ({ textContent: data }),
      querySelectorAll: () => [{ clientWidth: 500 }],
      documentElement: {},
    };
    const getComputedStyle = () => ({ getPropertyValue: (name: string) => ` value of ${name}` });
    const ignored = () => {};
    runInNewContext(scripts.at(-1)![2]!, {
      ...{ uPlot, document, getComputedStyle, addEventListener: ignored },
      matchMedia: () => ({ addEventListener: ignored }),
    });
    expect(made).toHaveLength(1);
    expect(made[0]!.options.width).toBe(500);
    expect(made[0]!.options.series.map(({ label, stroke }) => [label, stroke])).toEqual([
      ["step", undefined],
      ["A", "value of --run-0"],
      ["B", "value of --run-1"],
    ]);
  });

  test("every run's colour is told from the paper, light and dark", () => {
    const contrast = (a: string, b: string) => {
      const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
      return (high + 0.05) / (low + 0.05);
    };
    const roots = [...html.matchAll(/--paper:(#\w+);[^}]*?((?:--run-\d:#\w+;)+)/g)];
    expect(roots).toHaveLength(2);
    for (const [, paper, colours] of roots) {
      const list = [...colours!.matchAll(/#\w{6}/g)].map(([colour]) => colour);
      expect(list).toHaveLength(6);
      for (const colour of list) expect(contrast(paper!, colour), `${colour} on ${paper}`).toBeGreaterThan(3); // WCAG 2.2, graphics
    }
  });
});

test("curves are laid over the steps that any of them has, in order", () => {
  expect(
    alignCurves([
      [
        [3, 1],
        [5, 2],
      ],
      [],
      [
        [1, 7],
        [3, 8],
      ],
    ]),
  ).toEqual([
    [1, 3, 5],
    [null, 1, 2],
    [null, null, null],
    [7, 8, null],
  ]);
});

/** Relative luminance of #rgb or #rrggbb. */
function luminance(colour: string): number {
  const digits = colour.length === 4 ? [...colour.slice(1)].map((digit) => digit + digit).join("") : colour.slice(1);
  const [r, g, b] = [0, 2, 4]
    .map((at) => Number.parseInt(digits.slice(at, at + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
