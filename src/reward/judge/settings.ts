// The settings of a judge at an endpoint. What they do is in judge.ts.
import { z } from "zod";
import { endpointPart } from "../../config/endpoint.js";
import { group } from "../../config/fragments.js";
import { resolveSettings, type Settings } from "../../config/resolve.js";
import { NOTE_TEMPLATE, SUM_TEMPLATE } from "./find-traits.js";
import { ANSWER_TEMPLATE, TRAIT_TEMPLATE, TRAITS } from "./verdict.js";

const template = (value: string, names: readonly string[]) =>
  z
    .string()
    .refine((text) => names.every((name) => text.includes(`{${name}}`)), `a text with {${names.join("}, {")}}`)
    .default(value);

const schema = z.strictObject({
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0)
    .describe("Draws the order in which the judge sees two texts."),
  endpoint: endpointPart(),
  bothOrders: z.boolean().default(false).describe("Ask each pair in either order."),
  temperature: z.number().min(0).max(10).default(0).describe("Of the judge's sampling."),
  maxTokens: z.int().min(1).max(1_048_576).default(1024).describe("New tokens of an answer at most."),
  maxFailures: z.int().min(0).max(1_000_000).default(20).describe("Questions in a row that may be refused."),
  answers: group({
    template: template(ANSWER_TEMPLATE, ["prompt", "a", "b"]).describe("Which of two responses is better."),
  }),
  traits: group({
    template: template(TRAIT_TEMPLATE, ["trait", "a", "b"]).describe("Which of two thoughts shows more of a trait."),
    list: z
      .record(z.string().min(1), z.string().min(1))
      .refine((list) => Object.keys(list).length > 0, "at least one trait")
      .default({ ...TRAITS })
      .describe("Traits by name, with what each is."),
    find: z
      .int()
      .min(0)
      .max(64)
      .default(0)
      .describe("Traits that the judge finds by itself, at most, in the place of traits.list; 0 takes the list."),
    findPairs: z
      .int()
      .min(1)
      .max(100_000)
      .default(40)
      .describe("Pairs that it finds them in, drawn by seed; the others are compared."),
    noteTemplate: template(NOTE_TEMPLATE, ["a", "b"]).describe("What tells two thoughts apart."),
    sumTemplate: template(SUM_TEMPLATE, ["notes", "count"]).describe("Few traits of all notes."),
  }),
});

export type JudgeSettings = z.output<typeof schema>;

/** Throws InputError RECIPE_KEY and RECIPE_VALUE. */
export function judgeSettings(settings: Settings): JudgeSettings {
  return resolveSettings("judge", schema, settings, { where: "judge", help: "zazen judge --help" });
}
