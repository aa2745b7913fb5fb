// What goes wrong without an error: a run that samples, grades and learns nothing. Each finding is said once, with its numbers and the
// settings to change. Reads the figures of steps; changes nothing.
import { counted } from "../config/counted.js";
import type { LossSettings } from "../config/fragments.js";
import type { Json, Resumable } from "../data/resumable.js";
import type { Metrics } from "./run.js";

const WINDOW = 5; // steps a finding is made of, where a loop does not sample fewer
const MOST_GROUPS = 0.8; // share of groups without spread
const MOST_TRUNCATED = 0.5; // share of completions that ran out of room
const MOST_CUT = 0.5; // share of the texts of a reward model that were longer than it reads
const COLLAPSED = 0.1; // entropy as a share of what it was
const LEAST_ENTROPY = 0.01; // nats, below which a policy was sharp from the start
const FOLLOWS = 0.5; // rank correlation of reward and answer length
const GROWN = 1.2; // answers in tokens, to what they were
const MOST_MALFORMED = 0.5; // share of completions without the format's marks
const MOST_REPEATED = 0.3; // share of a completion's 4-grams that it said before
const MORE_REPEATED = 0.1; // how much of that share came in training: some tasks repeat by their nature
const FAR = 0.5; // nats a token of KL to the reference: far more than the few hundredths of a healthy run

/** What the settings say. */
export interface DiagnosisSettings {
  /** The group that they are in, which findings name; they are written for the default, "grpo". */
  readonly group?: string;
  readonly maxTokens: number;
  /** Null where the loop trains on pairs: then `beta` holds the policy to its reference. */
  readonly loss: LossSettings | null;
  readonly beta?: number;
  /** Steps that sample before others train, where they are that few: a finding is made of no more. */
  readonly sampledAtOnce?: number;
  readonly dynamicSampling?: { readonly maxRefills: number };
  /** What becomes of completions that were cut off, where the loop has such settings. */
  readonly overlong?: unknown;
}

/** Figures of one step. */
interface Seen {
  readonly step: number;
  readonly groups: number;
  readonly zeroSpread: number;
  readonly reward: number;
  readonly deviation: number;
  readonly truncated: number;
  readonly entropy: number | null;
  // Of watch.ts; NaN where a step has none.
  readonly answerLength: number;
  readonly lengthCorrelation: number;
  readonly malformed: number;
  readonly malformedLead: number;
  readonly repeated: number;
  readonly kl: number;
  /** Share of a reward model's texts that lost their end; NaN where no reward model scores. */
  readonly cut: number;
}

/** Means of the first window in which a figure was known. */
type First = Readonly<Record<(typeof remembered)[number], number | null>>;
const remembered = ["entropy", "answerLength", "repeated"] as const;

type Finding = (window: readonly Seen[], settings: DiagnosisSettings, first: First) => string | null;

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const percent = (share: number) => `${Math.round(100 * share)}%`;
/** Mean over the steps that know the figure; NaN where none does. */
const meanOf = (window: readonly Seen[], figure: Exclude<keyof Seen, "step">): number => {
  const known = window.map((seen) => seen[figure] ?? Number.NaN).filter((value) => !Number.isNaN(value));
  return sum(known) / known.length;
};
const steps = (window: readonly Seen[]) =>
  window.length === 1 ? `step ${window[0]!.step}` : `steps ${window[0]!.step} to ${window.at(-1)!.step}`;

/** The setting that holds the policy nearer to its reference, with its value. */
const hold = ({ loss, beta }: DiagnosisSettings) =>
  loss === null ? `raise grpo.beta (${beta})` : `raise grpo.loss.klCoefficient (${loss.klCoefficient})`;

/** Of several reward models the one that lost the most. */
function cutShare(metrics: Metrics): number {
  const counts = Object.entries(metrics).filter(([field]) => /^reward_model\/.*\/truncated$/.test(field));
  const shares = counts.map(([field, count]) => count / metrics[field.replace(/truncated$/, "texts")]!);
  return shares.length === 0 ? Number.NaN : Math.max(...shares);
}

/** The end of a text is its answer: what is cut there is not judged. */
const cutTexts: Finding = (window) => {
  const share = meanOf(window, "cut");
  if (!(share >= MOST_CUT)) return null;
  return (
    `${percent(share)} of the texts of ${steps(window)} are longer than the reward model reads: they are cut on the right, where the answer is, so ` +
    "rewards say little of it; raise reward.maxTokens, lower maxPromptTokens, or take a reward model of more positions"
  );
};

const sameReward: Finding = (window) => {
  const [first] = window;
  if (meanOf(window, "cut") >= MOST_CUT) return null; // which cutTexts explains
  if (window.some(({ deviation, reward }) => deviation !== 0 || reward !== first!.reward)) return null;
  const advice =
    first!.reward > 0
      ? "the problems teach nothing more: take harder ones"
      : "the policy cannot begin: train it on demonstrations first, take easier problems, or look at rollouts.jsonl for a format that the reward does not read";
  return `all rewards of ${steps(window)} are ${first!.reward}: ${advice}`;
};

