// One source of a recipe's data: where its rows are, which of them count, and how its columns are called. Counts what it leaves out.
// Leaves out order and weights: see mixture.ts.
import { createHash } from "node:crypto";
import type { SourceSettings } from "../config/data.js";
import { isObject, type JsonObject } from "../config/files.js";
import { type HubProgress, hubFiles, hubReference, showReference } from "./hub.js";
import { type Row, readRows, rowError } from "./rows.js";

/** What became of a source's rows. Plain JSON. */
export interface SourceReport {
  readonly source: string;
  /** Commit that a hub reference led to. */
  commit?: string;
  /** Rows read; behind the limit none is. */
  rows: number;
  /** Rows left out, by reason. */
  readonly dropped: Record<string, number>;
  /** Rows that lost their end. */
  truncated: number;
  /** SHA-256 of the rows that were handed out, as JSON and in their order; "" until the pass over them has ended. */
  sha256: string;
}

export interface OpenSource {
  readonly report: SourceReport;
  /** Rows with their columns named as asked, in file order; one pass. */
  rows(): AsyncGenerator<Row>;
}

export interface SourceOptions {
  /** Told of the files that come from the hub. */
  readonly onProgress?: (progress: HubProgress) => void;
  readonly signal?: AbortSignal;
  /** Commits that hub references are read at, wherever their branches lead to now; by the source's name in its report. */
  readonly commits?: ReadonlyMap<string, string>;
}

/** Counts a row that is left out. */
export function drop(report: SourceReport, reason: string): void {
  report.dropped[reason] = (report.dropped[reason] ?? 0) + 1;
}

/** Finds the files of a source, from the hub if need be. Throws InputError HUB_*. */
export async function openSource(settings: SourceSettings, options: SourceOptions = {}): Promise<OpenSource> {
  const { name, files, commit } = await filesOf(settings, options);
  const report: SourceReport = {
    source: name,
    rows: 0,
    dropped: {},
    truncated: 0,
    sha256: "",
    ...(commit === undefined ? {} : { commit }),
  };
  return { report, rows: () => rowsOf(files, settings, report) };
}

interface Files {
  readonly name: string;
  readonly files: readonly string[];
  readonly commit?: string;
}

async function filesOf(settings: SourceSettings, options: SourceOptions): Promise<Files> {
  const reference = hubReference(settings);
  if (reference === null) return { name: settings.source, files: [settings.source] };
  const name = showReference(reference);
  const revision = options.commits?.get(name) ?? reference.revision;
  return { name, ...(await hubFiles({ ...reference, revision }, options)) };
}

async function* rowsOf(files: readonly string[], settings: SourceSettings, report: SourceReport): AsyncGenerator<Row> {
  const sha = createHash("sha256");
  for await (const row of keptRows(files, settings, report)) {
    sha.update(`${JSON.stringify(row.value)}\n`);
    yield row;
  }
  report.sha256 = sha.digest("hex");
}

async function* keptRows(
  files: readonly string[],
  settings: SourceSettings,
  report: SourceReport,
): AsyncGenerator<Row> {
  let kept = 0;
  for (const file of files) {
    for await (const row of readRows(file)) {
      report.rows++;
      const value = requireObject(row);
      if (!matches(value, settings.where, row)) {
        drop(report, "where");
        continue;
      }
      yield { ...row, value: rename(value, settings.columns, row) };
      if (++kept === settings.limit) return;
    }
  }
}

function requireObject(row: Row): JsonObject {
  if (isObject(row.value)) return row.value;
  const got = Array.isArray(row.value) ? "a list" : JSON.stringify(row.value);
  throw rowError(row, `expected an object with a value for each column, got ${got}; correct or remove the row`);
}

/** Whether each column named in `where` has the value, or one of the values. */
function matches(value: JsonObject, where: SourceSettings["where"], row: Row): boolean {
  return Object.entries(where).every(([column, wanted]) => {
    const got = columnOf(value, column, row);
    return Array.isArray(wanted) ? wanted.includes(got as string) : wanted === got;
  });
}

/** `columns` maps a name that the recipe knows to the file's column; others keep their names. */
function rename(value: JsonObject, columns: SourceSettings["columns"], row: Row): JsonObject {
  const renamed = Object.entries(columns).map(([ours, theirs]) => [ours, columnOf(value, theirs, row)] as const);
  return renamed.length === 0 ? value : { ...value, ...Object.fromEntries(renamed) };
}

/** The value of a column, or of a field inside of one: "answer", "reward_model.ground_truth". */
function columnOf(value: JsonObject, column: string, row: Row): unknown {
  if (Object.hasOwn(value, column)) return value[column];
  let inner: unknown = value;
  for (const part of column.split(".")) {
    if (!isObject(inner) || !Object.hasOwn(inner, part)) {
      const known = Object.keys(value).join(", ");
      throw rowError(row, `expected a column "${column}", got the columns ${known}; correct the name in the settings`);
    }
    inner = inner[part];
  }
  return inner;
}
