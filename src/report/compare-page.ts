// A comparison of runs as one HTML page: figures in tables, curves drawn by uPlot. Pure; the page holds all it needs and asks no network
// for anything. Leaves out where uPlot's files come from.
import { type IntervalPlot, intervalSvg } from "./interval-plot.js";

export interface ComparePage {
  readonly title: string;
  /** In the order of their curves and columns; the label is short, for legends. */
  readonly runs: readonly { readonly label: string; readonly name: string }[];
  readonly notes: readonly string[];
  readonly tables: readonly PageTable[];
  readonly plots: readonly PagePlot[];
  /** Those without steps. */
  readonly intervals: readonly IntervalPlot[];
}

export interface PageTable {
  readonly title: string;
  readonly columns: readonly string[];
  /** A row of a single cell is a title of those below it. */
  readonly rows: readonly (readonly string[])[];
}

export interface PagePlot {
  readonly title: string;
  /** One a run: points of (step, value), steps ascending; empty where the run has none. */
  readonly curves: readonly (readonly (readonly [step: number, value: number])[])[];
}

/** uPlot's own files as text. */
export interface PlotAssets {
  readonly script: string;
  readonly style: string;
}

/** Rows as uPlot takes them: steps, then a row a curve, null where it has no value at a step. */
export type AlignedData = readonly (readonly (number | null)[])[];

/** Colours of curves by run, on light and on dark paper: Okabe and Ito's, told apart without red and green too. */
const LIGHT = ["#0072b2", "#d55e00", "#00805c", "#a6407f", "#8a6d00", "#444444"];
const DARK = ["#56b4e9", "#ff9d57", "#3fd0a5", "#e69fc8", "#f0e442", "#cccccc"];

/** The curves of a plot over the steps that any of them has. */
export function alignCurves(curves: PagePlot["curves"]): AlignedData {
  const steps = [...new Set(curves.flatMap((curve) => curve.map(([step]) => step)))].sort((a, b) => a - b);
  const rows = curves.map((curve) => {
    const values = new Map(curve);
    return steps.map((step) => values.get(step) ?? null);
  });
  return [steps, ...rows];
}

/** The page's text. */
export function comparePage(page: ComparePage, assets: PlotAssets): string {
  const drawn = page.plots.filter(({ curves }) => curves.some((curve) => curve.length > 0));
  const labels = page.runs.map(({ label }) => label);
  const data = { labels, plots: drawn.map(({ title, curves }) => ({ title, data: alignCurves(curves) })) };
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${escapeHtml(page.title)}</title>
<style>${assets.style}${style()}</style>
</head>
<body>
<h1>${escapeHtml(page.title)}</h1>
<ul class="runs">${page.runs.map(runItem).join("")}</ul>
${page.notes.length === 0 ? "" : `<ul class="notes">${page.notes.map((note) => `<li>${escapeHtml(note)}</li>`).join("")}</ul>`}
<div class="plots">${drawn.map(({ title }) => `<figure class="curves">${caption(title)}</figure>`).join("")}${page.intervals.map((plot) => intervalFigure(plot, labels)).join("")}</div>
${page.tables.map(tableHtml).join("\n")}
<script>${assets.script}</script>
<script type="application/json" id="data">${inScript(JSON.stringify(data))}</script>
<script>${draw}</script>
</body>
</html>
`;
}

const caption = (title: string): string => `<figcaption>${escapeHtml(title)}</figcaption>`;

const intervalFigure = (plot: IntervalPlot, labels: readonly string[]): string =>
  `<figure>${caption(plot.title)}${intervalSvg(
    plot,
    labels.map(escapeHtml),
    LIGHT.map((_, i) => `var(--run-${i})`),
  )}</figure>`;

const runItem = ({ label, name }: ComparePage["runs"][number], run: number): string =>
  `<li><span class="swatch" style="background:var(--run-${run % LIGHT.length})"></span>${escapeHtml(`${label}: ${name}`)}</li>`;

function tableHtml({ title, columns, rows }: PageTable): string {
  const cells = (tag: "th" | "td", row: readonly string[]) =>
    row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join("");
  const heading = (cell: string) => `<tr><th colspan="${columns.length}">${escapeHtml(cell)}</th></tr>`;
  const body = rows.map((row) => (row.length === 1 ? heading(row[0]!) : `<tr>${cells("td", row)}</tr>`)).join("");
  const head = `<thead><tr>${cells("th", columns)}</tr></thead>`;
  return `<h2>${escapeHtml(title)}</h2><div class="scroll"><table>${head}<tbody>${body}</tbody></table></div>`;
}

function style(): string {
  const colours = (list: readonly string[]) => list.map((colour, i) => `--run-${i}:${colour};`).join("");
  return `
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1a1a;--faint:#e3e3e3;--axis:#555;${colours(LIGHT)}}
@media (prefers-color-scheme:dark){:root{--paper:#16181c;--ink:#e8e8e8;--faint:#33373d;--axis:#a8adb5;${colours(DARK)}}}
body{background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1180px;padding:0 16px}
h1{font-size:22px}h2{font-size:17px;margin-top:28px}
ul.runs{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:6px 20px}
.swatch{display:inline-block;width:14px;height:14px;border-radius:3px;margin-right:7px;vertical-align:-2px}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:20px}
figure{margin:0;min-width:0}svg{width:100%;fill:var(--ink);font-size:11px}figcaption{font-weight:600;margin-bottom:4px}
.scroll{overflow-x:auto}.scroll table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.scroll th,.scroll td{padding:3px 14px 3px 0;text-align:left;border-bottom:1px solid var(--faint);vertical-align:top}
.scroll tbody th{padding-top:12px}`;
}

/** Draws a plot in each figure, and again when the reader's colours or the width change. */
const draw = `
"use strict";
const { labels, plots } = JSON.parse(document.getElementById("data").textContent);
const figures = [...document.querySelectorAll("figure.curves")];
const height = 220;
let drawn = [];
function paint() {
  for (const plot of drawn) plot.destroy();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { stroke: colour("--axis"), grid: { stroke: colour("--faint"), width: 1 }, ticks: { stroke: colour("--faint") } };
  drawn = plots.map(({ data }, i) => new uPlot({
    width: figures[i].clientWidth, height, scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 62 }],
    series: [{ label: "step" }, ...labels.map((label, r) => ({
      label, stroke: colour("--run-" + (r % ${LIGHT.length})), width: 1.75, spanGaps: true,
    }))],
  }, data, figures[i]));
}
paint();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
addEventListener("resize", () => drawn.forEach((plot, i) => plot.setSize({ width: figures[i].clientWidth, height })));
`;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);

/** JSON that cannot end a script element. */
const inScript = (json: string): string => json.replaceAll(/<(?=[/!])/g, "\\u003c");
