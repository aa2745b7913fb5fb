// Parsers of flag values. A bad value is a usage error that commander reports with the flag's name.
import { InvalidArgumentError, Option } from "commander";
import { isObject, type JsonObject } from "../config/json.js";
import type { DType, EngineOptions } from "../engine/types.js";

export interface NumberRange {
  readonly min: number;
  readonly max?: number;
  /** The range begins after `min`. */
  readonly aboveMin?: boolean;
}

/** A flag that takes an integer of the range. */
export function integer(range: NumberRange): (text: string) => number {
  return parser("an integer", /^-?\d+$/, range);
}

/** A flag that takes a number of the range. */
export function number(range: NumberRange): (text: string) => number {
  return parser("a number", /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i, range);
}

/** A flag that may be repeated; values are kept in order. */
export function collect(value: string, earlier: readonly string[] | undefined): readonly string[] {
  return [...(earlier ?? []), value];
}

/** A flag that takes a JSON object. */
export function jsonObject(text: string): JsonObject {
  const value = parseJson(text);
  if (isObject(value)) return value;
  throw new InvalidArgumentError('Expected a JSON object such as {"enable_thinking": false}.');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const dtypes: readonly DType[] = ["float32", "bfloat16"];

/** The flag for the type that a model is run in. */
export function dtypeOption(): Option {
  const help = "type of weights and activations in memory";
  return new Option("--dtype <type>", help).choices(dtypes).default("float32");
}

/** The flag for the base of a folder with adapters. */
export function baseOption(): Option {
  return new Option("--base <DIR>", "base model of a folder with adapters (default: the one that it names)");
}

/** Options of an engine that answers and does not learn. */
export function inferenceOptions(flags: {
  readonly dtype: DType;
  readonly threads?: number;
  readonly base?: string;
}): EngineOptions {
  const { dtype, threads, base } = flags;
  return { trainable: false, dtype, ...(threads !== undefined && { threads }), ...(base !== undefined && { base }) };
}

function parser(kind: string, form: RegExp, range: NumberRange): (text: string) => number {
  return (text) => {
    const value = form.test(text) ? Number(text) : Number.NaN;
    if (isWithin(value, range)) return value;
    throw new InvalidArgumentError(`Expected ${kind} ${describe(range)}.`);
  };
}

function isWithin(value: number, { min, max = Number.MAX_SAFE_INTEGER, aboveMin = false }: NumberRange): boolean {
  return (aboveMin ? value > min : value >= min) && value <= max;
}

function describe({ min, max, aboveMin = false }: NumberRange): string {
  if (max !== undefined) return `in ${aboveMin ? "(" : "["}${min}, ${max}]`;
  return `${aboveMin ? ">" : ">="} ${min}`;
}
