// What a teacher is asked: the prompts of a user's rows, each once, and the message that asks for a plan and a response in tags. Rows that
// make no demonstration are left out before they cost anything, and counted.
import { createHash } from "node:crypto";
import { type DataSettings, showSources } from "../config/data.js";
import { isObject, type JsonObject } from "../config/files.js";
import { loadRecords } from "../data/records.js";
import { drop, type SourceReport } from "../data/source.js";
import { InputError } from "../errors.js";
import { fillTemplate } from "../prompt/fill.js";
import type { TeacherTags } from "../prompt/warm-start.js";
import { askRecord } from "./problems.js";

/** A prompt that is to be answered. */
export interface Lesson {
  /** Place among all of them, from 0. */
  readonly index: number;
  /** The row's own id, or else `sha`. */
  readonly id: string;
  /** Of the prompt: tells whether it is the one that a journal speaks of. */
  readonly sha: string;
  readonly prompt: string;
}

export interface Lessons {
  readonly lessons: readonly Lesson[];
  readonly reports: readonly SourceReport[];
}

/** Fields of a row that name it, the first that is there. */
const ID_FIELDS = ["id", "prompt_id", "uid"] as const;
const SHA_CHARACTERS = 16;

/** Every prompt of the data. Throws InputError of files and rows, and DATA_EMPTY where no prompt is left. */
export async function openLessons(
  data: DataSettings,
  languageOf: ((text: string) => string) | null,
  signal: AbortSignal,
): Promise<Lessons> {
  const loaded = await loadRecords(data, readRow, { signal });
  const seen = new Set<string>();
  const lessons: Lesson[] = [];
  for (const [source, { records, report }] of loaded.entries()) {
    for (const row of records) {
      const fault = rowFault(row, source, seen, languageOf);
      if (fault !== null) drop(report, fault);
      else lessons.push({ index: lessons.length, ...row, prompt: row.prompt! });
    }
  }
  const reports = loaded.map(({ report }) => report);
  if (lessons.length > 0) return { lessons, reports };
  const reasons = reports.flatMap(({ dropped }) => Object.entries(dropped).map(([why, n]) => `${n} left out: ${why}`));
  throw new InputError(
    "DATA_EMPTY",
    `[${showSources(data)}] expected at least one prompt, got none, ${reasons.join(", ")}; correct the rows or the filters`,
  );
}

/** Null: more than one turn. */
type ReadRow = Pick<Lesson, "id" | "sha"> & { readonly prompt: string | null };

/** A prompt alone, or a conversation, whose last turn may be an answer: it is not looked at. */
function readRow(row: unknown): ReadRow {
  const record = isObject(row) ? row : {};
  const asked = askRecord(withoutAnswer(record), "");
  const prompt = asked.length === 1 && asked[0]!.role === "user" ? asked[0]!.content : null;
  const sha = createHash("sha256").update(JSON.stringify(asked)).digest("hex").slice(0, SHA_CHARACTERS);
  const own = ID_FIELDS.map((name) => record[name]).find((id) => typeof id === "string" || typeof id === "number");
  return { id: own === undefined ? sha : String(own), sha, prompt };
}

function withoutAnswer(record: JsonObject): JsonObject {
  const lists = Object.entries(record).filter(([, value]) => Array.isArray(value) && value.length > 1);
  const answered = lists.filter(([, value]) => (value as { role?: unknown }[]).at(-1)?.role === "assistant");
  return {
    ...record,
    ...Object.fromEntries(answered.map(([name, value]) => [name, (value as unknown[]).slice(0, -1)])),
  };
}

/** An id is its source's own; a prompt is the same wherever it comes from. */
function rowFault(
  { id, sha, prompt }: ReadRow,
  source: number,
  seen: Set<string>,
  languageOf: ((text: string) => string) | null,
): string | null {
  if (prompt === null) return "more than one turn";
  if (prompt.trim() === "") return "empty prompt";
  const names = [`${source} id ${id}`, `sha ${sha}`];
  if (names.some((name) => seen.has(name))) return "prompt seen before";
  for (const name of names) seen.add(name);
  return ["", "en"].includes(languageOf?.(prompt) ?? "") ? null : "another language";
}

/** The paper's structure, a planning phase and a response, each in its tags. */
export const TEACHER_TEMPLATE = `Answer the message at the end as a helpful and careful assistant.

Plan first, between {thoughtOpen} and {thoughtClose}. In the plan, say what is asked for and for whom, list what the answer has to keep to, \
gather what is known and what may go wrong, sketch the answer's outline, and then go through the sketch and mend it. The plan is for \
yourself: it may be as long as the message needs.

Then write the response itself, between {responseOpen} and {responseClose}. It stands on its own and does not speak of the plan.

Begin with {thoughtOpen}, use each tag once, and write nothing outside of them.

Message:
{prompt}`;

/** The template with the tags and the prompt in their places. */
export function teacherText(template: string, { thinking, response }: TeacherTags, prompt: string): string {
  return fillTemplate(template, {
    ...{ thoughtOpen: thinking[0], thoughtClose: thinking[1] },
    ...{ responseOpen: response[0], responseClose: response[1], prompt },
  });
}
