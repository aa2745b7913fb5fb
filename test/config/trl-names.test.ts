// What a user of TRL writes, and the key that the message names: one that the recipe has.
import { describe, expect, test } from "vitest";
import { describeSettings, knownKeys } from "../../src/config/describe.js";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { TRL_KEYS, trlKey } from "../../src/config/trl-names.js";
import { recipes } from "../../src/methods/index.js";

const schemaOf = (name: string) => recipes.find((each) => each.name === name)!.schema;
const keysOf = (name: string) => knownKeys(describeSettings(schemaOf(name)));
const messageOf = (name: string, settings: Settings): string => {
  try {
    resolveSettings(name, schemaOf(name), { model: "m", ...settings });
    return "no error";
  } catch (error) {
    return (error as Error).message;
  }
};

describe("names of TRL", () => {
  test.each([
    ["rlmt", "learning_rate", "grpo.optimizer.learningRate"],
    ["rlmt", "lr", "grpo.optimizer.learningRate"],
    ["rlmt", "beta", "grpo.loss.klCoefficient"],
    ["rlmt", "num_generations", "grpo.samplesPerPrompt"],
    ["rlmt", "max_completion_length", "grpo.sampling.maxTokens"],
    ["rlmt", "max_prompt_length", "maxPromptTokens"],
    ["rlmt", "per_device_train_batch_size", "grpo.prompts"],
    ["rlmt", "epsilon", "grpo.loss.clipLow"],
    ["rlmt", "epsilon_high", "grpo.loss.clipHigh"],
    ["rlmt", "loss_type", "grpo.aggregate"],
    ["rlmt", "gradient_accumulation_steps", "microBatchTokens"],
    ["rlmt", "lora_r", "lora.rank"],
    ["rlmt", "lora_alpha", "lora.alpha"],
    ["rlmt", "reward_model_path", "reward.model"],
    ["rlvr", "reward_model_path", "rewards"],
    ["sft", "learning_rate", "sft.optimizer.learningRate"],
    ["sft", "num_train_epochs", "sft.steps"],
    ["rlmt-warm-start", "num_train_epochs", "sft.epochs"],
    ["rlmt-warm-start", "per_device_train_batch_size", "sft.batch"],
    ["reward-model", "center_rewards_coefficient", "reward.centerCoefficient"],
    ["reward-model", "per_device_train_batch_size", "reward.pairsPerStep"],
  ])("%s: %s is %s", (recipe, name, key) => {
    expect(messageOf(recipe, { [name]: 1 })).toContain(`got "${name}"; TRL's ${name} is ${key} here`);
    expect(keysOf(recipe)).toContain(key);
  });

  test("of several algorithms the one that trains is meant, in a group that group", () => {
    expect(messageOf("rlmt", { algorithm: "dpo", learning_rate: 1 })).toContain("is dpo.optimizer.learningRate here");
    expect(messageOf("rlmt", { algorithm: "dpo", beta: 1 })).toContain("is dpo.beta here");
    expect(messageOf("rlmt", { ppo: { learning_rate: 1 } })).toContain(
      'got "ppo.learning_rate"; TRL\'s learning_rate is ppo.',
    );
  });

  test("every key of the table is one of a recipe", () => {
    const known = recipes.flatMap(({ name }) => keysOf(name));
    const isKnown = (key: string) =>
      known.some((own) => own === key || (key.startsWith("*.") && own.endsWith(key.slice(1))));
    expect(
      Object.values(TRL_KEYS)
        .flat()
        .filter((key) => !isKnown(key)),
    ).toEqual([]);
  });

  test("a name whose key the recipe does not have stands for none", () => {
    expect(trlKey("num_generations", keysOf("sft"))).toBeNull();
    expect(trlKey("toString", keysOf("sft"))).toBeNull();
    expect(messageOf("sft", { num_generations: 8 })).not.toContain("TRL");
  });
});
