// The built-in verifiers as reward functions of settings: 1 for right, 0 for wrong. Each also checks a record when it is loaded, so that a
// record without an answer is found before the run begins.
import { isObject } from "../config/files.js";
import {
  type ChoiceOptions,
  type CountdownProblem,
  checkCountdownProblem,
  checkMathsReference,
  choiceLabels,
  choiceReference,
  exactReferences,
  extractMathsAnswer,
  formatPattern,
  gradeChoice,
  gradeCountdown,
  gradeExact,
  gradeFormat,
  gradeMaths,
  mathsReference,
} from "../tasks/index.js";
import type { RewardInput } from "./input.js";
import { isVerifier } from "./kinds.js";
import type { RewardSpec, VerifierSpec } from "./spec.js";

type RewardRecord = RewardInput["record"];

export interface Verifier {
  /** Throws an Error for a record that cannot be graded; the message says what was expected and what came. */
  check(record: RewardRecord): void;
  /** 1 or 0. */
  grade(input: RewardInput): number;
}

/** Throws InputError for settings that cannot work: a broken pattern, labels that are the same. */
export function verifier(spec: VerifierSpec): Verifier {
  switch (spec.kind) {
    case "maths":
      return mathsVerifier(spec);
    case "choice":
      return choiceVerifier(spec);
    case "exact":
      return exactVerifier(spec);
    case "format":
      return formatVerifier(spec);
    case "countdown":
      return countdownVerifier(spec);
  }
}

/**
 * Checks records against the verifiers among some rewards: throws an Error for a record without a reference, or with a bad one. Throws
 * InputError at once for settings that cannot work.
 */
export function recordCheck(specs: readonly RewardSpec[]): (record: RewardRecord) => void {
  const verifiers = specs.filter(isVerifier).map(verifier);
  return (record) => {
    for (const each of verifiers) each.check(record);
  };
}

type Of<Kind extends VerifierSpec["kind"]> = Extract<VerifierSpec, { kind: Kind }>;

const graded = (from: "answer" | "completion", input: RewardInput): string | null => input[from];

function mathsVerifier({ field, from }: Of<"maths">): Verifier {
  const reference = (record: RewardRecord) => mathsReference(textField(record, field));
  return {
    check: (record) => checkMathsReference(reference(record)),
    grade: (input) => {
      const text = graded(from, input);
      return Number(gradeMaths(text === null ? null : extractMathsAnswer(text), reference(input.record)).correct);
    },
  };
}

function choiceVerifier({ field, from, labels, choices }: Of<"choice">): Verifier {
  const own = labels.length > 0 ? { labels } : {};
  choiceLabels(own);
  const options = (record: RewardRecord): ChoiceOptions => {
    const texts = record[choices];
    return isTexts(texts) ? { ...own, choices: texts } : own;
  };
  return {
    check: (record) => void choiceReference(presentField(record, field), options(record)),
    grade: (input) => Number(gradeChoice(graded(from, input), input.record[field], options(input.record)).correct),
  };
}

function exactVerifier({ field, from, ...options }: Of<"exact">): Verifier {
  return {
    check: (record) => void exactReferences(presentField(record, field)),
    grade: (input) => Number(gradeExact(graded(from, input), input.record[field], options).correct),
  };
}

function formatVerifier({ thinking, sections, pattern, flags }: Of<"format">): Verifier {
  const rules = {
    thinking: thinking === "" ? null : thinking,
    sections,
    pattern: pattern === "" ? null : formatPattern(pattern, flags),
  };
  return { check: () => {}, grade: (input) => Number(gradeFormat(input.completion, rules).correct) };
}

function countdownVerifier({ from, useAll }: Of<"countdown">): Verifier {
  return {
    check: (record) => checkCountdownProblem(countdownProblem(record)),
    grade: (input) =>
      Number(gradeCountdown(graded(from, input) ?? "", countdownProblem(input.record), { useAll }).correct),
  };
}

/** The problem of a record {numbers, target} or {nums, target}. Throws an Error for any other. */
export function countdownProblem(record: unknown): CountdownProblem {
  if (isObject(record)) {
    const numbers = record.numbers ?? record.nums;
    const { target } = record;
    if (Array.isArray(numbers) && numbers.every(Number.isInteger) && Number.isInteger(target)) {
      return { numbers: numbers as number[], target: target as number };
    }
  }
  throw new Error(
    `expected {numbers: [whole numbers], target: whole number}, got ${JSON.stringify(record)}; correct the line`,
  );
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string");

function presentField(record: RewardRecord, field: string): unknown {
  if (Object.hasOwn(record, field) && record[field] !== null) return record[field];
  const fields = Object.keys(record).join(", ");
  throw new Error(`expected the right answer in field "${field}", got a record of ${fields}; set the reward's field`);
}

function textField(record: RewardRecord, field: string): string {
  const value = presentField(record, field);
  if (typeof value === "string" || typeof value === "number") return String(value);
  throw new Error(`expected a text or a number in field "${field}", got ${JSON.stringify(value)}; correct the line`);
}
