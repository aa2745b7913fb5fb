// Settings that turn data into prompts and examples: how conversations become text, what of them is trained on, what happens to long ones.
import { z } from "zod";
import { dateSetting } from "../config/data.js";
import { group } from "../config/fragments.js";
import type { TemplateOptions } from "../prompt/chat.js";

/** How a chat template is used. */
export function chatPart() {
  return group({
    template: z
      .string()
      .default("")
      .describe("Name of the chat template where the model has several; empty is default."),
    kwargs: z
      .record(z.string(), z.json())
      .default({})
      .describe("Variables for the chat template (chat_template_kwargs): {enable_thinking: false}."),
    date: dateSetting(),
  });
}

export type ChatSettings = z.output<ReturnType<typeof chatPart>>;

export const templateOptions = ({ template, kwargs, date }: ChatSettings): TemplateOptions => ({
  name: template,
  kwargs,
  date,
});

/** What of an example is trained on. */
export function examplesPart() {
  return group({
    trainOn: z
      .enum(["assistant", "last", "all"])
      .default("assistant")
      .describe(
        "Completions and all turns of the assistant (assistant_only_loss), only the last turn, or every token.",
      ),
    maxTokens: z.int().min(0).default(0).describe("Longest example; 0 is the model's positions."),
    tooLong: z
      .enum(["error", "truncate", "drop"])
      .default("error")
      .describe("A longer example stops the run, loses its end, or is left out; the last two are counted."),
  });
}

export type ExampleSettings = z.output<ReturnType<typeof examplesPart>>;
