// What a warm start asks of the model's folder before data are read: a chat template, which a base model does not have.
import { InputError } from "../errors.js";
import { ChatTemplate } from "../prompt/chat.js";
import { type ChatSettings, templateOptions } from "./data-settings.js";
import { type FormatSettings, formatFrom } from "./format-settings.js";
import { foldersOf } from "./model-folders.js";

/** Who starts, and how it is asked. */
export interface ChatStart extends FormatSettings {
  readonly model: string;
  readonly lora: { readonly base: string };
  readonly chat: ChatSettings;
}

/** The chat template of a warm start, null of a zero start. Throws InputError CHAT_TEMPLATE_MISSING, FORMAT, and of the model's folder. */
export async function startTemplate(recipe: string, config: ChatStart): Promise<ChatTemplate | null> {
  if (formatFrom(config).prompt.style !== "chat") return null;
  const { tokenizer: folder } = await foldersOf(config.model, config.lora);
  const template = await ChatTemplate.load(folder, templateOptions(config.chat));
  if (template !== null) return template;
  throw new InputError(
    "CHAT_TEMPLATE_MISSING",
    `[recipe ${recipe}] start: expected a chat template in ${folder} for a warm start, got none; set start=zero, whose prompts are plain ` +
      "text for a base model, or put the model's chat_template.jinja there",
  );
}
