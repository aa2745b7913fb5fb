// Aligned text tables: columns of figures to the right, others to the left, the last one wrapped to the width if there is one.
// A character counts as one column; wide scripts are not measured.
import { safeText } from "./format.js";

export interface TableOptions {
  /** Columns of the terminal; the last table column is wrapped to it. Default: no wrapping. */
  readonly width?: number;
}

const gap = "  ";
const narrowest = 20; // the last column is never wrapped tighter than this

/** The lines of a table: header, rule, rows. */
export function tableLines(
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions = {},
): readonly string[] {
  const cells = rows.map((row) => columns.map((_, i) => oneLine(row[i] ?? "")));
  const widths = columns.map((name, i) => Math.max(size(name), ...cells.map((row) => size(row[i] ?? ""))));
  fitLast(widths, options.width);
  const right = columns.map((_, i) => isFigures(cells.map((row) => row[i] ?? "")));
  const line = (row: readonly string[]) => rowLines(row, widths, right);
  return [...line(columns), widths.map((width) => "─".repeat(width)).join(gap), ...cells.flatMap(line)];
}

const size = (text: string): number => [...text].length;
const oneLine = (text: string): string => safeText(text).replaceAll(/\s+/g, " ").trim();

/** Every cell is a number with perhaps a unit or an interval behind it, or a dash; at least one is a number. */
function isFigures(cells: readonly string[]): boolean {
  const figure = /^[+-]?[\d.,]+(e[+-]?\d+)?([%kMG]|\s?±.*|\s?\[.*\]|\s(s|ms|GB|GiB|MiB))?$/;
  const filled = cells.filter((cell) => cell !== "" && cell !== "-");
  return filled.length > 0 && filled.every((cell) => figure.test(cell));
}

function fitLast(widths: number[], width: number | undefined): void {
  const last = widths.length - 1;
  if (width === undefined || last < 0) return;
  const before = widths.slice(0, last).reduce((sum, each) => sum + each + gap.length, 0);
  widths[last] = Math.min(widths[last] ?? 0, Math.max(narrowest, width - before));
}

function rowLines(row: readonly string[], widths: readonly number[], right: readonly boolean[]): readonly string[] {
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

/** Lines of at most `width` characters, broken at spaces; a longer word keeps its length. */
function wrap(text: string, width: number): readonly string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line === "") lines[lines.length - 1] = word;
    else if (size(line) + 1 + size(word) <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
