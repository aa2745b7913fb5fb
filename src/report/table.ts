// Aligned text tables: columns of figures to the right, others to the left, the last one wrapped to the width if there is one.
// A character counts as one column; wide scripts are not measured.
import { safeText, wrap } from "./format.js";

export interface TableOptions {
  /** Columns of the terminal; the last table column is wrapped to it. Default: no wrapping. */
  readonly width?: number;
}

/** Rows of a table under a title of their own. */
export interface Section {
  readonly title: string;
  readonly rows: readonly (readonly string[])[];
}

const gaps = ["  ", " "]; // the first that lets the table fit
const narrowest = 20; // the last column is never wrapped tighter than this

/** The lines of a table: header, rule, rows. */
export function tableLines(
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions = {},
): readonly string[] {
  const { head, row } = layout(columns, rows, options);
  return [...head, ...rows.flatMap(row)];
}

/** The lines of one table whose rows stand in sections, an empty line and the section's title before each. */
export function sectionLines(
  columns: readonly string[],
  sections: readonly Section[],
  options: TableOptions = {},
): readonly string[] {
  const rows = sections.flatMap((section) => section.rows);
  const { head, row } = layout(columns, rows, options);
  return [...head, ...sections.flatMap((section) => ["", oneLine(section.title), ...section.rows.flatMap(row)])];
}

/** How a table is laid out: its first two lines, and the lines of a row. */
interface Layout {
  readonly head: readonly string[];
  readonly row: (row: readonly string[]) => readonly string[];
}

interface Shape {
  readonly widths: readonly number[];
  readonly right: readonly boolean[];
  readonly gap: string;
}

function layout(
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  { width = Number.POSITIVE_INFINITY }: TableOptions,
): Layout {
  const cells = rows.map((row) => columns.map((_, i) => oneLine(row[i] ?? "")));
  const natural = columns.map((name, i) => Math.max(size(name), ...cells.map((row) => size(row[i] ?? ""))));
  const right = columns.map((_, i) => isFigures(cells.map((row) => row[i] ?? "")));
  const fits = (gap: string) => total(fitLast(natural, width, gap), gap) <= width;
  const gap = gaps.find(fits) ?? gaps[0] ?? "";
  const shape = { widths: fitLast(natural, width, gap), right, gap };
  const line = (row: readonly string[]) =>
    rowLines(
      columns.map((_, i) => oneLine(row[i] ?? "")),
      shape,
    );
  return { head: [...line(columns), shape.widths.map((each) => "─".repeat(each)).join(gap)], row: line };
}

const size = (text: string): number => [...text].length;
const oneLine = (text: string): string =>
  safeText(text)
    .replaceAll(/[^\S\u00a0]+/g, " ")
    .trim(); // no-break spaces stay
const total = (widths: readonly number[], gap: string): number =>
  widths.reduce((sum, each) => sum + each + gap.length, -gap.length);

/** Every cell is a number with perhaps a unit, an interval behind it or a second number, or a dash; at least one is a number. */
function isFigures(cells: readonly string[]): boolean {
  const figure = /^[+-]?[\d.,]+(e[+-]?\d+)?([%kMG]|-[\d.,]+|\s?±.*|\s?\[.*\]|\s(s|ms|GB|GiB|MiB))?$/;
  const filled = cells.filter((cell) => cell !== "" && cell !== "-");
  return filled.length > 0 && filled.every((cell) => figure.test(cell));
}

/** The widths, the last one made smaller to keep to the whole. */
function fitLast(widths: readonly number[], whole: number, gap: string): readonly number[] {
  const last = widths.length - 1;
  const room = Math.max(narrowest, whole - total(widths.slice(0, last), gap) - gap.length);
  return widths.map((width, i) => (i === last ? Math.min(width, room) : width));
}

function rowLines(row: readonly string[], { widths, right, gap }: Shape): readonly string[] {
  const last = widths.length - 1;
  const wrapped = wrap(row[last] ?? "", widths[last] ?? 0);
  return wrapped.map((end, n) => {
    const cells = widths.map((width, i) =>
      pad(i === last ? end : n === 0 ? (row[i] ?? "") : "", width, right[i] === true),
    );
    return cells.join(gap).trimEnd();
  });
}

function pad(text: string, width: number, right: boolean): string {
  const space = " ".repeat(Math.max(0, width - size(text)));
  return right ? space + text : text + space;
}
