// A reward model's settings: which folder, how its text is made and cut, how it is computed. Ranges, defaults and help live here.
import { z } from "zod";
import { dateSetting } from "../../config/data.js";
import { onDisk } from "../../config/fragments.js";
import { DTYPES } from "../../engine/types.js";

const DEFAULT_MAX_TOKENS = 4096;
const DEFAULT_BATCH_TOKENS = 4096;
const DEFAULT_TIMEOUT_MS = 600_000;
const MOST_TOKENS = 2 ** 22;
const MOST_TIMEOUT_MS = 86_400_000;

/** Fields beside name and weight, which every reward has. */
export const modelFields = {
  model: z
    .string()
    .min(1)
    .describe("Folder of a sequence classifier with one label: safetensors, or ONNX; with its tokenizer.")
    .meta(onDisk("folder")),
  runtime: z
    .enum(["auto", "native", "onnx"])
    .default("auto")
    .describe("What computes it: the engine, or onnxruntime-node; auto takes the engine where there are safetensors."),
  file: z.string().default("").describe("ONNX file in the folder; empty: model.onnx or onnx/model.onnx."),
  template: z
    .string()
    .default("")
    .describe("File of a chat template in the place of the model's own.")
    .meta(onDisk("file")),
  kwargs: z.record(z.string(), z.json()).default({}).describe("Variables for the chat template."),
  date: dateSetting(),
  maxTokens: z
    .int()
    .min(1)
    .max(MOST_TOKENS)
    .default(DEFAULT_MAX_TOKENS)
    .describe("Tokens of a text at most, within the model's positions; what is beyond is cut off and counted."),
  dtype: z.enum(DTYPES).default("float32").describe("Type of its weights in the engine; an ONNX file has its own."),
  batchTokens: z
    .int()
    .min(1)
    .max(MOST_TOKENS)
    .default(DEFAULT_BATCH_TOKENS)
    .describe("Tokens computed at once at most, a single text aside; of ONNX padding counts."),
  threads: z.int().min(0).max(1024).default(0).describe("Threads of the model, of each worker of ONNX; 0: as the run."),
  workers: z.int().min(1).max(64).default(1).describe("Processes that run an ONNX file, each with its own weights."),
  timeoutMs: z
    .int()
    .min(1)
    .max(MOST_TIMEOUT_MS)
    .default(DEFAULT_TIMEOUT_MS)
    .describe("Milliseconds for an ONNX file to load, and for each batch; over it the run stops."),
  scale: z.number().min(-1e6).max(1e6).default(1).describe("Factor of the score: the reward is scale * score + shift."),
  shift: z.number().min(-1e6).max(1e6).default(0).describe("Added to the scaled score."),
};

const complete = z.strictObject(modelFields);

/** A reward model's settings, complete. */
export type RewardModelSettings = z.output<typeof complete>;
