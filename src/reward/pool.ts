// Rewards by settings: built-in verifiers on threads, users' modules in processes or on threads, each sample under a deadline; reward models.
// One pool serves a whole run; its workers start when they are needed, keep no process alive, and end with `dispose`.
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import type { OtherMemory } from "../engine/memory.js";
import { InputError } from "../errors.js";
import { combineRewards, type GradedPart, type RewardPart } from "./combine.js";
import { RewardError } from "./faults.js";
import type { Host } from "./host.js";
import type { RewardInput } from "./input.js";
import { isModel, isModule } from "./kinds.js";
import { modelPart, threadParts } from "./memory.js";
import { RewardModel } from "./model/model.js";
import { gradeByModel } from "./model/part.js";
import type { ScoreEngines } from "./model/scorer.js";
import { gradePart, loadModule, makePlaces, type Place } from "./places.js";
import { type Scores, scoreDefaults } from "./score.js";
import { follow } from "./signals.js";
import { type RewardSettings, type RewardSpec, rewardNames, rewardSpec } from "./spec.js";
import { ThreadHost } from "./thread-host.js";
import { recordCheck } from "./verifiers.js";

export interface RewardPoolOptions {
  /** Threads of the verifiers, and workers of each module. Default: the cores that this process may use. */
  readonly workers?: number;
  /** Milliseconds in which a module has to be imported. Default 60,000. */
  readonly loadMs?: number;
  /** Threads of reward models that set none of their own. Default: the cores that this process may use. */
  readonly threads?: number;
  /** Where engines of reward models come from. Default: `Engine`. */
  readonly engines?: ScoreEngines;
}

export interface PoolScoreOptions {
  /** Share of each reward's values that may fail before the run stops. Default 0.05. */
  readonly maxErrorShare?: number;
  readonly signal?: AbortSignal;
  /** Names of the rewards that are asked for. Default: all. */
  readonly only?: readonly string[];
}

export interface PoolScores extends Scores {
  /** Each reward before weighting, in the order of the settings. */
  readonly parts: readonly RewardPart[];
}

const LOAD_MS = 60_000;
const never = new AbortController().signal;

/** A reward of the settings and what grades it. */
interface Grading {
  readonly name: string;
  readonly weight: number;
  grade(inputs: readonly (readonly RewardInput[])[], maxErrorShare: number, signal: AbortSignal): Promise<GradedPart>;
}

/** What a pool owns. */
interface Parts {
  readonly gradings: readonly Grading[];
  readonly hosts: readonly Host[];
  readonly models: readonly OpenModel[];
  readonly cache: string | null;
}

interface OpenModel {
  readonly name: string;
  readonly model: RewardModel;
}

export class RewardPool {
  readonly names: readonly string[];
  readonly weights: readonly number[];
  readonly #parts: Parts;
  readonly #check: (record: RewardInput["record"]) => void;
  readonly #end = new AbortController();

  private constructor(parts: Parts, check: (record: RewardInput["record"]) => void) {
    this.#parts = parts;
    this.#check = check;
    this.names = parts.gradings.map(({ name }) => name);
    this.weights = parts.gradings.map(({ weight }) => weight);
  }

  /**
   * Imports every module once, in its worker, and opens every reward model. Throws InputError: REWARD_NONE, REWARD_NAME, REWARD_SPEC for
   * settings that are none, REWARD_MODULE_MISSING, REWARD_MODULE_EXPORT and REWARD_MODULE_LOAD (it throws, hangs or ends its worker),
   * FORMAT_PATTERN, CHOICE_OPTIONS, and as RewardModel.open. Paths are relative to the working directory.
   */
  static async create(settings: readonly RewardSettings[], options: RewardPoolOptions = {}): Promise<RewardPool> {
    const specs = settings.map(parseSpec);
    if (specs.length === 0) throw new InputError("REWARD_NONE", "[rewards] expected at least one reward, got none");
    const names = rewardNames(specs);
    const check = recordCheck(specs);
    const { places, ...parts } = await openParts(
      specs.map((spec, k) => ({ name: names[k]!, spec })),
      options,
    );
    const pool = new RewardPool(parts, check);
    try {
      await Promise.all(places.map(loadModule));
      return pool;
    } catch (error) {
      await pool.dispose();
      throw error;
    }
  }

  /** Workers that are alive. */
  get workers(): number {
    return this.#parts.hosts.reduce((sum, host) => sum + host.alive, 0);
  }

  /** What each reward model takes, in the order of the settings, and the threads that grade. */
  get memory(): readonly OtherMemory[] {
    const { models, hosts } = this.#parts;
    const threads = hosts.filter((host) => host instanceof ThreadHost);
    const count = (of: "workers" | "alive") => threads.reduce((sum, host) => sum + host[of], 0);
    return [
      ...models.map(({ name, model: { memory } }) => modelPart(name, { ...memory, held: memory.bytes })),
      ...threadParts(count("workers"), count("alive")),
    ];
  }

