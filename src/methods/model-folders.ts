// Where the parts of a recipe's model lie: a folder of its own, or an adapter's and its base's.
import { type ModelFolders, modelFolders } from "../engine/peft.js";
import { Tokenizer } from "../prompt/tokenizer.js";

/** `lora.base`: "" is the base that an adapter names. Throws InputError as Engine.load. */
export function foldersOf(model: string, { base }: { readonly base: string }): Promise<ModelFolders> {
  return modelFolders(model, base === "" ? undefined : base);
}

/** For a dry run: throws InputError TOKENIZER_* where the model's tokenizer is not there or cannot be used. */
export async function requireTokenizer({
  model,
  lora,
}: {
  readonly model: string;
  readonly lora: { readonly base: string };
}): Promise<void> {
  const { tokenizer } = await foldersOf(model, lora);
  using _ = await Tokenizer.load(tokenizer);
}
