// Where the parts of a recipe's model lie: a folder of its own, or an adapter's and its base's.
import { type ModelFolders, modelFolders } from "../engine/peft.js";

/** `lora.base`: "" is the base that an adapter names. Throws InputError as Engine.load. */
export function foldersOf(model: string, { base }: { readonly base: string }): Promise<ModelFolders> {
  return modelFolders(model, base === "" ? undefined : base);
}
