// All records of a recipe's data in memory, source by source: for problems, of which there are thousands rather than millions.
import { type DataSettings, sourcesOf } from "../config/data.js";
import { InputError } from "../errors.js";
import type { ParseRecord } from "./jsonl.js";
import type { MixturePart } from "./mixture.js";
import { rowError } from "./rows.js";
import { openSource, type SourceOptions, type SourceReport } from "./source.js";

export interface LoadedSource<T> extends MixturePart<T> {
  readonly records: readonly T[];
  readonly report: SourceReport;
}

/**
 * Reads every source. Throws InputError of files and rows: JSONL_LINE or DATA_ROW with the place of a row that `parse` refuses, and
 * DATA_EMPTY for a source without a row.
 */
export async function loadRecords<T>(
  data: DataSettings,
  parse: ParseRecord<T>,
  options: SourceOptions = {},
): Promise<LoadedSource<T>[]> {
  const loaded: LoadedSource<T>[] = [];
  for (const settings of sourcesOf(data)) {
    const { report, rows } = await openSource(settings, options);
    const records: T[] = [];
    for await (const row of rows()) {
      try {
        records.push(parse(row.value));
      } catch (error) {
        throw rowError(row, error instanceof Error ? error.message : String(error), error);
      }
    }
    if (records.length === 0) throw emptyError(report, "record");
    loaded.push({ records, weight: settings.weight, report });
  }
  return loaded;
}

/** The error of a source of which nothing is left; `what` it should have. */
export function emptyError({ source, rows, dropped }: SourceReport, what: string): InputError {
  const reasons = Object.entries(dropped).map(([reason, count]) => `, ${count} left out: ${reason}`);
  return new InputError(
    "DATA_EMPTY",
    `[${source}] expected at least one ${what}, got none of ${rows} rows${reasons.join("")}; add rows or correct the settings`,
  );
}
