// Which settings differ between runs, so that "everything else equal" is shown and not assumed. Pure.
import { isObject, type JsonObject } from "../../config/files.js";

/** A setting that is not the same in all runs. */
export interface SettingDifference {
  /** Dotted, such as "grpo.loss.klCoefficient". */
  readonly key: string;
  /** One value a run; undefined where the run has no such setting. */
  readonly values: readonly unknown[];
}

/** Groups of settings of which a run reads the one that its `algorithm` names, where it has that setting. */
const ALGORITHMS = ["grpo", "dpo", "ppo"];

/**
 * Every setting that differs among the runs that read it, in the order in which the runs have them. Lists are compared as a whole. What one
 * run alone reads, of an algorithm that no other has, is no difference beside that of the algorithm.
 */
export function settingDifferences(configs: readonly JsonObject[]): readonly SettingDifference[] {
  const flat = configs.map((config) => new Map(leaves(config, "")));
  const keys = new Set(flat.flatMap((settings) => [...settings.keys()]));
  return [...keys].flatMap((key) => {
    const values = flat.map((settings) => settings.get(key));
    const read = values.filter((_, r) => isRead(configs[r]!, key));
    return read.every((value) => sameJson(value, read[0])) ? [] : [{ key, values }];
  });
}

function isRead({ algorithm }: JsonObject, key: string): boolean {
  const [group] = key.split(".");
  return typeof algorithm !== "string" || !ALGORITHMS.includes(group!) || group === algorithm;
}

function leaves(value: JsonObject, prefix: string): (readonly [key: string, value: unknown])[] {
  return Object.entries(value).flatMap(([name, each]) => {
    const key = `${prefix}${name}`;
    return isObject(each) && Object.keys(each).length > 0 ? leaves(each, `${key}.`) : [[key, each] as const];
  });
}

/** Equal as JSON, whatever the order of keys. */
function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a, sorted) === JSON.stringify(b, sorted);
}

function sorted(_key: string, value: unknown): unknown {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
