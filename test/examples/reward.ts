import type { RewardInput } from "../../src/index.js";

/** 1 for an answer that names the right city, less for every word above ten. */
export default function briefly({ answer, record }: RewardInput): number {
  if (answer === null) return 0;
  const words = answer.trim().split(/\s+/).length;
  return answer.includes(String(record.city)) ? 1 - 0.05 * Math.max(0, words - 10) : 0;
}