  /** Throws an Error where a verifier cannot grade answers to this record: it has no reference, or a bad one. */
  checkRecord(record: RewardInput["record"]): void {
    this.#check(record);
  }

  /**
   * Rewards of `inputs[p]`, the samples of problem p, in their order whatever the order of arrival: the weighted sum of the parts, NaN where
   * one failed. Throws RewardError REWARD_ERRORS where more than `maxErrorShare` of a reward failed, as soon as that is known;
   * REWARD_WORKER where workers end again and again before they begin; REWARD_DISPOSED; the signal's reason after an abort.
   */
  async score(inputs: readonly (readonly RewardInput[])[], options: PoolScoreOptions = {}): Promise<PoolScores> {
    const { maxErrorShare = scoreDefaults.maxErrorShare, signal = never, only } = options;
    const asked = this.#parts.gradings.filter(({ name }) => only?.includes(name) ?? true);
    const stop = new AbortController();
    const unlink = [signal, this.#end.signal].map((each) => follow(each, stop));
    try {
      const graded = await Promise.allSettled(
        asked.map((each) =>
          each.grade(inputs, maxErrorShare, stop.signal).catch((error: unknown) => {
            stop.abort(error);
            throw error;
          }),
        ),
      );
      const done = graded.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
      if (done.length < graded.length) throw stop.signal.reason;
      const parts = done.map(({ part }) => part);
      const failures = done.flatMap((each) => each.failures).sort((a, b) => a.index - b.index);
      const counts = Object.assign({}, ...done.map((each) => each.counts ?? {}));
      return { rewards: combineRewards(parts), failures, parts, counts };
    } finally {
      for (const each of unlink) each();
    }
  }

  /** Ends all workers and reward models; what they grade is lost. May be called again. */
  async dispose(): Promise<void> {
    this.#end.abort(new RewardError("REWARD_DISPOSED", "[rewards] expected a pool, got one that was disposed"));
    const { hosts, models, cache } = this.#parts;
    await Promise.all([
      ...hosts.map((host) => host.dispose()),
      ...models.map(({ model }) => model[Symbol.asyncDispose]()),
    ]);
    if (cache !== null) await rm(cache, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

async function openParts(
  named: readonly { readonly name: string; readonly spec: RewardSpec }[],
  { workers = availableParallelism(), loadMs = LOAD_MS, ...options }: RewardPoolOptions,
): Promise<Parts & { readonly places: readonly Place[] }> {
  const models = await openModels(named, options); // first: the largest, and what is most often wrong
  const byWorkers = named.flatMap(({ name, spec }) => (isModel(spec) ? [] : [{ name, spec }]));
  const cache = named.some(({ spec }) => isModule(spec)) ? await mkdtemp(join(tmpdir(), "zazen-rewards-")) : null;
  const places = await makePlaces(byWorkers, { workers, loadMs, cache: cache ?? "" });
  const gradings = named.map(({ name, spec }): Grading => {
    const place = places.find((one) => one.name === name)!;
    const model = models.find((one) => one.name === name)?.model;
    return {
      name,
      weight: spec.weight,
      grade: (...args) => (isModel(spec) ? gradeByModel(model!, { name, spec }, ...args) : gradePart(place, ...args)),
    };
  });
  return { gradings, places, hosts: [...new Set(places.map(({ host }) => host))], models, cache };
}

/** Opens reward models one after another: each sees what memory the ones before have taken. */
async function openModels(
  named: readonly { readonly name: string; readonly spec: RewardSpec }[],
  { threads, engines }: RewardPoolOptions,
): Promise<readonly OpenModel[]> {
  const opened: OpenModel[] = [];
  try {
    for (const { name, spec } of named) {
      if (!isModel(spec)) continue;
      const own = { ...(threads !== undefined && { threads }), ...(engines && { engines }) };
      opened.push({ name, model: await RewardModel.open(spec, { where: `reward ${name}`, ...own }) });
    }
    return opened;
  } catch (error) {
    await Promise.all(opened.map(({ model }) => model[Symbol.asyncDispose]()));
    throw error;
  }
}

function parseSpec(settings: RewardSettings, at: number): RewardSpec {
  const parsed = rewardSpec.safeParse(settings);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = ["rewards", at, ...(issue?.path ?? [])].join(".");
  throw new InputError(
    "REWARD_SPEC",
    `[${place}] expected settings of a reward, got ${JSON.stringify(settings)}: ${issue?.message}`,
  );
}
