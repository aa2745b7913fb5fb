// A constraint of a request as an automaton over bytes.
import { InputError } from "../../errors.js";
import type { Constraint } from "../types.js";
import { type ByteAutomaton, compilePattern } from "./automaton.js";
import { literal, parsePattern } from "./pattern.js";

/**
 * Throws InputError BAD_ARGUMENT, PATTERN_INVALID, PATTERN_UNSUPPORTED, PATTERN_TOO_LARGE, and CONSTRAINT_UNSATISFIABLE for a pattern
 * that no text matches.
 */
export function compileConstraint(constraint: Constraint): ByteAutomaton {
  const { kind } = constraint;
  if (kind === "regex" && typeof constraint.pattern === "string")
    return compilePattern(parsePattern(constraint.pattern));
  if (kind === "choice" && isChoices(constraint.choices))
    return compilePattern({ kind: "choice", options: constraint.choices.map(literal) });
  const expected = '{ kind: "choice", choices: [TEXT, ...] } or { kind: "regex", pattern: TEXT }';
  throw new InputError(
    "BAD_ARGUMENT",
    `[generate constraint] expected ${expected}, got ${JSON.stringify(constraint)}; name one of the two`,
  );
}

/** Texts of whole characters, since half a surrogate pair has no bytes. */
function isChoices(choices: unknown): choices is readonly string[] {
  const isText = (text: unknown) => typeof text === "string" && !/\p{Surrogate}/u.test(text);
  return Array.isArray(choices) && choices.length > 0 && choices.every(isText);
}
