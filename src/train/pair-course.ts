// The course of on-policy DPO: rounds of sampling and of training, the pairs of the round in hand, and where it stands. Leaves out the
// engine. Pairs are kept in pairs.jsonl; of a round those of some prompts are held out, the others are gone through in a new order every epoch.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { epochOrder, readState } from "../data/order.js";
import type { Json, Resumable } from "../data/resumable.js";
import type { Pair } from "../rollout/pairs.js";
import { TrainError } from "./guard.js";
import { pairRecord, readPairs } from "./pair-file.js";
import { pairsFile, type RunFolder } from "./run-folder.js";

export interface CourseSettings {
  /** Times that pairs are sampled and trained on. */
  readonly rounds: number;
  /** Calls that sample a round's pairs. */
  readonly rollouts: number;
  /** Problems of a call. */
  readonly prompts: number;
  /** Problems of a round, the last call taking what is left of them; default: every call is full. */
  readonly problems?: number | undefined;
  readonly pairsPerStep: number;
  /** Times that a round's pairs are gone through. */
  readonly epochs: number;
  /** Share of a round's pairs that is measured and not trained on. */
  readonly heldOutShare: number;
  readonly splitSeed: number;
}

/** Steps of a course at most: those that sample, and those that train on a pair of every problem. */
export function dpoSteps(settings: CourseSettings): number {
  return settings.rounds * (settings.rollouts + trainingStepsOfRound(settings));
}

const problemsOfRound = ({ rollouts, prompts, problems }: CourseSettings): number => problems ?? rollouts * prompts;

/** At most. */
const trainingStepsOfRound = (settings: CourseSettings): number =>
  settings.epochs * Math.ceil(problemsOfRound(settings) / settings.pairsPerStep);

const count = z.int().min(0);
const stateSchema = z.object({
  round: z.int().min(1),
  sampled: count,
  trained: count,
  ofReference: z.boolean().default(false), // what older checkpoints lack
});

/** Of a training step: which one of how many in the whole course, should every round have as many. */
export interface Progress {
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  /** Whether it is the last of its epoch, and of its round. */
  readonly endsEpoch: boolean;
  readonly endsRound: boolean;
}

export class PairCourse implements Resumable {
  #round = 1;
  #sampled = 0; // calls of the round
  #trained = 0; // steps of the round
  #ofReference = true; // every call of the round
  #pairs: Pair[] = [];
  #split: Split | null = null;

  constructor(
    readonly folder: Pick<RunFolder, "path" | "pair">,
    readonly settings: CourseSettings,
    readonly seed: number,
  ) {}

  get round(): number {
    return this.#round;
  }

  /** Whether the round's pairs were sampled by the reference itself. */
  get isOfReference(): boolean {
    return this.#ofReference;
  }

  get isOver(): boolean {
    return this.#round > this.settings.rounds;
  }

  /** Whether the next step samples; otherwise it trains. */
  get isSampling(): boolean {
    return this.#sampled < this.settings.rollouts;
  }