const noSpread: Finding = (window, { dynamicSampling, loss }) => {
  const groups = sum(window.map((seen) => seen.groups));
  const share = sum(window.map((seen) => seen.zeroSpread)) / groups;
  if (!(share >= MOST_GROUPS) || share === 1) return null;
  const reward = sum(window.map((seen) => seen.reward)) / window.length;
  const refills = dynamicSampling?.maxRefills ?? 0;
  const dynamic =
    refills > 0
      ? `raise grpo.dynamicSampling.maxRefills (${refills})`
      : "try dynamic sampling, grpo.dynamicSampling.maxRefills=8";
  const other = loss === null ? "" : `${dynamic}, `;
  return (
    `${percent(share)} of the ${groups} groups of ${steps(window)} have no spread, at a mean reward of ${reward.toFixed(3)}: they teach ` +
    `nothing; ${other}raise grpo.samplesPerPrompt, or take problems of another difficulty`
  );
};

const truncated: Finding = (window, { maxTokens, overlong }) => {
  const share = sum(window.map((seen) => seen.truncated)) / window.length;
  if (!(share >= MOST_TRUNCATED)) return null;
  const masked = ", or set grpo.overlong.cacheLength to a part of it, or grpo.overlong.maskTruncated=true";
  return (
    `${percent(share)} of the completions of ${steps(window)} were cut off at ${maxTokens} tokens: raise grpo.sampling.maxTokens` +
    (overlong === undefined ? "" : masked)
  );
};

const entropyCollapse: Finding = (window, { loss }, { entropy: first }) => {
  const now = meanOf(window, "entropy");
  if (loss === null || first === null || first < LEAST_ENTROPY || !(now < COLLAPSED * first)) return null;
  return (
    `the entropy fell from ${first.toFixed(3)} to ${now.toFixed(4)} nats by ${steps(window)}: samples of a problem become alike; raise ` +
    `grpo.loss.clipHigh (${loss.clipHigh}), set grpo.loss.entropyCoefficient (${loss.entropyCoefficient}), or lower the learning rate`
  );
};

/** Singhal et al., "A long way to go: investigating length correlations in RLHF", 2023. */
const lengthHacking: Finding = (window, { loss }, { answerLength: first }) => {
  const [follows, now] = [meanOf(window, "lengthCorrelation"), meanOf(window, "answerLength")];
  if (first === null || !(follows >= FOLLOWS) || !(now >= GROWN * first)) return null;
  return (
    `answers grow and reward follows length: r = ${follows.toFixed(2)} in ${steps(window)}, answers of ${now.toFixed(0)} tokens where they had ` +
    `${first.toFixed(0)}; the reward may pay for length: read rollouts.jsonl, judge held-out answers by another reward (evaluation.every, ` +
    `evaluation.patience), or raise grpo.${loss === null ? "beta" : "loss.klCoefficient"}`
  );
};

const malformed: Finding = (window) => {
  const share = meanOf(window, "malformed");
  if (!(share >= MOST_MALFORMED)) return null;
  return (
    `${percent(share)} of the completions of ${steps(window)} are malformed, without the marks of the format: train on demonstrations of it ` +
    "first, choose another format, or raise grpo.sampling.maxTokens where they are cut off before the marks"
  );
};

/** A reward model knows no format: what stands for a malformed answer may please it more than the answers do. Pairs leave such out. */
const malformedPays: Finding = (window, { loss }) => {
  if (loss === null || !window.every(({ malformedLead }) => malformedLead > 0)) return null;
  return (
    `malformed answers earn more than well-formed ones to the same prompts, by ${meanOf(window, "malformedLead").toFixed(3)} in ` +
    `${steps(window)}: the reward teaches to break the format; see what was graded in rollouts.jsonl, add a reward for the form ` +
    "(rewards, kind: format), or train on demonstrations first"
  );
};

const repetition: Finding = (window, settings, { repeated: first }) => {
  const share = meanOf(window, "repeated");
  if (first === null || !(share >= MOST_REPEATED) || !(share >= first + MORE_REPEATED)) return null;
  return (
    `completions repeat themselves: ${percent(share)} of their 4-grams in ${steps(window)} came before, ${percent(first)} at first; the reward ` +
    `may pay for it: read rollouts.jsonl, ${hold(settings)}, or lower the learning rate`
  );
};

/** Gao et al., "Scaling laws for reward model overoptimization", 2023: what a reward model says is worth less the farther a policy goes. */
const farFromReference: Finding = (window, settings) => {
  const now = meanOf(window, "kl");
  if (!(now >= FAR)) return null;
  return (
    `the policy is far from its reference: a KL of ${now.toFixed(2)} nats a token in ${steps(window)}; its reward may be one that was trained ` +
    `to be fooled: ${hold(settings)}, lower the learning rate, or stop by evaluation.patience`
  );
};

const findings = {
  cutTexts,
  sameReward,
  noSpread,
  truncated,
  entropyCollapse,
  lengthHacking,
  malformed,
  malformedPays,
  repetition,
  farFromReference,
};

