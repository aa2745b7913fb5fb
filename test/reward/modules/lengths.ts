// Rewards that work: sync, async, of groups, in TypeScript that needs more than its types removed.
import type { RewardInput } from "../../../src/index.js";

enum Bonus {
  Finished = 0.5,
}

export default function lengthReward({ completion, finish }: RewardInput): number {
  return completion.length + (finish === "stop" ? Bonus.Finished : 0);
}

/** Later samples are done sooner. */
export async function slowFirst({ completion, tokens }: RewardInput): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, tokens));
  return completion.length;
}

/** 1 for the longest of a group. */
export function longest(inputs: readonly RewardInput[]): number[] {
  const most = Math.max(...inputs.map(({ completion }) => completion.length));
  return inputs.map(({ completion }) => Number(completion.length === most));
}

export const asTyped = async (inputs: readonly RewardInput[]): Promise<Float32Array> =>
  Float32Array.from(inputs, ({ record }) => Number(record.answer));

export const tooFew = (): number[] => [1];

export const notAFunction = 7;
