// `zazen generate`: samples from a model folder, as text, ids and log-probs.
import { Command } from "commander";
import type { DType, GenerateResult, SamplingParams } from "../engine/types.js";
import { InputError } from "../errors.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import { baseOption, collect, dtypeOption, inferenceOptions, integer, number } from "./flags.js";
import { commonHelp, printJson, printLines } from "./output.js";
import { cutAtStop } from "./stop-strings.js";

export interface GenerateOptions {
  readonly model: string;
  readonly base?: string;
  readonly prompt: string;
  readonly n: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly maxTokens?: number;
  readonly seed: number;
  readonly stop?: readonly string[];
  readonly raw?: boolean;
  readonly threads?: number;
  readonly dtype: DType;
  readonly json?: boolean;
}

export interface TextSample {
  readonly text: string;
  readonly tokens: readonly number[]; // [T], the completion without its prompt
  readonly logprobs: readonly number[]; // [T]
  readonly finish: "stop" | "length" | "abort";
}

const defaultMaxTokens = 256;

const help = `
The prompt goes through the model's chat template as one user message; with --raw, or where the model has no
template, it is text to continue. Log-probs are those of softmax(logits / temperature), at temperature 0 of
softmax(logits), over the whole vocabulary. A stop string trims the text, not the ids: they end with the token
that completes it.

Examples:
  zazen generate --model runs/mine/model --prompt "<q> 16 9 3 -> 10 <think>" --n 4
  zazen generate --model Qwen2.5-0.5B-Instruct --prompt "Why is the sky blue?" --temperature 0.7 --json
  zazen generate --model stories260k --prompt "Once upon a time" --raw --stop "." --seed 3

JSON: {samples: [{text, tokens, logprobs, finish: stop | length}]}`;

export function generateCommand(): Command {
  return new Command("generate")
    .summary("sample from a model")
    .description("Samples completions of a prompt from a model folder.")
    .requiredOption(
      "--model <DIR>",
      "model folder: config.json, model.safetensors, tokenizer.json; or adapters of peft",
    )
    .addOption(baseOption())
    .requiredOption("--prompt <TEXT>", "text of the prompt")
    .option("--n <count>", "samples", integer({ min: 1, max: 65_536 }), 1)
    .option("--temperature <T>", "divides the logits; 0 is greedy", number({ min: 0, max: 100 }), 1)
    .option("--top-k <K>", "sample among the K likeliest tokens; 0 is off", integer({ min: 0 }), 0)
    .option(
      "--top-p <P>",
      "sample among the tokens that hold this mass; 1 is off",
      number({ min: 0, max: 1, aboveMin: true }),
      1,
    )
    .option(
      "--max-tokens <count>",
      `new tokens at most (default: ${defaultMaxTokens}, or what the context leaves)`,
      integer({ min: 1 }),
    )
    .option("--seed <seed>", "same seed, same samples", integer({ min: 0 }), 0)
    .option("--stop <text>", "end a sample at this text; repeatable", collect)
    .option("--raw", "continue the prompt as it is, without chat template")
    .option("--threads <count>", "threads; the result does not depend on it", integer({ min: 1, max: 1024 }))
    .addOption(dtypeOption())
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (options: GenerateOptions) => {
      const samples = await generate(options);
      if (options.json === true) printJson({ samples });
      else
        printLines(
          samples.flatMap((sample, i) => (samples.length > 1 ? [`--- ${i + 1}`, sample.text] : [sample.text])),
        );
    });
}

/** @throws InputError EMPTY_PROMPT, EMPTY_STOP, and what loading the model and its tokenizer may throw. */
export async function generate(options: GenerateOptions): Promise<readonly TextSample[]> {
  const stops = options.stop ?? [];
  if (stops.includes(""))
    throw new InputError("EMPTY_STOP", "[generate --stop] expected text, got an empty one; leave it out");
  const { modelFolders } = await import("../engine/peft.js");
  const { readModelSpec } = await import("../engine/spec.js");
  const folders = await modelFolders(options.model, options.base);
  await readModelSpec(folders.base); // a folder that is no model is told so before its tokenizer is missed
  const { Tokenizer } = await import("../prompt/tokenizer.js");
  const tokenizer = await Tokenizer.load(folders.tokenizer);
  const prompt = await encodePrompt(tokenizer, folders.tokenizer, options);
  const result = await sample(prompt, options);
  return split(result).map((each) => textSample(tokenizer, prompt, each, stops));
}

/** Ids [T] of the prompt: through the chat template, or as it is. */
async function encodePrompt(
  tokenizer: Tokenizer,
  folder: string,
  options: GenerateOptions,
): Promise<readonly number[]> {
  const { ChatTemplate } = await import("../prompt/chat.js");
  const template = options.raw === true ? null : await ChatTemplate.load(folder);
  const ids =
    template === null
      ? tokenizer.encode(options.prompt)
      : tokenizer.encode(await template.render([{ role: "user", content: options.prompt }]), {
          addSpecialTokens: false,
        });
  if (ids.length > 0) return ids;
  const message = "[generate --prompt] expected text, got none, and the tokenizer adds no first token; give a prompt";
  throw new InputError("EMPTY_PROMPT", message);
}

async function sample(prompt: readonly number[], options: GenerateOptions): Promise<GenerateResult> {
  const { Engine } = await import("../engine/engine.js");
  await using engine = await Engine.load(options.model, inferenceOptions(options));
  const room = Math.max(1, engine.spec.maxPositions - prompt.length);
  const { temperature, topK, topP, maxTokens = Math.min(defaultMaxTokens, room) } = options;
  const sampling: SamplingParams = { temperature, topK, topP, maxTokens };
  const prompts = { ids: Int32Array.from(prompt), cuSeqlens: Int32Array.of(0, prompt.length) };
  return await engine.generate({ prompts, samplesPerPrompt: options.n, sampling, seed: options.seed });
}

/** One completion, as it was sampled. */
type Sampled = Omit<TextSample, "text">;

function split({ tokens, logprobs, cuSeqlens, finish }: GenerateResult): readonly Sampled[] {
  return finish.map((reason, s) => {
    const [from, to] = [cuSeqlens[s] ?? 0, cuSeqlens[s + 1] ?? 0];
    return { tokens: [...tokens.subarray(from, to)], logprobs: [...logprobs.subarray(from, to)], finish: reason };
  });
}

/** The text behind the prompt, decoded with it, since a text's first token may be written otherwise. */
function textSample(
  tokenizer: Tokenizer,
  prompt: readonly number[],
  sampled: Sampled,
  stops: readonly string[],
): TextSample {
  const decode = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: true });
  const before = decode(prompt).length;
  const textOf = (n: number) => decode([...prompt, ...sampled.tokens.slice(0, n)]).slice(before);
  const cut = cutAtStop(textOf, sampled.tokens.length, stops);
  if (cut === null) return { text: textOf(sampled.tokens.length), ...sampled };
  const { tokens, logprobs } = sampled;
  return {
    text: cut.text,
    tokens: tokens.slice(0, cut.tokens),
    logprobs: logprobs.slice(0, cut.tokens),
    finish: "stop",
  };
}