  /** The number of the next call that samples, counted from 1 over all rounds. */
  get call(): number {
    return (this.#round - 1) * this.settings.rollouts + this.#sampled + 1;
  }

  /** Problems of the next call. */
  get problems(): number {
    const { prompts } = this.settings;
    return Math.min(prompts, problemsOfRound(this.settings) - this.#sampled * prompts);
  }

  /** Steps that are left: of the round in hand those that its pairs make, once it is sampled; of later ones those that they may come to. */
  get stepsLeft(): number {
    if (this.isOver) return 0;
    const { rounds, rollouts, epochs } = this.settings;
    const later = (rounds - this.#round) * (rollouts + trainingStepsOfRound(this.settings));
    if (!this.isSampling) return epochs * this.#perEpoch - this.#trained + later;
    return rollouts - this.#sampled + trainingStepsOfRound(this.settings) + later;
  }

  /** Pairs of the round that are held out; there are none before it is sampled. */
  get heldOut(): readonly Pair[] {
    return this.#split?.heldOut ?? [];
  }

  /**
   * Takes the pairs of a call, `ofReference` where the policy that sampled them was the reference. Throws TrainError NO_PAIRS where the round
   * has come to none to train on.
   */
  add(pairs: readonly { readonly problem: number; readonly pair: Pair }[], ofReference: boolean): void {
    this.#ofReference &&= ofReference;
    for (const { problem, pair } of pairs) {
      this.folder.pair(pairRecord(this.#round, problem, pair));
      this.#pairs.push(pair);
    }
    this.#sampled++;
    if (!this.isSampling) this.#splitPairs();
  }

  /** The pairs of the next training step. */
  batch(): readonly Pair[] {
    const { training } = this.#split!;
    const { pairsPerStep } = this.settings;
    const epoch = Math.floor(this.#trained / this.#perEpoch);
    const order = epochOrder(training.length, this.seed, (this.#round - 1) * this.settings.epochs + epoch);
    const first = (this.#trained % this.#perEpoch) * pairsPerStep;
    return Array.from(order.subarray(first, first + pairsPerStep), (i) => training[i]!);
  }

  progress(): Progress {
    const { rounds, epochs } = this.settings;
    const inRound = epochs * this.#perEpoch;
    const endsEpoch = (this.#trained + 1) % this.#perEpoch === 0;
    return {
      step: (this.#round - 1) * inRound + this.#trained + 1,
      steps: rounds * inRound,
      epoch: Math.floor(this.#trained / this.#perEpoch) + 1,
      endsEpoch,
      endsRound: this.#trained + 1 === inRound,
    };
  }

  /** The step was taken; after a round's last one the next round begins. */
  advance(): void {
    const { endsRound } = this.progress();
    this.#trained++;
    if (!endsRound) return;
    this.#round++;
    this.#sampled = this.#trained = 0;
    this.#ofReference = true;
    this.#pairs = [];
    this.#split = null;
  }

  save(): Json {
    return { round: this.#round, sampled: this.#sampled, trained: this.#trained, ofReference: this.#ofReference };
  }

  /** Throws InputError CURSOR_RANGE, TrainError RESUME_DAMAGED. */
  restore(state: Json): void {
    const { round, sampled, trained, ofReference } = readState(stateSchema, state);
    this.#ofReference = ofReference;
    this.#round = round;
    this.#sampled = sampled;
    this.#trained = trained;
    const path = join(this.folder.path, pairsFile);
    this.#pairs = existsSync(path) ? readPairs(path, round) : [];
    this.#split = null;
    if (!this.isOver && !this.isSampling) this.#splitPairs();
  }

  get #perEpoch(): number {
    return Math.ceil(this.#split!.training.length / this.settings.pairsPerStep);
  }

  #splitPairs(): void {
    const { heldOutShare, splitSeed } = this.settings;
    this.#split = splitByPrompt(this.#pairs, heldOutShare, { seed: splitSeed, round: this.#round });
    if (this.#split.training.length > 0) return;
    throw new TrainError(
      "NO_PAIRS",
      `[dpo round ${this.#round}] expected at least one pair to train on, got none of ${problemsOfRound(this.settings)} ` +
        "problems; see pairs/few_valid, pairs/tied and pairs/too_long in metrics.jsonl, sample more of each problem or take other ones",
    );
  }
}

interface Split {
  readonly training: readonly Pair[];
  readonly heldOut: readonly Pair[];
}

/** Whole prompts are held out until the pairs come to the share, all of a prompt's pairs on one side; one prompt stays. */
function splitByPrompt(
  pairs: readonly Pair[],
  share: number,
  { seed, round }: { readonly seed: number; readonly round: number },
): Split {
  const sizes = new Map<string, number>();
  for (const { prompt } of pairs) sizes.set(prompt.join(), (sizes.get(prompt.join()) ?? 0) + 1);
  const prompts = [...sizes.keys()];
  const wanted = Math.round(share * pairs.length);
  const held = new Set<string>();
  let count = 0;
  for (const at of epochOrder(prompts.length, seed, round)) {
    if (count >= wanted || held.size === prompts.length - 1) break;
    held.add(prompts[at]!);
    count += sizes.get(prompts[at]!)!;
  }
  const isHeld = ({ prompt }: Pair) => held.has(prompt.join());
  return { heldOut: pairs.filter(isHeld), training: pairs.filter((pair) => !isHeld(pair)) };
}
