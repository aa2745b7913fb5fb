// What rewards take: models, and the threads that grade in the run's own process. Leaves out the processes of modules, which have limits of
// their own.
import { availableParallelism } from "node:os";
import type { OtherMemory } from "../engine/memory.js";
import type { ModelSpec } from "../engine/types.js";
import { isModel, isModule, isVerifier } from "./kinds.js";
import { nativeMemory } from "./model/memory.js";
import { foreseeModel } from "./model/model.js";
import { type ModelReward, type RewardSpec, rewardNames } from "./spec.js";

/** V8's heap of a thread with the code of the graders, measured with the verifiers. */
const THREAD_BYTES = 12 * 2 ** 20;

/** A reward model in a plan, by its reward's name. */
export const modelPart = (reward: string, memory: Omit<OtherMemory, "name">): OtherMemory => ({
  name: reward === "model" ? "reward model" : `reward model ${reward}`,
  ...memory,
});

/** What a reward model of a shape will take on the engine, before there is a folder of it. */
export function foreseeNative(settings: ModelReward, spec: ModelSpec): OtherMemory {
  const maxTokens = Math.min(settings.maxTokens, spec.maxPositions);
  return modelPart("model", { ...nativeMemory({ spec, lora: null }, settings, maxTokens), held: 0 });
}

/** So many threads, of which some have begun; nothing for none. */
export function threadParts(threads: number, begun: number): readonly OtherMemory[] {
  if (threads === 0) return [];
  return [{ name: "reward threads", bytes: threads * THREAD_BYTES, held: begun * THREAD_BYTES }];
}

/** What a pool of rewards will take, without making it; `workers` as in its options. Throws as RewardModel.open does about folders. */
export async function foreseeRewards(
  specs: readonly RewardSpec[],
  workers = availableParallelism(),
): Promise<readonly OtherMemory[]> {
  const names = rewardNames(specs);
  const models = await Promise.all(
    specs.flatMap((spec, k) => {
      if (!isModel(spec)) return [];
      const foreseen = foreseeModel(spec, { where: `reward ${names[k]}` });
      return [foreseen.then((memory) => modelPart(names[k]!, { ...memory, held: 0 }))];
    }),
  );
  const hosts =
    Number(specs.some(isVerifier)) + specs.filter((spec) => isModule(spec) && spec.isolate === "thread").length;
  return [...models, ...threadParts(hosts * workers, 0)];
}
