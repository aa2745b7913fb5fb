// Rewards as settings: the built-in verifiers, reward models and a user's module, each with a name and a weight. The schema holds every
// default, range and help text. Leaves out running them.
import { basename, extname } from "node:path";
import { z } from "zod";
import { onDisk } from "../config/fragments.js";
import { InputError } from "../errors.js";
import { isModule } from "./kinds.js";
import { modelFields } from "./model/settings.js";

const DEFAULT_TIMEOUT_MS = 5_000;
const MOST_TIMEOUT_MS = 3_600_000;
const DEFAULT_MEMORY_MB = 512;

const named = {
  name: z
    .string()
    .regex(/^[\w.-]{0,64}$/)
    .default("")
    .describe("Its name in logs, letters, digits and _.-; empty: the kind, or the module's file name."),
  weight: z.number().min(-1e6).max(1e6).default(1).describe("Factor in the sum that is the sample's reward."),
};

const common = {
  ...named,
  timeoutMs: z
    .int()
    .min(1)
    .max(MOST_TIMEOUT_MS)
    .default(DEFAULT_TIMEOUT_MS)
    .describe("Milliseconds for one sample, or one group; over it the reward has failed."),
};

const from = z
  .enum(["answer", "completion"])
  .default("answer")
  .describe("What is graded: what follows the thought, or all that was written.");

const verifier = {
  ...common,
  field: z.string().min(1).default("answer").describe("Field of the record that holds the right answer."),
  from,
};

const maths = z.strictObject({
  kind: z.literal("maths").describe("The verifier; a module has none."),
  ...verifier,
});

const choice = z.strictObject({
  kind: z.literal("choice"),
  ...verifier,
  labels: z.array(z.string()).default([]).describe("What the options are called; none: A, B, C, D, E."),
  choices: z
    .string()
    .default("choices")
    .describe("Field of the record that lists the options' texts, where it has one."),
});

const exact = z.strictObject({
  kind: z.literal("exact"),
  ...verifier,
  ignoreCase: z.boolean().default(true).describe("Capitals do not count."),
  ignoreSpace: z.boolean().default(true).describe("How wide blanks are does not count."),
  ignorePunctuation: z.boolean().default(false).describe("Punctuation does not count."),
  ignoreArticles: z.boolean().default(false).describe("The words a, an and the do not count."),
});

const format = z.strictObject({
  kind: z.literal("format"),
  ...common,
  thinking: z.string().default("think").describe("Tag of a thought that has to be well formed; empty asks for none."),
  sections: z
    .array(z.string().min(1))
    .default([])
    .describe("Tags that have to follow the thought, once each, in order."),
  pattern: z.string().default("").describe("Regular expression that the completion has to match."),
  flags: z.string().default("").describe("Flags of the pattern, such as is."),
});

const countdown = z.strictObject({
  kind: z.literal("countdown"),
  ...common,
  from,
  useAll: z.boolean().default(true).describe("Every number has to be used."),
});

const model = z.strictObject({
  kind: z.literal("model"),
  ...named,
  from,
  ...modelFields,
});

const module = z.strictObject({
  kind: z.literal("module").optional(),
  ...common,
  module: z.string().min(1).describe("File with a reward function: .ts, .mts, .js or .mjs.").meta(onDisk("file")),
  export: z.string().min(1).default("default").describe("The function's name in the module."),
  per: z
    .enum(["sample", "group"])
    .default("sample")
    .describe("Called for one sample, or for all of a problem at once."),
  isolate: z
    .enum(["process", "thread"])
    .default("process")
    .describe(
      "process: whatever the module does costs one sample. thread: faster; exits and memory are the run's own.",
    ),
  memoryMb: z
    .int()
    .min(64)
    .max(1_048_576)
    .default(DEFAULT_MEMORY_MB)
    .describe("MB that a process of the module may use."),
  concurrency: z.int().min(1).max(1024).default(8).describe("Calls of an async function in flight at once, a worker."),
});

export const rewardSpec = z.discriminatedUnion("kind", [maths, choice, exact, format, countdown, model, module]);

/** The setting `rewards` of a recipe. */
export const rewardList = () => z.array(rewardSpec).max(32);

export type RewardSpec = z.output<typeof rewardSpec>;
export type ModuleSpec = z.output<typeof module>;
export type ModelReward = z.output<typeof model>;
export type VerifierSpec = Exclude<RewardSpec, ModuleSpec | ModelReward>;
/** What may be written: settings with a default may be left out. */
export type RewardSettings = z.input<typeof rewardSpec>;

/** Names of metrics that the loop itself writes as `reward/NAME`. */
const RESERVED = ["mean", "std", "errors"];

/** The name of each reward, in order. Throws InputError REWARD_NAME where two are the same or one is the loop's own. */
export function rewardNames(specs: readonly RewardSpec[]): readonly string[] {
  const names = specs.map((spec) => spec.name || (isModule(spec) ? stem(spec.module) : spec.kind));
  const wrong = names.find((name, k) => names.indexOf(name) !== k || RESERVED.includes(name));
  if (wrong === undefined) return names;
  const got = RESERVED.includes(wrong) ? `"${wrong}", which is a metric of the loop` : `"${wrong}" twice`;
  throw new InputError("REWARD_NAME", `[rewards] expected a name for each reward, got ${got}; set its name`);
}

const stem = (file: string): string => basename(file, extname(file)).replace(/[^\w.-]/g, "_");
