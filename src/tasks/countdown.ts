// Countdown: reach a target from a few whole numbers, each used at most once, with + - * /. Exact rational arithmetic throughout. Holds the
// enumeration of problems, a solver that tries everything, and the grader of answers in text.
import { InputError } from "../errors.js";
import {
  combine,
  type Expression,
  equalsInteger,
  evaluate,
  type Fraction,
  formatExpression,
  numbersOf,
  type Operator,
  type ParseFailure,
  parseExpression,
  staysExact,
} from "./expression.js";
import type { Grade } from "./task.js";

export interface CountdownProblem {
  /** Whole numbers >= 0, 1 to 8 of them, in any order. */
  readonly numbers: readonly number[];
  readonly target: number;
}

export interface CountdownRules {
  /** Every number must be used; else each at most once. */
  readonly useAll: boolean;
}

export type CountdownFault =
  | ParseFailure
  | "number not available"
  | "number not used"
  | "division by zero"
  | "wrong value";

export interface CountdownGrade extends Grade {
  readonly reason: CountdownFault | null;
}

const MAX_NUMBERS = 8;
const DEFAULT_RULES: CountdownRules = { useAll: true };
const CORRECT: CountdownGrade = { correct: true, reason: null };

/** Throws InputError COUNTDOWN_PROBLEM for numbers that cannot be computed with exactly. */
export function checkCountdownProblem({ numbers, target }: CountdownProblem): void {
  const fits = numbers.length >= 1 && numbers.length <= MAX_NUMBERS && Number.isSafeInteger(target);
  const whole = numbers.every((number) => Number.isSafeInteger(number) && number >= 0);
  if (fits && whole && staysExact(numbers)) return;
  throw new InputError(
    "COUNTDOWN_PROBLEM",
    `[countdown] expected 1 to ${MAX_NUMBERS} whole numbers >= 0 whose (n + 1) multiply to less than 2^53 and a whole target, ` +
      `got numbers [${numbers.slice(0, MAX_NUMBERS + 1).join(", ")}] and target ${target}. Use fewer or smaller numbers.`,
  );
}

/** Null when `used` may be made of `available`, each number at most once (all of them with `useAll`). */
function useFault(
  used: readonly number[],
  available: readonly number[],
  useAll: boolean,
): "number not available" | "number not used" | null {
  const left = [...available];
  for (const number of used) {
    const at = left.indexOf(number);
    if (at < 0) return "number not available";
    left.splice(at, 1);
  }
  return useAll && left.length > 0 ? "number not used" : null;
}

function fault(answer: string, problem: CountdownProblem, rules: CountdownRules): CountdownFault | null {
  const parsed = parseExpression(answer);
  if ("failure" in parsed) return parsed.failure;
  const misuse = useFault(numbersOf(parsed.expression), problem.numbers, rules.useAll);
  if (misuse !== null) return misuse;
  const value = evaluate(parsed.expression);
  if (value === null) return "division by zero";
  return equalsInteger(value, problem.target) ? null : "wrong value";
}

/** Grades an answer in text: one expression, nothing else. The first fault found is the reason. Throws only for a bad problem. */
export function gradeCountdown(
  answer: string,
  problem: CountdownProblem,
  rules: CountdownRules = DEFAULT_RULES,
): CountdownGrade {
  checkCountdownProblem(problem);
  const reason = fault(answer, problem, rules);
  return reason === null ? CORRECT : { correct: false, reason };
}

/** A value and how it was made. */
interface Term extends Fraction {
  readonly made: readonly [Term, Operator, Term] | number;
}

/** Operands in both orders where the order matters. */
const MOVES: readonly (readonly [Operator, boolean])[] = [
  ["+", false],
  ["*", false],
  ["-", false],
  ["-", true],
  ["/", false],
  ["/", true],
];

function search(terms: readonly Term[], target: number, useAll: boolean): Term | null {
  const hit = terms.length === 1 || !useAll ? terms.find((term) => equalsInteger(term, target)) : undefined;
  if (hit !== undefined) return hit;
  for (let i = 0; i < terms.length; i++) {
    for (let j = i + 1; j < terms.length; j++) {
      const rest = terms.length === 2 ? [] : terms.filter((_, at) => at !== i && at !== j);
      const found = searchPair(terms[i]!, terms[j]!, rest, target, useAll);
      if (found !== null) return found;
    }
  }
  return null;
}

function searchPair(a: Term, b: Term, rest: readonly Term[], target: number, useAll: boolean): Term | null {
  for (const [operator, swapped] of MOVES) {
    const left = swapped ? b : a;
    const right = swapped ? a : b;
    const value = combine(left, operator, right);
    if (value === null || (rest.length === 0 && !equalsInteger(value, target))) continue;
    const term: Term = {
      numerator: value.numerator,
      denominator: value.denominator,
      made: [left, operator, right],
    };
    const found = search([term, ...rest], target, useAll);
    if (found !== null) return found;
  }
  return null;
}

function toExpression({ made }: Term): Expression {
  if (typeof made === "number") return made;
  const [left, operator, right] = made;
  return { operator, left: toExpression(left), right: toExpression(right) };
}

/** An expression that reaches the target, or null when there is none. Tries everything: quick up to 5 numbers, seconds at 6. */
export function solveCountdown(problem: CountdownProblem, rules: CountdownRules = DEFAULT_RULES): string | null {
  checkCountdownProblem(problem);
  const terms = problem.numbers.map((number): Term => ({ numerator: number, denominator: 1, made: number }));
  const found = search(terms, problem.target, rules.useAll);
  return found === null ? null : formatExpression(toExpression(found));
}

/** Every multiset of `count` numbers in 1..largest, each sorted ascending. */
export function multisets(count: number, largest: number, smallest = 1): number[][] {
  if (count === 0) return [[]];
  const result: number[][] = [];
  for (let first = smallest; first <= largest; first++) {
    for (const rest of multisets(count - 1, largest, first)) result.push([first, ...rest]);
  }
  return result;
}
