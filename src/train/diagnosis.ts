// What goes wrong without an error: a run that samples, grades and learns nothing. Each finding is said once, with its numbers and the
// settings to change. Reads the figures of steps; changes nothing.
import type { LossSettings } from "../config/fragments.js";
import type { Json, Resumable } from "../data/resumable.js";
import type { Metrics } from "./run.js";

const WINDOW = 5; // steps a finding is made of
const MOST_GROUPS = 0.8; // share of groups without spread
const MOST_TRUNCATED = 0.5; // share of completions that ran out of room
const COLLAPSED = 0.1; // entropy as a share of what it was
const LEAST_ENTROPY = 0.01; // nats, below which a policy was sharp from the start

/** What the settings say. */
export interface DiagnosisSettings {
  readonly maxTokens: number;
  readonly loss: LossSettings;
  readonly dynamicSampling?: { readonly maxRefills: number };
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
}

type Finding = (window: readonly Seen[], settings: DiagnosisSettings, firstEntropy: number | null) => string | null;

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const percent = (share: number) => `${Math.round(100 * share)}%`;
const steps = (window: readonly Seen[]) => `steps ${window[0]!.step} to ${window.at(-1)!.step}`;

const sameReward: Finding = (window) => {
  const [first] = window;
  if (window.some(({ deviation, reward }) => deviation !== 0 || reward !== first!.reward)) return null;
  const advice =
    first!.reward > 0
      ? "the problems teach nothing more: take harder ones"
      : "the policy cannot begin: train it on demonstrations first, take easier problems, or look at rollouts.jsonl for a format that the reward does not read";
  return `all rewards of ${steps(window)} are ${first!.reward}: ${advice}`;
};

const noSpread: Finding = (window, { dynamicSampling }) => {
  const groups = sum(window.map((seen) => seen.groups));
  const share = sum(window.map((seen) => seen.zeroSpread)) / groups;
  if (!(share >= MOST_GROUPS) || share === 1) return null;
  const reward = sum(window.map((seen) => seen.reward)) / window.length;
  const refills = dynamicSampling?.maxRefills ?? 0;
  const dynamic =
    refills > 0
      ? `raise grpo.dynamicSampling.maxRefills (${refills})`
      : "try dynamic sampling, grpo.dynamicSampling.maxRefills=8";
  return (
    `${percent(share)} of the ${groups} groups of ${steps(window)} have no spread, at a mean reward of ${reward.toFixed(3)}: they teach ` +
    `nothing; ${dynamic}, raise grpo.samplesPerPrompt, or take problems of another difficulty`
  );
};

const truncated: Finding = (window, { maxTokens }) => {
  const share = sum(window.map((seen) => seen.truncated)) / window.length;
  if (!(share >= MOST_TRUNCATED)) return null;
  return (
    `${percent(share)} of the completions of ${steps(window)} were cut off at ${maxTokens} tokens: raise grpo.sampling.maxTokens, or set ` +
    "grpo.overlong.cacheLength to a part of it, or grpo.overlong.maskTruncated=true"
  );
};

const entropyCollapse: Finding = (window, { loss }, first) => {
  const known = window.flatMap(({ entropy }) => (entropy === null ? [] : [entropy]));
  if (first === null || known.length === 0 || first < LEAST_ENTROPY) return null;
  const now = sum(known) / known.length;
  if (now >= COLLAPSED * first) return null;
  return (
    `the entropy fell from ${first.toFixed(3)} to ${now.toFixed(4)} nats by ${steps(window)}: samples of a problem become alike; raise ` +
    `grpo.loss.clipHigh (${loss.clipHigh}), set grpo.loss.entropyCoefficient (${loss.entropyCoefficient}), or lower the learning rate`
  );
};

const findings = { sameReward, noSpread, truncated, entropyCollapse };

/** As it was before it was JSON, which has no way to say NaN: figures of a step whose rewards all failed. */
function revived({ entropy, ...figures }: Seen): Seen {
  const known = Object.entries(figures).map(([name, value]) => [name, value ?? Number.NaN]);
  return { ...(Object.fromEntries(known) as typeof figures), entropy };
}

export class Diagnosis implements Resumable {
  readonly #settings: DiagnosisSettings;
  #said: string[] = [];
  #window: Seen[] = [];
  #firstEntropy: number | null = null;
  #updates = 0;

  constructor(settings: DiagnosisSettings) {
    this.#settings = settings;
  }

  /** What is to be said after a step, from its metrics and its number of updates. */
  see(step: number, metrics: Metrics, updates: number): readonly string[] {
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
    });
    if (this.#window.length < WINDOW) return [];
    if (this.#window.length > WINDOW) this.#window.shift();
    const said = Object.entries(findings).flatMap(([name, finding]) => {
      const text = this.#said.includes(name) ? null : finding(this.#window, this.#settings, this.#firstEntropy);
      if (text === null) return [];
      this.#said.push(name);
      return [text];
    });
    const known = this.#window.flatMap((seen) => (seen.entropy === null ? [] : [seen.entropy]));
    if (known.length > 0) this.#firstEntropy ??= sum(known) / known.length;
    return said;
  }

  /** What is to be said of a part that ends without a single update. */
  verdict(stepsTaken: number): string | null {
    if (this.#updates > 0 || stepsTaken === 0) return null;
    return (
      `nothing was learnt: in none of ${stepsTaken} steps did a group have spread, so no update was made and the weights are what they were; ` +
      "look at the rewards in rollouts.jsonl, raise grpo.samplesPerPrompt, or train on demonstrations first"
    );
  }

  save(): Json {
    const window = this.#window.map((seen) => ({ ...seen }));
    return { said: [...this.#said], window, firstEntropy: this.#firstEntropy, updates: this.#updates };
  }

  restore(state: Json): void {
    const { said, window, firstEntropy, updates } = state as unknown as {
      said: string[];
      window: Seen[];
      firstEntropy: number | null;
      updates: number;
    };
    this.#said = [...said];
    this.#window = window.map(revived);
    this.#firstEntropy = firstEntropy;
    this.#updates = updates;
  }
}
