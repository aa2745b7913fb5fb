// `zazen generate`: samples from a model folder, as text, ids and log-probs.
import { Command } from "commander";
import type { JsonObject } from "../config/files.js";
import type { Engine } from "../engine/engine.js";
import type { Recommended } from "../engine/generation-config.js";
import type {
  Constraint,
  DType,
  FinishReason,
  GenerateRequest,
  GenerateResult,
  SamplingParams,
} from "../engine/types.js";
import { InputError } from "../errors.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import { baseOption, collect, dtypeOption, inferenceOptions, integer, jsonObject, number } from "./flags.js";
import type { LiveText } from "./live-text.js";
import { commonHelp, log, printJson } from "./output.js";

/** Flags that are sampling parameters. */
const SAMPLING_FLAGS = [
  "temperature",
  "topK",
  "topP",
  "minP",
  "repetitionPenalty",
  "presencePenalty",
  "frequencyPenalty",
] as const satisfies readonly (keyof SamplingParams)[];

export interface GenerateOptions extends Partial<Pick<SamplingParams, (typeof SAMPLING_FLAGS)[number] | "maxTokens">> {
  readonly model: string;
  readonly base?: string;
  readonly prompt: string;
  readonly n: number;
  readonly seed: number;
  readonly stop?: readonly string[];
  readonly choice?: readonly string[];
  readonly regex?: string;
  readonly raw?: boolean;
  readonly chatTemplateKwargs?: JsonObject;
  readonly threads?: number;
  readonly dtype: DType;
  readonly json?: boolean;
}

export interface TextSample {
  readonly text: string;
  readonly tokens: readonly number[]; // [T], the completion without its prompt
  readonly logprobs: readonly number[]; // [T]
  readonly finish: FinishReason;
  /** The stop string that ended it. */
  readonly stop: string | null;
}

const defaultMaxTokens = 256;

const help = `
The prompt goes through the model's chat template as one user message; with --raw, or where the model has no
template, it is text to continue, to which a start token that it has is not added again. Log-probs are those of softmax(logits / temperature), at temperature 0 of
softmax(logits), over the whole vocabulary. A stop string trims the text, not the ids: they end with the token
that completes it. Samples also end at the end tokens of config.json, generation_config.json and the tokenizer.

Where no flag says otherwise, temperature, top-k, top-p, min-p, repetition penalty and do_sample: false are those
of the model's generation_config.json; stderr says which, and what else the file asks of samples, which is not done.

Examples:
  zazen generate --model runs/mine/model --prompt "<q> 16 9 3 -> 10 <think>" --n 4
  zazen generate --model Qwen2.5-0.5B-Instruct --prompt "Why is the sky blue?" --temperature 0.7 --json
  zazen generate --model Qwen3-0.6B --prompt "Why?" --chat-template-kwargs '{"enable_thinking": false}'
  zazen generate --model stories260k --prompt "Once upon a time" --raw --stop "." --seed 3

JSON: {samples: [{text, tokens, logprobs, finish: stop | length, stop: the stop string or null}]}`;

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
    .option("--temperature <T>", "divides the logits; 0 is greedy (default: 1)", number({ min: 0, max: 100 }))
    .option("--top-k <K>", "sample among the K likeliest tokens; 0 is off (default: 0)", integer({ min: 0 }))
    .option(
      "--top-p <P>",
      "sample among the tokens that hold this mass; 1 is off (default: 1)",
      number({ min: 0, max: 1, aboveMin: true }),
    )
    .option("--min-p <P>", "least share of the likeliest token's probability; 0 is off", number({ min: 0, max: 1 }))
    .option("--repetition-penalty <R>", "divides the logits of tokens seen; 1 is off", number({ min: 0.01, max: 100 }))
    .option("--presence-penalty <P>", "off the logits of tokens sampled before", number({ min: -100, max: 100 }))
    .option("--frequency-penalty <P>", "the same for each time", number({ min: -100, max: 100 }))
    .option(
      "--max-tokens <count>",
      `new tokens at most (default: ${defaultMaxTokens}, or what the context leaves)`,
      integer({ min: 1 }),
    )
    .option("--seed <seed>", "same seed, same samples", integer({ min: 0 }), 0)
    .option("--stop <text>", "end a sample at this text; repeatable", collect)
    .option("--choice <text>", "the completion is one of these texts; repeatable", collect)
    .option("--regex <pattern>", "the completion matches this regular expression as a whole")
    .option("--raw", "continue the prompt as it is, without chat template")
    .option("--chat-template-kwargs <JSON>", "variables of the chat template, an object", jsonObject)
    .option("--threads <count>", "threads; the result does not depend on it", integer({ min: 1, max: 1024 }))
    .addOption(dtypeOption())
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (options: GenerateOptions) => {
      if (options.json === true) printJson({ samples: await generate(options) });
      else await generate(options, (text) => process.stdout.write(text));
    });
}

/**
 * `write` is given the text as it comes.
 * @throws InputError EMPTY_PROMPT, EMPTY_STOP, WRONG_HEAD, CHAT_TEMPLATE_MISSING, USAGE, and what loading the model and its tokenizer may throw.
 */
