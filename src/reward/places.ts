// Rewards by workers: verifiers share threads, a module has threads or processes of its own, so that its limits are its own.
import { resolve } from "node:path";
import { failureOf, type GradedPart, type RewardFailure, refuseTooMany, rowsOf } from "./combine.js";
import type { Host } from "./host.js";
import type { RewardInput } from "./input.js";
import { isModule, isVerifier } from "./kinds.js";
import { ProcessHost } from "./process-host.js";
import { gradeItems, isFault } from "./scheduler.js";
import type { ModuleSpec } from "./spec.js";
import { ThreadHost } from "./thread-host.js";
import type { WorkerReward } from "./worker/graders.js";

/** A reward and where it runs. */
export interface Place {
  readonly name: string;
  readonly spec: WorkerReward;
  readonly host: Host;
  /** Place of the reward in the host's setup. */
  readonly at: number;
}

export interface PlaceOptions {
  readonly workers: number;
  readonly loadMs: number;
  /** Folder for compiled modules. */
  readonly cache: string;
}

const VERIFIER_MEMORY_MB = 512;
const never = new AbortController().signal;

export async function makePlaces(
  named: readonly { readonly name: string; readonly spec: WorkerReward }[],
  { workers, loadMs, cache }: PlaceOptions,
): Promise<readonly Place[]> {
  const setup = (rewards: readonly WorkerReward[]) => {
    const nameOf = (spec: WorkerReward) => named.find((one) => one.spec === spec)!.name;
    const where = rewards.map((spec) => `reward ${isModule(spec) ? spec.module : nameOf(spec)}`);
    return { rewards: rewards.map(located), where, cache };
  };
  const threads = (rewards: readonly WorkerReward[], memoryMb: number) =>
    ThreadHost.create(setup(rewards), { workers, memoryMb, loadMs });
  const own = (spec: ModuleSpec): Host | Promise<Host> =>
    spec.isolate === "thread"
      ? threads([spec], spec.memoryMb)
      : new ProcessHost(setup([spec]), { workers, memoryMb: spec.memoryMb, loadMs });
  const built = named.map(({ spec }) => spec).filter(isVerifier);
  const shared = built.length > 0 ? await threads(built, VERIFIER_MEMORY_MB) : null;
  return Promise.all(
    named.map(async ({ name, spec }): Promise<Place> => {
      if (isModule(spec)) return { name, spec, host: await own(spec), at: 0 };
      return { name, spec, host: shared!, at: built.indexOf(spec) };
    }),
  );
}

/** With a path that holds in a worker, whatever its folder. */
const located = (spec: WorkerReward): WorkerReward =>
  isModule(spec) ? { ...spec, module: resolve(spec.module) } : spec;

/** A batch of nothing imports the module and tells why it cannot be. */
export async function loadModule({ spec, host, at }: Place): Promise<void> {
  if (isModule(spec)) await host.run({ reward: at, items: [], timeoutMs: spec.timeoutMs }, never);
}

/** One reward of all samples. Throws RewardError REWARD_ERRORS where more than `maxErrorShare` failed, as soon as that is known. */
export async function gradePart(
  { name, spec, host, at }: Place,
  inputs: readonly (readonly RewardInput[])[],
  maxErrorShare: number,
  signal: AbortSignal,
): Promise<GradedPart> {
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
  const flat = Float64Array.from(
    graded.flatMap((each, item) =>
      isFault(each) ? new Array<number>(items[item]!.length).fill(Number.NaN) : [...each],
    ),
  );
  return { part: { name, weight: spec.weight, rewards: rowsOf(flat, inputs) }, failures };
}

function offsets(items: readonly (readonly unknown[])[]): readonly number[] {
  let next = 0;
  return items.map((item) => {
    next += item.length;
    return next - item.length;
  });
}
