// Demonstrations from a user's data: {prompt, completion} as plain text, or conversations through the model's chat template, as {messages}
// or as {prompt, completion} of messages. Every row is read, checked and encoded once, before the first step. Leaves out tools.
import { type DataSettings, type MixtureSettings, type SourceSettings, sourcesOf } from "../config/data.js";
import type { HubProgress } from "../data/hub.js";
import { Mixture } from "../data/mixture.js";
import { emptyError } from "../data/records.js";
import type { Row } from "../data/rows.js";
import { openSource, type SourceOptions, type SourceReport } from "../data/source.js";
import { RecordStore } from "../data/store.js";
import type { ModelSpec } from "../engine/types.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import type { NoteEvent } from "../report/events.js";
import { commitsOf } from "../train/run-data.js";
import type { Demonstration, DemonstrationSource } from "../train/sft.js";
import type { ChatSettings, ExampleSettings } from "./data-settings.js";
import { demonstrationLength } from "./memory.js";
import type { RunContext } from "./recipe.js";
import { demonstrationCodec, ExampleEncoder } from "./sft-examples.js";

export interface DemonstrationSettings {
  readonly seed: number;
  readonly data: DataSettings;
  readonly mixture: MixtureSettings;
  readonly chat: ChatSettings;
  readonly examples: ExampleSettings;
}

/** Whose demonstrations they are to be. */
export interface Learner {
  /** Folder of the chat template. */
  readonly folder: string;
  readonly tokenizer: Tokenizer;
  readonly spec: ModelSpec;
  /** What ends a demonstration; absent: the end token of the tokenizer or the model. */
  readonly endId?: number | undefined;
}

/** Rows of another form as those that demonstrations are made of; null where one is left out, and counted in the report. */
export type RowShape = (row: Row, report: SourceReport) => Row | null;

/** Who is told of downloads, and may stop them; a run that goes on reads the commits that it began with. */
export interface DataHost extends Pick<RunContext, "signal" | "resume"> {
  emit(event: NoteEvent): void;
}

export interface Demonstrations extends DemonstrationSource, Disposable {
  readonly reports: readonly SourceReport[];
  readonly count: number;
  /** Tokens of the longest one. */
  readonly longest: number;
  /** The first of them, source by source, at most `count`. */
  first(count: number): Demonstration[];
}

/** Rows that are encoded at a time, and characters of them: a conversation is written anew for each of its turns. */
const BATCH_ROWS = 512;
const BATCH_CHARACTERS = 1 << 22;
/** Bytes of all sources that stay in memory. */
const MEMORY_BYTES = 1 << 28;
const PROGRESS_MS = 10_000;

/** Throws InputError: of files and rows, CHAT_*, DATA_LENGTH, DATA_VOCABULARY, DATA_EMPTY. */
export async function openDemonstrations(
  settings: DemonstrationSettings,
  learner: Learner,
  host: DataHost,
  shape?: RowShape,
): Promise<Demonstrations> {
  const encoder = new ExampleEncoder(settings, learner);
  const stores: RecordStore<Demonstration>[] = [];
  const reports: SourceReport[] = [];
  let longest = 0;
  const sources = sourcesOf(settings.data);
  const dispose = () => {
    for (const store of stores) store[Symbol.dispose]();
  };
  try {
    for (const source of sources) {
      const store = new RecordStore(demonstrationCodec, { memoryBytes: Math.floor(MEMORY_BYTES / sources.length) });
      stores.push(store);
      const filled = await fill(store, source, { encoder, host, shape });
      reports.push(filled.report);
      longest = Math.max(longest, filled.longest);
    }
  } catch (error) {
    dispose();
    throw error;
  }
  const parts = stores.map((records, i) => ({ records, weight: sources[i]!.weight }));
  const mixture = new Mixture(parts, { seed: settings.seed, exhausted: settings.mixture.exhausted });
  return {
    reports,
    count: stores.reduce((sum, { length }) => sum + length, 0),
    longest,
    first: (count) => {
      const all = stores.flatMap((store) =>
        Array.from({ length: Math.min(count, store.length) }, (_, i) => store.at(i)!),
      );
      return all.slice(0, count);
    },
    next: () => mixture.next(1)[0]!,
    save: () => mixture.save(),
    restore: (state) => mixture.restore(state),
    [Symbol.dispose]: dispose,
  };
}

interface Filling {
  readonly encoder: ExampleEncoder;
  readonly host: DataHost;
  readonly shape: RowShape | undefined;
}

async function fill(
  store: RecordStore<Demonstration>,
  settings: SourceSettings,
  { encoder, host, shape }: Filling,
): Promise<{ readonly report: SourceReport; readonly longest: number }> {
  const { report, rows } = await openSource(settings, sourceOptions(host));
  let longest = 0;
  for await (const batch of batches(rows())) {
    host.signal.throwIfAborted();
    const shaped = shape === undefined ? batch : batch.flatMap((row) => shape(row, report) ?? []);
    for (const one of await encoder.encode(shaped, report)) {
      store.push(one);
      longest = Math.max(longest, demonstrationLength(one));
    }
  }
  if (store.length === 0) throw emptyError(report, "demonstration");
  return { report, longest };
}

/** Some hundred rows at a time, fewer of long ones. */
export async function* batches(rows: AsyncIterable<Row>): AsyncGenerator<Row[]> {
  let batch: Row[] = [];
  let characters = 0;
  for await (const row of rows) {
    batch.push(row);
    characters += textSize(row);
    if (batch.length < BATCH_ROWS && characters < BATCH_CHARACTERS) continue;
    yield batch;
    batch = [];
    characters = 0;
  }
  if (batch.length > 0) yield batch;
}

/** Characters that a row comes to, about. */
function textSize({ value }: Row): number {
  const { messages } = value as { messages?: unknown };
  return JSON.stringify(value).length * (Array.isArray(messages) ? messages.length : 1);
}

/** How a run reads its sources. */
export const sourceOptions = (host: DataHost): SourceOptions => ({
  signal: host.signal,
  onProgress: downloadNotes(host),
  commits: commitsOf(host.resume),
});

/** Says now and then how far a download is. */
function downloadNotes(host: DataHost): (progress: HubProgress) => void {
  let said = Number.NEGATIVE_INFINITY;
  return ({ file, done, total }) => {
    const time = performance.now();
    if (time - said < PROGRESS_MS) return;
    said = time;
    const percent = Math.floor((100 * done) / total);
    host.emit({
      type: "note",
      level: "info",
      text: `downloading ${file}: ${percent}% of ${total.toLocaleString("en-US")} bytes`,
    });
  };
}

/** "data.jsonl: 100 rows, 7 left out (where 5, longer than 512 tokens 2)"; nothing of a source that is used as it is. */
export function reportLine({ source, rows, dropped, truncated }: SourceReport): string | null {
  const count = Object.values(dropped).reduce((sum, one) => sum + one, 0);
  if (count === 0 && truncated === 0) return null;
  const reasons = Object.entries(dropped).map(([reason, of]) => `${reason} ${of}`);
  const left = count === 0 ? [] : [`${count} left out (${reasons.join(", ")})`];
  const cut = truncated === 0 ? [] : [`${truncated} truncated`];
  return `${source}: ${[`${rows} rows`, ...left, ...cut].join(", ")}`;
}