export async function generate(
  options: GenerateOptions,
  write?: (text: string) => void,
): Promise<readonly TextSample[]> {
  const stops = options.stop ?? [];
  if (stops.includes(""))
    throw new InputError("EMPTY_STOP", "[generate --stop] expected text, got an empty one; leave it out");
  const constraint = constraintOf(options);
  const { modelFolders } = await import("../engine/peft.js");
  const { readModelSpec } = await import("../engine/spec.js");
  const { loadedSpec, requireHead } = await import("../engine/head.js");
  const folders = await modelFolders(options.model, options.base);
  const spec = await readModelSpec(folders.base); // a folder that is no model is told so before its tokenizer is missed
  requireHead(`generate --model ${options.model}`, loadedSpec(spec, folders, {}), "language");
  const { endTokens, namedValues, recommendedSampling, unknownSampling } = await import(
    "../engine/generation-config.js"
  );
  const recommended = await recommendedSampling(folders.base);
  const unknown = namedValues(await unknownSampling(folders.base));
  if (unknown !== "") log(`generation_config.json asks for ${unknown}: not followed, since this engine does not do it`);
  const { Tokenizer } = await import("../prompt/tokenizer.js");
  using tokenizer = await Tokenizer.load(folders.tokenizer);
  const prompt = await encodePrompt(tokenizer, folders.tokenizer, options);
  const { Engine } = await import("../engine/engine.js");
  await using engine = await Engine.load(options.model, inferenceOptions(options));
  if (stops.length > 0 || constraint !== null) await engine.useVocabulary(tokenizer.tokenBytes());
  const room = Math.max(1, engine.spec.maxPositions - prompt.length);
  const sampling: SamplingParams = {
    ...chosenSampling(options, recommended),
    maxTokens: options.maxTokens ?? Math.min(defaultMaxTokens, room),
    stopTokenIds: endTokens(engine.spec, tokenizer.eosId),
    stopStrings: stops,
    constraint,
  };
  const prompts = { ids: Int32Array.from(prompt), cuSeqlens: Int32Array.of(0, prompt.length) };
  const request = { prompts, samplesPerPrompt: options.n, sampling, seed: options.seed };
  const decode = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: true });
  const { LiveText } = await import("./live-text.js");
  const result = write
    ? await live(engine, request, new LiveText(decode, prompt, options.n, stops, write))
    : await engine.generate(request);
  const { beforeStop } = await import("../prompt/stop-strings.js");
  const before = decode(prompt).length; // decoded with the prompt, since a text's first token may be written otherwise
  return split(result).map((each) => {
    const text = decode([...prompt, ...each.tokens]).slice(before);
    return { text: beforeStop(text, each.stop), ...each };
  });
}

async function live(engine: Engine, request: GenerateRequest, text: LiveText): Promise<GenerateResult> {
  const stream = engine.generateStream(request);
  for (;;) {
    const next = await stream.next();
    if (next.done) return next.value;
    text.add(next.value);
  }
}

/** Flags first, then what the model recommends, which is said. */
function chosenSampling(options: GenerateOptions, recommended: Recommended): Partial<SamplingParams> {
  const flags = Object.fromEntries(
    SAMPLING_FLAGS.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]])),
  );
  const used = Object.entries(recommended).filter(([name]) => !(name in flags));
  if (used.length > 0)
    log(`sampling as generation_config.json says: ${used.map(([name, value]) => `${name} ${value}`).join(", ")}`);
  return { ...recommended, ...flags };
}

function constraintOf({ choice, regex }: GenerateOptions): Constraint | null {
  if (choice !== undefined && regex !== undefined)
    throw new InputError("TWO_CONSTRAINTS", "[generate] expected --choice or --regex, got both; leave one out");
  if (choice !== undefined) return { kind: "choice", choices: choice };
  return regex === undefined ? null : { kind: "regex", pattern: regex };
}

/** Ids [T] of the prompt: through the chat template, or as it is. */
async function encodePrompt(
  tokenizer: Tokenizer,
  folder: string,
  options: GenerateOptions,
): Promise<readonly number[]> {
  const { ChatTemplate } = await import("../prompt/chat.js");
  const { withoutDoubledStart } = await import("../prompt/start-token.js");
  const { raw = false, chatTemplateKwargs } = options;
  const template = raw ? null : await ChatTemplate.load(folder, { kwargs: chatTemplateKwargs ?? {} });
  if (template === null && chatTemplateKwargs !== undefined) throw unusedKwargs(folder, raw);
  const ids =
    template === null
      ? withoutDoubledStart(tokenizer.encode(options.prompt), tokenizer.bosId)
      : tokenizer.encode(await template.render([{ role: "user", content: options.prompt }]), {
          addSpecialTokens: false,
        });
  if (ids.length > 0) return ids;
  const message = "[generate --prompt] expected text, got none, and the tokenizer adds no first token; give a prompt";
  throw new InputError("EMPTY_PROMPT", message);
}

/** Variables that no template reads are a mistake about the model. */
function unusedKwargs(folder: string, raw: boolean): InputError {
  const [code, got, advice] = raw
    ? (["USAGE", "--raw, which uses none", "leave one of the two out"] as const)
    : (["CHAT_TEMPLATE_MISSING", `none in ${folder}`, "leave the flag out, or choose another model"] as const);
  return new InputError(
    code,
    `[generate --chat-template-kwargs] expected a chat template that reads it, got ${got}; ${advice}`,
  );
}

/** One completion, as it was sampled. */
type Sampled = Omit<TextSample, "text">;

function split({ tokens, logprobs, cuSeqlens, finish, stopStrings }: GenerateResult): readonly Sampled[] {
  return finish.map((reason, s) => {
    const [from, to] = [cuSeqlens[s] ?? 0, cuSeqlens[s + 1] ?? 0];
    return {
      tokens: [...tokens.subarray(from, to)],
      logprobs: [...logprobs.subarray(from, to)],
      finish: reason,
      stop: stopStrings[s] ?? null,
    };
  });
}
