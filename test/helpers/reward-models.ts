// Reward models for tests: folders made of the fixtures, and what Python says they score.
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RewardModel } from "../../src/reward/model/model.js";
import type { ModelInput } from "../../src/reward/model/text.js";
import { type ModelReward, type RewardSettings, rewardSpec } from "../../src/reward/spec.js";
import { fixture } from "./files.js";
import { temporaryFolder } from "./temporary.js";

interface Case extends ModelInput {
  readonly text: string;
  readonly ids: readonly number[];
  /** In float64; null where it is not finite. */
  readonly score: number | null;
  /** By onnxruntime in Python. */
  readonly onnx: number | null;
}

export const expected = JSON.parse(readFileSync(fixture("reward/expected.json"), "utf8")) as {
  readonly cases: readonly Case[];
  readonly padded: readonly (number | null)[];
  readonly bert: { readonly ids: readonly (readonly number[])[]; readonly scores: readonly number[] };
};

/** Cases whose score is a number. */
export const soundCases = expected.cases.filter(({ score }) => score !== null);

export interface Folder {
  /** ONNX file under fixtures/reward; none: the folder has none. */
  readonly onnx?: string;
  readonly safetensors?: boolean;
  /** Fields of config.json that are other than the fixture's; null: no config.json. */
  readonly config?: Readonly<Record<string, unknown>> | null;
  readonly template?: boolean;
}

/** A copy of the Llama classifier with what a test changes. */
export function rewardFolder({ onnx, safetensors = false, config = {}, template = true }: Folder): string {
  const folder = join(temporaryFolder("reward-model"), "model");
  cpSync(fixture("reward/llama"), folder, { recursive: true });
  rmSync(join(folder, "model.onnx"));
  if (onnx !== undefined) copyFileSync(fixture(`reward/${onnx}.onnx`), join(folder, "model.onnx"));
  if (!safetensors) rmSync(join(folder, "model.safetensors"));
  edit(join(folder, "config.json"), config);
  edit(join(folder, "tokenizer_config.json"), template ? {} : { chat_template: undefined });
  return folder;
}

function edit(file: string, change: Readonly<Record<string, unknown>> | null): void {
  if (change === null) rmSync(file);
  else writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...change }));
}

type Change = Omit<Extract<RewardSettings, { kind: "model" }>, "kind" | "model">;

export const modelReward = (model: string, change: Change = {}): ModelReward =>
  rewardSpec.parse({ kind: "model", model, ...change }) as ModelReward;

const opened: RewardModel[] = [];

/** Opened for a test; `closeModels` ends it. */
export async function openModel(
  folder: string,
  change: Change = {},
  options: Partial<Parameters<typeof RewardModel.open>[1]> = {},
): Promise<RewardModel> {
  const model = await RewardModel.open(modelReward(folder, change), { where: "reward model", threads: 1, ...options });
  opened.push(model);
  return model;
}

export async function closeModels(): Promise<void> {
  for (const model of opened.splice(0)) await model[Symbol.asyncDispose]();
}

export const never = new AbortController().signal;
