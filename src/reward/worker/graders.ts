// A reward as a function of items, in the worker: a built-in verifier, or a user's module that is imported here and nowhere else. TypeScript
// goes through jiti, which Node 20 needs; JavaScript is imported as it is. What a worker does not need is not loaded: it may be started often.
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { pathToFileURL } from "node:url";
import { InputError } from "../../errors.js";
import { describeThrown, describeValue } from "../faults.js";
import type { GroupReward, RewardInput, SampleReward } from "../input.js";
import { isModule } from "../kinds.js";
import type { ModuleSpec, VerifierSpec } from "../spec.js";

/** A reward that workers grade by. */
export type WorkerReward = VerifierSpec | ModuleSpec;

/** What a worker is told when it starts. */
export interface WorkerSetup {
  readonly rewards: readonly WorkerReward[];
  /** Names each reward in messages. */
  readonly where: readonly string[];
  /** Folder for compiled modules, the pool's own. */
  readonly cache: string;
}

/** Rewards of an item's samples; unchecked, since a user's function may return anything. */
export type Grader = (item: readonly RewardInput[]) => unknown;

const TYPESCRIPT = [".ts", ".mts", ".cts", ".tsx"];

/** Throws InputError REWARD_MODULE_* for a module that cannot be used. */
export async function loadGrader(spec: WorkerReward, where: string, cache: string): Promise<Grader> {
  if (!isModule(spec)) {
    const { verifier } = await import("../verifiers.js");
    const { grade } = verifier(spec);
    return ([input]) => grade(input!);
  }
  const reward = await loadFunction(spec, where, cache);
  return spec.per === "group" ? (item) => (reward as GroupReward)(item) : ([input]) => (reward as SampleReward)(input!);
}

async function loadFunction(spec: ModuleSpec, where: string, cache: string): Promise<unknown> {
  const found = await stat(spec.module).catch(() => null);
  if (!found?.isFile()) {
    const got = found === null ? "nothing there" : "something that is not a file";
    throw new InputError(
      "REWARD_MODULE_MISSING",
      `[${where}] expected a .ts, .mts, .js or .mjs file, got ${got}; check the path`,
    );
  }
  const exported = await importFile(spec.module, where, cache);
  const value = exported[spec.export];
  if (typeof value === "function") return value;
  const names = Object.keys(exported);
  const { didYouMean } = await import("../../config/nearest.js");
  const got = spec.export in exported ? describeValue(value) : `a module that exports ${names.join(", ") || "nothing"}`;
  throw new InputError(
    "REWARD_MODULE_EXPORT",
    `[${where}] expected a function exported as "${spec.export}", got ${got}${didYouMean(spec.export, names)}; ` +
      "set export to the function's name",
  );
}

async function importFile(file: string, where: string, cache: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    if (!TYPESCRIPT.includes(extname(file))) return await import(pathToFileURL(file).href);
    const { createJiti } = await import("jiti");
    return await createJiti(import.meta.url, { fsCache: cache }).import(file);
  } catch (error) {
    throw new InputError(
      "REWARD_MODULE_LOAD",
      `[${where}] expected a module that can be imported, got one that ${describeThrown(error)}; correct the module`,
      { cause: error },
    );
  }
}
