// The search space of the trial: two steps on three numbers, each `larger op smaller` with a result in 1..99.
import { LARGEST_NUMBER } from "./vocabulary.js";

export type TrialOperator = "+" | "-" | "*";

/** left op right = result, left >= right. */
export interface Step {
  readonly left: number;
  readonly operator: TrialOperator;
  readonly right: number;
  readonly result: number;
}

export interface FirstStep extends Step {
  /** The number that the first step leaves for the second. */
  readonly rest: number;
}

export interface Attempt {
  readonly first: FirstStep;
  readonly second: Step;
}

/** A first step and all that may follow it. */
export interface Branch {
  readonly first: FirstStep;
  readonly seconds: readonly Step[]; // not empty
}

const OPERATORS: readonly TrialOperator[] = ["+", "-", "*"];

/** Places of the operands in the sorted numbers, then the place that is left over. */
const PAIRS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 2, 0],
] as const;

function apply(left: number, operator: TrialOperator, right: number): number {
  if (operator === "+") return left + right;
  return operator === "-" ? left - right : left * right;
}

function step(a: number, operator: TrialOperator, b: number): Step | null {
  const left = Math.max(a, b);
  const right = Math.min(a, b);
  const result = apply(left, operator, right);
  return result >= 1 && result <= LARGEST_NUMBER ? { left, operator, right, result } : null;
}

/** First steps in canonical order, those that read alike (equal numbers) once. `numbers` sorted descending. */
function firstSteps(numbers: readonly [number, number, number]): FirstStep[] {
  const steps = new Map<string, FirstStep>();
  for (const [i, j, k] of PAIRS) {
    for (const operator of OPERATORS) {
      const made = step(numbers[i], operator, numbers[j]);
      const name = `${numbers[i]}${operator}${numbers[j]}`;
      if (made !== null && !steps.has(name)) steps.set(name, { ...made, rest: numbers[k] });
    }
  }
  return [...steps.values()];
}

/** Second steps after a first one, + - * in order; never empty, since a number in 1..16 and a result in 1..99 leave one in range. */
function secondSteps(first: FirstStep): Step[] {
  return OPERATORS.map((operator) => step(first.result, operator, first.rest)).filter((made) => made !== null);
}

const trees = new WeakMap<readonly number[], readonly Branch[]>(); // an entry lives as long as the multiset whose numbers it is for

/** First steps in canonical order, each with its second steps. Kept by the array: problems that share it share the search. */
export function searchTree(numbers: readonly [number, number, number]): readonly Branch[] {
  const known = trees.get(numbers);
  if (known !== undefined) return known;
  const tree = firstSteps(numbers).map((first) => ({ first, seconds: secondSteps(first) }));
  trees.set(numbers, tree);
  return tree;
}

/** Every attempt in order: first steps, then second steps. */
export function attempts(numbers: readonly [number, number, number]): Attempt[] {
  return searchTree(numbers).flatMap(({ first, seconds }) => seconds.map((second) => ({ first, second })));
}
