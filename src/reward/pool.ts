// Rewards by settings: built-in verifiers on threads, users' modules in processes or on threads, each sample under a deadline. One pool serves a
// whole run; its workers start when they are needed, keep no process alive, and end with `dispose`.
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { InputError } from "../errors.js";
import { combineRewards, failureOf, type RewardFailure, type RewardPart, refuseTooMany } from "./combine.js";
import { RewardError } from "./faults.js";
import type { Host } from "./host.js";
import type { RewardInput } from "./input.js";
import { isModule } from "./kinds.js";
import { ProcessHost } from "./process-host.js";
import { type Graded, gradeItems, isFault } from "./scheduler.js";
import { type Scores, scoreDefaults } from "./score.js";
import { follow } from "./signals.js";
import { type ModuleSpec, type RewardSettings, type RewardSpec, rewardNames, rewardSpec } from "./spec.js";
import { ThreadHost } from "./thread-host.js";
import { recordCheck } from "./verifiers.js";

export interface RewardPoolOptions {
  /** Threads of the verifiers, and workers of each module. Default: the cores that this process may use. */
  readonly workers?: number;
  /** Milliseconds in which a module has to be imported. Default 60,000. */
  readonly loadMs?: number;
}

export interface PoolScoreOptions {
  /** Share of each reward's values that may fail before the run stops. Default 0.05. */
  readonly maxErrorShare?: number;
  readonly signal?: AbortSignal;
}

export interface PoolScores extends Scores {
  /** Each reward before weighting, in the order of the settings. */
  readonly parts: readonly RewardPart[];
}

const LOAD_MS = 60_000;
const VERIFIER_MEMORY_MB = 512;
const never = new AbortController().signal;

/** A reward and where it runs. */
interface Place {
  readonly name: string;
  readonly spec: RewardSpec;
  readonly host: Host;
  /** Place of the reward in the host's setup. */
  readonly at: number;
}

export class RewardPool {
  readonly names: readonly string[];
  readonly weights: readonly number[];
  readonly #places: readonly Place[];
  readonly #hosts: readonly Host[];
  readonly #check: (record: RewardInput["record"]) => void;
  readonly #cache: string | null;
  readonly #end = new AbortController();

  private constructor(
    places: readonly Place[],
    hosts: readonly Host[],
    check: (record: RewardInput["record"]) => void,
    cache: string | null,
  ) {
    this.#places = places;
    this.#hosts = hosts;
    this.#check = check;
    this.#cache = cache;
    this.names = places.map(({ name }) => name);
    this.weights = places.map(({ spec }) => spec.weight);
  }

  /**
   * Imports every module once, in its worker. Throws InputError: REWARD_NONE, REWARD_NAME, REWARD_SPEC for settings that are none,
   * REWARD_MODULE_MISSING, REWARD_MODULE_EXPORT and REWARD_MODULE_LOAD (it throws, hangs or ends its worker), FORMAT_PATTERN,
   * CHOICE_OPTIONS. Paths of modules are relative to the working directory.
   */
  static async create(settings: readonly RewardSettings[], options: RewardPoolOptions = {}): Promise<RewardPool> {
    const specs = settings.map(parseSpec);
    if (specs.length === 0) throw new InputError("REWARD_NONE", "[rewards] expected at least one reward, got none");
    const names = rewardNames(specs);
    const check = recordCheck(specs);
    const cache = specs.some(isModule) ? await mkdtemp(join(tmpdir(), "zazen-rewards-")) : null;
    const { places, hosts } = await makePlaces(specs, names, cache ?? "", options);
    const pool = new RewardPool(places, hosts, check, cache);
    try {
      await Promise.all(places.map((place) => loadModule(place)));
      return pool;
    } catch (error) {
      await pool.dispose();
      throw error;
    }
  }

  /** Workers that are alive. */
  get workers(): number {
    return this.#hosts.reduce((sum, host) => sum + host.alive, 0);
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
    const { maxErrorShare = scoreDefaults.maxErrorShare, signal = never } = options;
    const stop = new AbortController();
    const unlink = [signal, this.#end.signal].map((each) => follow(each, stop));
    try {
      const graded = await Promise.allSettled(
        this.#places.map((place) =>
          gradePart(place, inputs, maxErrorShare, stop.signal).catch((error: unknown) => {
            stop.abort(error);
            throw error;
          }),
        ),
      );
      const done = graded.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
      if (done.length < graded.length) throw stop.signal.reason;
      const parts = done.map(({ part }) => part);
      const failures = done.flatMap((each) => each.failures).sort((a, b) => a.index - b.index);
      return { rewards: combineRewards(parts), failures, parts };
    } finally {
      for (const each of unlink) each();
    }
  }

