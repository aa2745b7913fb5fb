// What a teacher said, line by line as it came: the one record that a run goes on from, so that nothing that was answered is asked again,
// however the run ended. What becomes of each prompt is a function of its lines.
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Usage } from "../endpoint/types.js";
import { InputError } from "../errors.js";
import {
  readTeacher,
  rowFault,
  type TeacherTags,
  type WarmStartFilters,
  type WarmStartRow,
} from "../prompt/warm-start.js";
import { attempt, type Disk } from "../train/disk.js";
import { appendLine, wholeBytes } from "../train/run-folder.js";
import type { Lesson } from "./teach-prompts.js";

/** Its file in the run folder. */
export const journalFile = "answers.jsonl";

const tokens = z.int().min(0);
const schema = z.strictObject({
  /** The lesson's place and prompt. */
  index: z.int().min(0),
  sha: z.string(),
  /** Counts from 1. */
  try: z.int().min(1),
  text: z.string(),
  /** "stop", "length", ... */
  finish: z.string(),
  usage: z.strictObject({ promptTokens: tokens, completionTokens: tokens }).nullable(),
});

/** One try. */
export type Answer = z.output<typeof schema>;

/** What became of a lesson. */
export interface Outcome {
  readonly lesson: Lesson;
  /** Null: left out. */
  readonly row: WarmStartRow | null;
  /** Why it was left out; null where it was not. */
  readonly reason: string | null;
  readonly tries: number;
}

export interface Marking {
  readonly tags: TeacherTags;
  readonly filters: WarmStartFilters;
  /** Tries of a prompt at most. */
  readonly tries: number;
}

/** What its answers make of a lesson; null where it is to be asked again. */
export function settle(lesson: Lesson, answers: readonly Answer[], { tags, filters, tries }: Marking): Outcome | null {
  let reason: string | null = null;
  for (const [n, { text, finish }] of answers.slice(0, tries).entries()) {
    const read = text.trim() === "" ? "no text" : readTeacher(text, tags);
    const row = typeof read === "string" ? null : { prompt: lesson.prompt, ...read };
    const fault = row === null ? (read as string) : rowFault(row, filters);
    if (row !== null && fault === null) return { lesson, row, reason: null, tries: n + 1 };
    reason = finish === "length" ? "cut off" : fault;
  }
  return answers.length >= tries ? { lesson, row: null, reason, tries } : null;
}

export class Journal implements Disposable {
  readonly #path: string;
  readonly #file: number;
  readonly #answers = new Map<number, Answer[]>();
  #usage: Usage = { promptTokens: 0, completionTokens: 0 };

  /** Makes the file, or takes up the one that is there. Throws InputError TEACH_JOURNAL where it is not one of these lessons. */
  constructor(
    out: string,
    lessons: readonly Lesson[],
    readonly disk: Disk,
  ) {
    this.#path = join(out, journalFile);
    if (existsSync(this.#path)) this.#takeUp(lessons);
    this.#file = attempt(this.#path, () => openSync(this.#path, "a"));
  }

  /** What was answered of a lesson so far, try by try. */
  answersOf(index: number): readonly Answer[] {
    return this.#answers.get(index) ?? [];
  }

  /** Tokens of all that was answered. */
  get usage(): Usage {
    return this.#usage;
  }

  add(answer: Answer): void {
    appendLine(this.#path, this.#file, answer);
    this.#keep(answer);
  }

  /** What was added is on the disk, and not with the system alone. */
  sync(): void {
    this.disk.sync(this.#path);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #keep(answer: Answer): void {
    const { index, usage } = answer;
    this.#answers.set(index, [...this.answersOf(index), answer]);
    const { promptTokens, completionTokens } = this.#usage;
    this.#usage = {
      promptTokens: promptTokens + (usage?.promptTokens ?? 0),
      completionTokens: completionTokens + (usage?.completionTokens ?? 0),
    };
  }

  /** The line that a killed process was writing is cut off. */
  #takeUp(lessons: readonly Lesson[]): void {
    this.disk.cut(this.#path, wholeBytes(this.#path));
    const lines = attempt(this.#path, () => readFileSync(this.#path, "utf8"))
      .split("\n")
      .slice(0, -1);
    lines.forEach((line, i) => {
      const answer = readLine(line, `${this.#path}:${i + 1}`);
      if (lessons[answer.index]?.sha !== answer.sha) throw otherPrompts(`${this.#path}:${i + 1}`, answer.index);
      this.#keep(answer);
    });
  }
}

function readLine(line: string, place: string): Answer {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw notAnAnswer(place, (error as Error).message);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw notAnAnswer(place, `${issue?.path.join(".")}: ${issue?.message}`);
}

function notAnAnswer(place: string, got: string): InputError {
  const message = `[${place}] expected a line as the run wrote it, got ${got}; put the line back, or remove it to ask again`;
  return new InputError("TEACH_JOURNAL", message);
}

function otherPrompts(place: string, index: number): InputError {
  return new InputError(
    "TEACH_JOURNAL",
    `[${place}] expected an answer to prompt ${index} of the data, got one to another prompt; put the data back as they were, or begin a new run`,
  );
}
