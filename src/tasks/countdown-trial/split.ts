// Every problem of the trial, and their split by multiset of numbers: no multiset of a held-out problem appears in training.
import { type Random, random } from "../../data/random.js";
import type { Problem } from "../task.js";
import { attempts } from "./search.js";

/** Numbers of a problem are 1..16. */
export const LARGEST_OPERAND = 16;

/** Sorted descending. */
export type Triple = readonly [number, number, number];

export interface TrialProblem extends Problem {
  readonly numbers: Triple;
  readonly target: number;
}

/** Problems that share their numbers, targets ascending. */
export interface TrialMultiset {
  readonly numbers: Triple;
  readonly problems: readonly TrialProblem[];
}

export interface TrialSplit {
  /** 653 multisets to train on. */
  readonly train: readonly TrialMultiset[];
  /** Held out: 1,024 problems for figures. */
  readonly evaluation: readonly TrialProblem[];
  /** Held out: the other problems, to watch a run by. */
  readonly monitor: readonly TrialProblem[];
}

export const TRAIN_FRACTION = 0.8;
export const EVALUATION_PROBLEMS = 1024;

/** The smallest seed whose 163 held-out multisets have exactly 1,600 problems: 1,024 to evaluate on and 576 to monitor. */
export const SPLIT_SEED = 257;

/** The 816 multisets of three numbers in 1..16 with every target in 1..99 that they reach; ids count all problems in order. */
export function trialMultisets(): TrialMultiset[] {
  const multisets: TrialMultiset[] = [];
  let id = 0;
  for (let a = 1; a <= LARGEST_OPERAND; a++) {
    for (let b = 1; b <= a; b++) {
      for (let c = 1; c <= b; c++) {
        const numbers: Triple = [a, b, c];
        const targets = new Set(attempts(numbers).map((attempt) => attempt.second.result));
        const ascending = [...targets].sort((left, right) => left - right);
        multisets.push({ numbers, problems: ascending.map((target) => ({ id: id++, numbers, target })) });
      }
    }
  }
  return multisets;
}

/** The split of a seed. Runs that are compared keep the default, whatever their own seed. */
export function trialSplit(seed: number = SPLIT_SEED): TrialSplit {
  const stream = random(seed);
  const multisets = stream.shuffle(trialMultisets());
  const trainCount = Math.round(multisets.length * TRAIN_FRACTION);
  const heldOut = stream.shuffle(multisets.slice(trainCount).flatMap((multiset) => multiset.problems));
  return {
    train: multisets.slice(0, trainCount),
    evaluation: heldOut.slice(0, EVALUATION_PROBLEMS),
    monitor: heldOut.slice(EVALUATION_PROBLEMS),
  };
}

/** A multiset uniformly, then one of its targets uniformly: multisets with many targets do not crowd out the others. */
export function sampleProblem(multisets: readonly TrialMultiset[], stream: Random): TrialProblem {
  return stream.choice(stream.choice(multisets).problems);
}