  /** Ends all workers; what they grade is lost. May be called again. */
  async dispose(): Promise<void> {
    this.#end.abort(new RewardError("REWARD_DISPOSED", "[rewards] expected a pool, got one that was disposed"));
    await Promise.all(this.#hosts.map((host) => host.dispose()));
    if (this.#cache !== null) await rm(this.#cache, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
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

/** Verifiers share threads; a module has workers of its own, so that its limits are its own. */
async function makePlaces(
  specs: readonly RewardSpec[],
  names: readonly string[],
  cache: string,
  { workers = availableParallelism(), loadMs = LOAD_MS }: RewardPoolOptions,
) {
  const setup = (rewards: readonly RewardSpec[]) => {
    const where = rewards.map((spec) => `reward ${isModule(spec) ? spec.module : names[specs.indexOf(spec)]}`);
    return { rewards: rewards.map(located), where, cache };
  };
  const threads = (rewards: readonly RewardSpec[], memoryMb: number) =>
    ThreadHost.create(setup(rewards), { workers, memoryMb, loadMs });
  const own = (spec: ModuleSpec): Host | Promise<Host> =>
    spec.isolate === "thread"
      ? threads([spec], spec.memoryMb)
      : new ProcessHost(setup([spec]), { workers, memoryMb: spec.memoryMb, loadMs });
  const built = specs.filter((spec) => !isModule(spec));
  const shared = built.length > 0 ? await threads(built, VERIFIER_MEMORY_MB) : null;
  const places = await Promise.all(
    specs.map(async (spec, k): Promise<Place> => {
      if (isModule(spec)) return { name: names[k]!, spec, host: await own(spec), at: 0 };
      return { name: names[k]!, spec, host: shared!, at: built.indexOf(spec) };
    }),
  );
  return { places, hosts: [...new Set(places.map(({ host }) => host))] };
}

/** With a path that holds in a worker, whatever its folder. */
const located = (spec: RewardSpec): RewardSpec => (isModule(spec) ? { ...spec, module: resolve(spec.module) } : spec);

/** A batch of nothing imports the module and tells why it cannot be. */
async function loadModule({ spec, host, at }: Place): Promise<void> {
  if (isModule(spec)) await host.run({ reward: at, items: [], timeoutMs: spec.timeoutMs }, never);
}

/** One reward of all samples. */
async function gradePart(
  { name, spec, host, at }: Place,
  inputs: readonly (readonly RewardInput[])[],
  maxErrorShare: number,
  signal: AbortSignal,
): Promise<{ readonly part: RewardPart; readonly failures: readonly RewardFailure[] }> {
  const perGroup = isModule(spec) && spec.per === "group";
  const samples = inputs.flat();
  const items = perGroup ? inputs.filter((group) => group.length > 0) : samples.map((sample) => [sample]);
  const starts = offsets(items);
  const failures: RewardFailure[] = [];
  const graded = await gradeItems(host, items, {
    reward: at,
    timeoutMs: spec.timeoutMs,
    concurrency: isModule(spec) ? spec.concurrency : 1,
    signal,
    onFault: (item, fault) => {
      items[item]!.forEach((sample, i) => void failures.push(failureOf(starts[item]! + i, fault, sample.completion)));
      failures.sort((a, b) => a.index - b.index);
      refuseTooMany(failures, samples.length, maxErrorShare, `reward ${name}`);
    },
  });
  return { part: { name, weight: spec.weight, rewards: byProblem(graded, items, inputs) }, failures };
}

function offsets(items: readonly (readonly unknown[])[]): readonly number[] {
  let next = 0;
  return items.map((item) => {
    next += item.length;
    return next - item.length;
  });
}

/** Graded items, in order, to rows as long as the problems'. */
function byProblem(
  graded: readonly Graded[],
  items: readonly (readonly unknown[])[],
  inputs: readonly (readonly unknown[])[],
): readonly Float64Array[] {
  const flat = graded.flatMap((each, item) =>
    isFault(each) ? new Array<number>(items[item]!.length).fill(Number.NaN) : [...each],
  );
  let next = 0;
  return inputs.map((own) => {
    next += own.length;
    return Float64Array.from(flat.slice(next - own.length, next));
  });
}
