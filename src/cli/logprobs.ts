// `zazen logprobs`: what a model thinks of a text, token by token. With --ids no tokenizer is needed.
import { Command } from "commander";
import type { DType, ModelSpec } from "../engine/types.js";
import { InputError } from "../errors.js";
import { baseOption, dtypeOption, inferenceOptions, integer, number } from "./flags.js";
import { commonHelp, printJson, printLines } from "./output.js";

export interface LogprobsOptions {
  readonly model: string;
  readonly base?: string;
  readonly text?: string;
  readonly ids?: string;
  readonly top: number;
  readonly temperature: number;
  readonly threads?: number;
  readonly dtype: DType;
  readonly json?: boolean;
}

export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

export interface ScoredText {
  readonly tokens: readonly number[]; // [T]
  /** [T]: log-prob of token i given those before it; null for the first. */
  readonly logprobs: readonly (number | null)[];
  /** [T, K]: the K best tokens for the position after token i, best first. */
  readonly top: readonly (readonly TokenLogprob[])[];
}

const help = `
Examples:
  zazen logprobs --model stories260k --text "Once upon a time"
  zazen logprobs --model stories260k --ids 1,403,407 --top 3 --json

A text that begins with the start token, spelt out, gets no second one.

JSON: {tokens, logprobs, top}. logprobs[0] is null; logprobs[i] is that of token i given those before it.
top[i] holds the K best {id, logprob} for the position after token i.`;

export function logprobsCommand(): Command {
  return new Command("logprobs")
    .summary("log-probs of a text")
    .description("Log-probs of a text's tokens under a model, and the best tokens at each position.")
    .requiredOption("--model <DIR>", "model folder: config.json, model.safetensors, and tokenizer.json for --text")
    .addOption(baseOption())
    .option("--text <T>", "text to score")
    .option("--ids <list>", "token ids to score, separated by commas; no tokenizer is needed")
    .option("--top <K>", "best tokens to list at each position", integer({ min: 0 }), 0)
    .option("--temperature <T>", "divides the logits", number({ min: 1e-6, max: 100 }), 1)
    .option("--threads <count>", "threads; the result does not depend on it", integer({ min: 1, max: 1024 }))
    .addOption(dtypeOption())
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (options: LogprobsOptions) => {
      const scored = await logprobs(options);
      if (options.json === true) printJson(scored);
      else printLines(await table(scored, options));
    });
}

/** @throws InputError LOGPROBS_INPUT, IDS_SYNTAX, EMPTY_PROMPT, TOKEN_OUT_OF_RANGE, TOP_OUT_OF_RANGE, and what loading may throw. */
export async function logprobs(options: LogprobsOptions): Promise<ScoredText> {
  const ids = await tokensOf(options);
  const { Engine } = await import("../engine/engine.js");
  await using engine = await Engine.load(options.model, inferenceOptions(options));
  checkRange(ids, options.top, engine.spec);
  const { top, temperature } = options;
  const request = { ids: Int32Array.from(ids), cuSeqlens: Int32Array.of(0, ids.length), top, temperature };
  const result = await engine.logprobs(request);
  const best = (i: number) =>
    Array.from({ length: top }, (_, k) => ({
      id: result.topIds[i * top + k]!,
      logprob: result.topLogprobs[i * top + k]!,
    }));
  return {
    tokens: ids,
    logprobs: ids.map((_, i) => (i === 0 ? null : result.logprobs[i]!)),
    top: ids.map((_, i) => best(i)),
  };
}

async function tokensOf({ model, base, text, ids }: LogprobsOptions): Promise<readonly number[]> {
  if ((text === undefined) === (ids === undefined)) {
    const got = text === undefined ? "neither" : "both";
    throw new InputError("LOGPROBS_INPUT", `[logprobs] expected one of --text and --ids, got ${got}; give one`);
  }
  const tokens = ids === undefined ? await encode(model, base, text ?? "") : parseIds(ids);
  if (tokens.length > 0) return tokens;
  throw new InputError("EMPTY_PROMPT", "[logprobs] expected at least one token, got none; give some text or ids");
}

async function encode(model: string, base: string | undefined, text: string): Promise<readonly number[]> {
  const { withoutDoubledStart } = await import("../prompt/start-token.js");
  const tokenizer = await loadTokenizer(model, base);
  return withoutDoubledStart(tokenizer.encode(text), tokenizer.bosId);
}

async function loadTokenizer(model: string, base: string | undefined) {
  const { modelFolders } = await import("../engine/peft.js");
  const { Tokenizer } = await import("../prompt/tokenizer.js");
  return Tokenizer.load((await modelFolders(model, base)).tokenizer);
}

export function parseIds(list: string): readonly number[] {
  if (list.trim() === "") return [];
  return list.split(",").map((part) => {
    if (/^-?\d+$/.test(part.trim())) return Number(part);
    throw new InputError(
      "IDS_SYNTAX",
      `[logprobs --ids] expected integers with commas between, got "${part}" in "${list}"`,
    );
  });
}

function checkRange(ids: readonly number[], top: number, { vocabSize }: ModelSpec): void {
  const place = ids.findIndex((id) => id < 0 || id >= vocabSize);
  if (place >= 0) {
    const message = `[logprobs] expected ids in [0, ${vocabSize}), the model's vocabulary, got ${ids[place]} at place ${place}`;
    throw new InputError("TOKEN_OUT_OF_RANGE", message);
  }
  if (top <= vocabSize) return;
  throw new InputError(
    "TOP_OUT_OF_RANGE",
    `[logprobs --top] expected at most ${vocabSize}, the model's vocabulary, got ${top}`,
  );
}

async function table(scored: ScoredText, { model, base, ids, top }: LogprobsOptions): Promise<readonly string[]> {
  const { tableLines } = await import("../report/table.js");
  const name = ids === undefined ? await tokenNames(model, base) : String;
  const rows = scored.tokens.map((id, i) => [
    String(i),
    String(id),
    ...(ids === undefined ? [name(id)] : []),
    scored.logprobs[i]?.toFixed(4) ?? "-",
    ...(top > 0 ? [(scored.top[i] ?? []).map((each) => `${name(each.id)} ${each.logprob.toFixed(2)}`).join("  ")] : []),
  ]);
  return tableLines(
    ["place", "id", ...(ids === undefined ? ["token"] : []), "logprob", ...(top > 0 ? ["best next"] : [])],
    rows,
  );
}

async function tokenNames(model: string, base: string | undefined): Promise<(id: number) => string> {
  const tokenizer = await loadTokenizer(model, base);
  return (id) => tokenizer.token(id);
}