/** As it was before it was JSON, which has no way to say NaN: figures of a step whose rewards all failed. */
function revived({ entropy, ...figures }: Seen): Seen {
  const known = Object.entries(figures).map(([name, value]) => [name, value ?? Number.NaN]);
  return { ...(Object.fromEntries(known) as typeof figures), entropy };
}

/** A step of which nothing is known. */
const blank: Seen = {
  step: 0,
  groups: Number.NaN,
  zeroSpread: Number.NaN,
  reward: Number.NaN,
  deviation: Number.NaN,
  truncated: Number.NaN,
  entropy: null,
  answerLength: Number.NaN,
  lengthCorrelation: Number.NaN,
  malformed: Number.NaN,
  malformedLead: Number.NaN,
  repeated: Number.NaN,
  kl: Number.NaN,
  cut: Number.NaN,
};

const unknown: First = { entropy: null, answerLength: null, repeated: null };

/** What was not known before, from a window that knows it. */
function withWindow(first: First, window: readonly Seen[]): First {
  const known = remembered.map((figure) => {
    const mean = first[figure] ?? meanOf(window, figure);
    return [figure, Number.isNaN(mean) ? null : mean];
  });
  return Object.fromEntries(known) as First;
}

export class Diagnosis implements Resumable {
  readonly #settings: DiagnosisSettings;
  #said: string[] = [];
  #window: Seen[] = [];
  #first: First = unknown;
  #updates = 0;
  #anew = false;

  constructor(settings: DiagnosisSettings) {
    this.#settings = settings;
  }

  /** What is to be said after a step, from its metrics, what rewards counted among them, and its number of updates. */
  see(step: number, metrics: Metrics, updates: number): readonly string[] {
    const anew = this.#sayAnew();
    this.#updates += updates;
    const { entropy } = metrics;
    this.#window.push({
      step,
      groups: metrics["groups/total"]!,
      zeroSpread: metrics["groups/zero_spread"]!,
      reward: metrics["reward/mean"]!,
      deviation: metrics["reward/std"]!,
      truncated: metrics["completion_length/truncated"]!,
      entropy: entropy === undefined || Number.isNaN(entropy) ? null : entropy,
      answerLength: metrics["length/answer"] ?? metrics["completion_length/mean"]!,
      lengthCorrelation: metrics["watch/length_correlation"] ?? Number.NaN,
      malformed: metrics.malformed ?? Number.NaN,
      malformedLead: metrics["watch/malformed_lead"] ?? Number.NaN,
      repeated: metrics["watch/repeated_4grams"] ?? Number.NaN,
      kl: metrics.kl ?? Number.NaN,
      cut: cutShare(metrics),
    });
    const size = Math.min(WINDOW, this.#settings.sampledAtOnce ?? WINDOW);
    if (this.#window.length < size) return anew;
    if (this.#window.length > size) this.#window.shift();
    const said = (Object.keys(findings) as (keyof typeof findings)[]).flatMap((name) => this.#find(name, this.#window));
    this.#first = withWindow(this.#first, this.#window);
    return [...anew, ...said];
  }

  /** What is to be said after a step that trains on what was sampled before, from its KL to the reference; NaN where it is not known. */
  seeKl(step: number, kl: number): readonly string[] {
    return [...this.#sayAnew(), ...this.#find("farFromReference", [{ ...blank, step, kl }])];
  }

  #find(name: keyof typeof findings, window: readonly Seen[]): readonly string[] {
    const text = this.#said.includes(name) ? null : findings[name](window, this.#settings, this.#first);
    if (text === null) return [];
    this.#said.push(name);
    return [text.replaceAll("grpo.", `${this.#settings.group ?? "grpo"}.`)];
  }

  /** Once, where the run goes on without what it had seen. */
  #sayAnew(): readonly string[] {
    if (!this.#anew) return [];
    this.#anew = false;
    return [
      "the checkpoint is of a version that kept no figures for these warnings: they begin anew; the training goes on as it was",
    ];
  }

  /** What is to be said of a part that ends without a single update. */
  verdict(stepsTaken: number): string | null {
    if (this.#updates > 0 || stepsTaken === 0) return null;
    return (
      `nothing was learnt: in none of ${counted(stepsTaken, "step")} did a group have spread, so no update was made and the weights are what they were; ` +
      "look at the rewards in rollouts.jsonl, raise grpo.samplesPerPrompt, or train on demonstrations first"
    );
  }

  save(): Json {
    const window = this.#window.map((seen) => ({ ...seen }));
    return { said: [...this.#said], window, first: { ...this.#first }, updates: this.#updates };
  }

  /** Null is the state of a checkpoint that has none. */
  restore(state: Json): void {
    this.#anew = state === null;
    if (state === null) return;
    const { said, window, first, updates } = state as unknown as {
      said: string[];
      window: Seen[];
      first: First;
      updates: number;
    };
    this.#said = [...said];
    this.#window = window.map(revived);
    this.#first = first;
    this.#updates = updates;
  }
}
