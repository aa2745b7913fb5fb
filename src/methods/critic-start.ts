// How the critic of a recipe begins: from the policy's weights, or from another model's, such as the reward model. It reads the policy's own
// ids, so the other model has to have the policy's vocabulary. Leaves out its training.
import { isObject, type JsonObject, readJsonObject, requireModelFolder } from "../config/files.js";
import { loadedSpec } from "../engine/head.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import { readModelSpec, scalarSpec } from "../engine/spec.js";
import type { EngineOptions, LoraOptions, ModelSpec } from "../engine/types.js";
import { InputError } from "../errors.js";
import { openCritic } from "../train/critic.js";
import { policyModel } from "./memory.js";
import { foldersOf } from "./model-folders.js";
import type { RunContext } from "./recipe.js";
import type { LoraSettings } from "./settings.js";

export interface CriticStart {
  /** Folders of the policy, and of the model that the critic begins as. */
  readonly policy: string;
  readonly critic: string;
  readonly lora: LoraSettings;
  /** Of the critic's engine. */
  readonly options: EngineOptions;
  /** Of a new head. */
  readonly seed: number;
}

const where = "ppo.critic.model";

/** The critic before there is an engine of it; `lora` is what a folder of adapters brings. Throws as openCriticBeside does about the folders. */
export async function criticSpec(
  start: CriticStart,
): Promise<{ readonly spec: ModelSpec; readonly lora?: LoraOptions }> {
  const folders = await criticFolders(start);
  const spec = scalarSpec(loadedSpec(await readModelSpec(folders.base), folders, {}));
  if (start.critic !== start.policy) {
    await requireSameTokens(start);
    requireFit(start.critic, spec, (await policyModel(start.policy, start.lora)).spec);
  }
  return { spec, ...(folders.adapter && { lora: folders.adapter.lora }) };
}

/**
 * Beside a policy of the shape `spec`. Throws InputError CRITIC_TOKENIZER where the ids of the policy mean other tokens to the critic or are
 * none of its, CRITIC_POSITIONS where sequences of the policy do not fit in it.
 */
export async function openCriticBeside(
  engines: EngineSource,
  context: Pick<RunContext, "resume">,
  start: CriticStart,
  spec: ModelSpec,
): Promise<EngineLike> {
  if (start.critic !== start.policy) await requireSameTokens(start);
  const origin = { engines, from: start.critic, options: start.options };
  const critic = await openCritic(context, "ppo", origin, start.seed);
  try {
    requireFit(start.critic, critic.spec, spec);
    return critic;
  } catch (error) {
    await critic.dispose();
    throw error;
  }
}

const criticFolders = ({ policy, critic, lora }: CriticStart) =>
  foldersOf(critic, critic === policy ? lora : { base: "" });

/** Every token of the policy's vocabulary is the same id to the critic; it may know more. */
async function requireSameTokens(start: CriticStart): Promise<void> {
  await requireModelFolder(start.critic);
  const [own, other] = await Promise.all([
    foldersOf(start.policy, start.lora).then(({ tokenizer }) => vocabularyOf(tokenizer)),
    criticFolders(start).then(({ tokenizer }) => vocabularyOf(tokenizer)),
  ]);
  const strange = [...own].find(([id, token]) => other.get(id) !== token);
  if (strange === undefined) return;
  const [id, token] = strange;
  const got = other.has(id) ? JSON.stringify(other.get(id)) : "no token";
  throw new InputError(
    "CRITIC_TOKENIZER",
    `[${where}] expected a model with the policy's tokens, since a critic reads the policy's ids, got ${start.critic}, where id ${id} is ` +
      `${got} and not ${JSON.stringify(token)}; leave ${where} empty to begin as the policy, or take a model with its tokenizer`,
  );
}

/** Tokens by id: of the model, and those that were added. */
async function vocabularyOf(folder: string): Promise<ReadonlyMap<number, string>> {
  const file = `${folder}/tokenizer.json`;
  const read = await readJsonObject(file, { code: "TOKENIZER_INVALID" });
  if (read === undefined) {
    throw new InputError(
      "TOKENIZER_MISSING",
      `[${where}] expected tokenizer.json in ${folder}, to see whether ids mean the same to critic and policy, got none; copy it there`,
    );
  }
  const tokens = new Map(modelTokens(isObject(read.model) ? read.model.vocab : undefined));
  for (const added of Array.isArray(read.added_tokens) ? (read.added_tokens as JsonObject[]) : []) {
    if (typeof added.id === "number" && typeof added.content === "string") tokens.set(added.id, added.content);
  }
  return tokens;
}

/** `{token: id}`, or of Unigram a list of `[token, score]`. */
function modelTokens(vocab: unknown): readonly (readonly [number, string])[] {
  if (Array.isArray(vocab)) return vocab.map((entry, id) => [id, String((entry as unknown[])[0])] as const);
  if (!isObject(vocab)) return [];
  return Object.entries(vocab).map(([token, id]) => [Number(id), token] as const);
}

function requireFit(folder: string, critic: ModelSpec, policy: ModelSpec): void {
  if (critic.vocabSize < policy.vocabSize) {
    throw new InputError(
      "CRITIC_TOKENIZER",
      `[${where}] expected a model of at least the policy's ${policy.vocabSize} tokens, got ${folder} of ${critic.vocabSize}; leave ${where} ` +
        "empty to begin as the policy",
    );
  }
  if (critic.maxPositions >= policy.maxPositions) return;
  throw new InputError(
    "CRITIC_POSITIONS",
    `[${where}] expected a model of at least the policy's ${policy.maxPositions} positions, got ${folder} of ${critic.maxPositions}; take ` +
      `another, or leave ${where} empty to begin as the policy`,
  );
}
