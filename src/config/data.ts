// The setting `data` of recipes: a path or a hub reference, or a list of sources with weights; and the date that texts are made for. Ranges,
// defaults and help live here; what the settings do is in the folder data.
import { z } from "zod";
import { group, onDisk } from "./fragments.js";

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);

/** One source of a list. */
const sourceSchema = z
  .strictObject({
    source: z
      .string()
      .default("")
      .describe(
        "Path of a .jsonl, .json or .parquet file, or hub:owner/name@revision:file of a Hugging Face data set.",
      ),
    hub: z.string().default("").describe("owner/name of a Hugging Face data set, in the place of source."),
    revision: z.string().min(1).default("main").describe("Branch, tag or commit of the data set."),
    file: z.string().default("").describe("File of the data set; * stands for any characters."),
    split: z.string().min(1).default("train").describe("Split of the data set where no file is named."),
    weight: z.number().gt(0).max(1e9).default(1).describe("Share of the mixture, relative to the other sources."),
    columns: z
      .record(z.string(), z.string().min(1))
      .default({})
      .describe("Column for each name that the recipe reads: {prompt: question}; a dot goes inside of a column."),
    where: z
      .record(z.string(), z.union([scalar, z.array(scalar)]))
      .default({})
      .describe("Only rows whose columns have this value, or one of these."),
    limit: z.int().min(0).default(0).describe("The first rows that count; 0 is all."),
  })
  .refine(({ source, hub }) => (source === "") !== (hub === ""), "either source or hub");

export type SourceSettings = z.output<typeof sourceSchema>;

/** A path or reference, or sources. */
export type DataSettings = string | readonly SourceSettings[];

/** The setting `data`; `help` says what its rows are. */
export function dataSetting(value: string, help: string) {
  return z
    .union([z.string(), z.array(sourceSchema).min(1).max(1024)])
    .default(value)
    .describe(`${help} A path (.jsonl, .json, .parquet), hub:owner/name@revision:file, or a list of sources.`)
    .meta(onDisk("data"));
}

/** How sources are mixed. */
export function mixturePart() {
  return group({
    exhausted: z
      .enum(["repeat", "leave"])
      .default("repeat")
      .describe("A source that is used up starts over, or leaves until all are used up."),
  });
}

export type MixtureSettings = z.output<ReturnType<typeof mixturePart>>;

/** The sources of a setting, each complete. */
export function sourcesOf(data: DataSettings): readonly SourceSettings[] {
  return typeof data === "string" ? [sourceSchema.parse({ source: data })] : data;
}

/** Sources in a few words: their paths and names. */
export function showSources(data: DataSettings): string {
  if (data === "") return "none, set data";
  return sourcesOf(data)
    .map(({ source, hub }) => (hub === "" ? source : `hub:${hub}`))
    .join(", ");
}

/** What chat templates take for today. */
export const dateSetting = () =>
  z
    .string()
    .regex(/^\d{4}-\d\d-\d\d$/)
    .refine((date) => !Number.isNaN(Date.parse(date)), "a date such as 2025-01-31")
    .default(() => new Date().toISOString().slice(0, "2025-01-31".length))
    .describe("What chat templates take for today; the run's first day, kept with its settings.");
