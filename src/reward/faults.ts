// What goes wrong with rewards, as plain data that crosses from worker to parent, and as errors. Anything can be thrown, also by code that
// wants to do harm: `describeThrown` never throws itself. Leaves out which sample it was: the caller knows.
import { InputError, ZazenError } from "../errors.js";

/**
 * Codes of single rewards: REWARD_VALUE (no finite number), REWARD_THREW, REWARD_TIMEOUT, REWARD_LOST (its worker ended). Of a step:
 * REWARD_ERRORS (too many of those; `cause` is the first). Of the pool: REWARD_QUEUE, REWARD_WORKER,
 * REWARD_DISPOSED.
 */
export class RewardError extends ZazenError {
  override readonly name: string = "RewardError";
}

/** An error as data. */
export interface Fault {
  readonly code: string;
  readonly message: string;
}

/** Codes of modules that cannot be used: the user's input, found before anything is graded. */
const INPUT_CODES = ["REWARD_MODULE_MISSING", "REWARD_MODULE_EXPORT", "REWARD_MODULE_LOAD"];

const MOST_CHARACTERS = 500; // of a thrown value in a message

export const faultError = ({ code, message }: Fault): ZazenError =>
  INPUT_CODES.includes(code) ? new InputError(code, message) : new RewardError(code, message);

/** The fault that a caught value is: typed errors keep their code, others get `code`. */
export function faultOf(thrown: unknown, code: string, where: string): Fault {
  if (thrown instanceof ZazenError) return { code: thrown.code, message: thrown.message };
  return { code, message: `[${where}] ${describeThrown(thrown)}` };
}

/** "threw TypeError: x is not a function", "threw undefined": what was thrown, in one line. */
export function describeThrown(thrown: unknown): string {
  try {
    return `threw ${clip(describe(thrown))}`;
  } catch {
    return "threw a value that cannot be shown";
  }
}

/** A value in a message: its JSON where it has one, with its type where that says more. */
export function describeValue(value: unknown): string {
  try {
    if (typeof value === "string") return `the text ${clip(JSON.stringify(value))}`;
    if (typeof value === "number" || value === null || value === undefined) return String(value);
    return `${typeof value === "object" ? "an object" : `a ${typeof value}`} ${clip(JSON.stringify(value) ?? String(value))}`;
  } catch {
    return `a value of type ${typeof value} that cannot be shown`;
  }
}

function describe(thrown: unknown): string {
  if (thrown instanceof Error) return `${String(thrown.name)}: ${String(thrown.message)}`;
  return describeValue(thrown);
}

const clip = (text: string): string =>
  text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}...` : text.replaceAll("\n", " ");
