// What the tests of rewards share: inputs from texts, the paths of modules, and a look at processes.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { RewardInput } from "../../src/reward/input.js";

export const modulePath = (name: string): string =>
  fileURLToPath(new URL(`../reward/modules/${name}`, import.meta.url));

export function rewardInput(completion: string, change: Partial<RewardInput> = {}): RewardInput {
  const record = { answer: "4" };
  return {
    prompt: "?",
    messages: [{ role: "user", content: "?" }],
    completion,
    thinking: null,
    answer: completion,
    record,
    tokens: 3,
    finish: "length",
    ...change,
  };
}

export const inputsOf = (...groups: readonly (readonly string[])[]): RewardInput[][] =>
  groups.map((texts) => texts.map((text) => rewardInput(text)));

/** Processes whose command line holds a text, as their parent's id, their own, and the line; `ownOnly`: children of this process. */
export function processesWith(text: string, ownOnly = false): string[] {
  const lines = execFileSync("ps", ["-eo", "ppid,pid,args"], { encoding: "utf8" }).split("\n");
  const own = new RegExp(`^\\s*${process.pid}\\s`);
  return lines.filter((line) => line.includes(text) && (!ownOnly || own.test(line)) && !/\d ps /.test(line));
}

/** Ids of this process's children whose command line holds a text, the newest last. */
export const childrenWith = (text: string): number[] =>
  processesWith(text, true)
    .map((line) => Number(line.trim().split(/\s+/)[1]))
    .sort((a, b) => a - b);
