// Pairs of answers from a user's data, of which one was chosen: every row is read, checked and encoded once, before the first step.
import { type DataSettings, type MixtureSettings, type SourceSettings, sourcesOf } from "../config/data.js";
import { Mixture } from "../data/mixture.js";
import { emptyError } from "../data/records.js";
import { openSource, type SourceReport } from "../data/source.js";
import { RecordStore } from "../data/store.js";
import type { PairSource, PreferencePair } from "../train/reward-model.js";
import type { ChatSettings } from "./data-settings.js";
import { holdOutPairs, recordsAt } from "./hold-out-pairs.js";
import { PairEncoder, type PairSettings, pairCodec, type WrittenTemplate } from "./pair-rows.js";
import { batches, type DataHost, type Learner, sourceOptions } from "./sft-data.js";

export interface PairDataSettings {
  readonly seed: number;
  readonly data: DataSettings;
  readonly mixture: MixtureSettings;
  readonly chat: ChatSettings;
  readonly pairs: PairSettings;
}

export interface Pairs extends PairSource, Disposable {
  readonly reports: readonly SourceReport[];
  /** Tokens of the longest sequence. */
  readonly longest: number;
  /** What they were written by. */
  readonly template: WrittenTemplate;
  /** Those that are drawn for measuring and not trained on, where the settings hold any out. */
  readonly heldOut: readonly PreferencePair[];
  /** The first of them, source by source, at most `count`. */
  first(count: number): PreferencePair[];
}

/** Bytes of all sources that stay in memory. */
const MEMORY_BYTES = 1 << 28;

/**
 * Of them `holdOut` at most are held out, a tenth at most. Throws InputError: of files and rows, CHAT_*, DATA_LENGTH, DATA_VOCABULARY,
 * DATA_EMPTY.
 */
export async function openPairs(
  settings: PairDataSettings,
  learner: Learner,
  host: DataHost,
  holdOut: number = 0,
): Promise<Pairs> {
  const encoder = new PairEncoder(settings, learner);
  const sources = sourcesOf(settings.data);
  const memoryBytes = Math.floor(MEMORY_BYTES / sources.length);
  const stores: RecordStore<PreferencePair>[] = [];
  const filled: Filled[] = [];
  const dispose = () => {
    for (const store of stores) store[Symbol.dispose]();
  };
  try {
    for (const source of sources) {
      const records = new RecordStore(pairCodec, { memoryBytes });
      stores.push(records);
      filled.push({ records, weight: source.weight, ...(await fill(records, source, encoder, host)) });
    }
  } catch (error) {
    dispose();
    throw error;
  }
  const template = await encoder.written();
  const split = holdOutPairs(
    filled.map(({ prompts }) => prompts),
    holdOut,
    settings.seed,
  );
  const training = filled.map((source, s) => ({ ...source, records: recordsAt(source.records, split.training[s]!) }));
  const mixture = new Mixture(training, { seed: settings.seed, exhausted: settings.mixture.exhausted });
  return {
    reports: filled.map(({ report }) => report),
    longest: filled.reduce((most, { longest }) => Math.max(most, longest), 0),
    template,
    heldOut: filled.flatMap(({ records }, s) => split.heldOut[s]!.map((place) => records.at(place)!)),
    first: (count) => filled.flatMap(({ records }) => firstOf(records, count)).slice(0, count),
    next: (count) => mixture.next(count),
    save: () => mixture.save(),
    restore: (state) => mixture.restore(state),
    [Symbol.dispose]: dispose,
  };
}

interface Filled {
  readonly records: RecordStore<PreferencePair>;
  readonly weight: number;
  readonly report: SourceReport;
  readonly longest: number;
  /** What tells the prompts of its pairs apart. */
  readonly prompts: readonly string[];
}

async function fill(
  store: RecordStore<PreferencePair>,
  settings: SourceSettings,
  encoder: PairEncoder,
  host: DataHost,
): Promise<Pick<Filled, "report" | "longest" | "prompts">> {
  const { report, rows } = await openSource(settings, sourceOptions(host));
  const prompts: string[] = [];
  let longest = 0;
  for await (const batch of batches(rows())) {
    host.signal.throwIfAborted();
    for (const pair of await encoder.encode(batch, report)) {
      store.push(pair);
      prompts.push(pair.prompt);
      longest = Math.max(longest, pair.chosen.length, pair.rejected.length);
    }
  }
  if (store.length === 0) throw emptyError(report, "pair");
  return { report, longest, prompts };
}

const firstOf = (store: RecordStore<PreferencePair>, count: number): PreferencePair[] =>
  Array.from({ length: Math.min(count, store.length) }, (_, i) => store.at(i)!);
