// How the fake engine draws: every sampling parameter of the engine, slow and plain, in the order of transformers.
import type { Random } from "../../src/data/random.js";
import type { GenerateArgs } from "../../src/engine/generate.js";
import type { TokenBytes } from "../../src/engine/types.js";

type Sampling = GenerateArgs["samplings"][number];

const none = Number.NEGATIVE_INFINITY;

export class Drawer {
  constructor(
    readonly sampling: Sampling,
    readonly vocabulary: TokenBytes | null,
  ) {}

  /** A token from the row of its logits [V], and its log-prob in the distribution that it was drawn from; 0 where that is greedy. */
  draw(
    policy: readonly number[], // [V], log softmax(logits / temperature)
    logits: readonly number[], // [V]
    prompt: ArrayLike<number>,
    completion: readonly number[],
    rng: Random,
  ): { readonly token: number; readonly logprob: number } {
    const penalised = this.#penalised(logits, prompt, completion);
    const possible = this.#possible(penalised, completion);
    const { temperature } = this.sampling;
    if (temperature === 0) return { token: possible.indexOf(Math.max(...possible)), logprob: 0 };
    if (possible.every((value, v) => value === logits[v]) && !this.#filters) {
      const token = rng.weighted(policy.map(Math.exp));
      return { token, logprob: policy[token]! };
    }
    const kept = this.#kept(softmax(possible.map((value) => value / temperature)));
    const mass = kept.reduce((sum, p) => sum + p, 0);
    const token = rng.weighted(kept);
    return { token, logprob: Math.log(kept[token]! / mass) };
  }

  /** What ends a sample after its last token; null where it goes on. */
  endOf(tokens: readonly number[]): { readonly stopString: string | null } | null {
    const { stopTokenIds, stopStrings, constraint } = this.sampling;
    if (stopTokenIds.includes(tokens.at(-1)!)) return { stopString: null };
    const stopString = firstComplete(stopStrings.length > 0 ? this.#text(tokens) : "", stopStrings);
    if (stopString !== undefined) return { stopString };
    const isOver = constraint !== null && !stopTokenIds.some((id) => this.#mayFollow(tokens, id));
    return isOver && !this.#anyMayFollow(tokens) ? { stopString: null } : null;
  }

  get #filters(): boolean {
    const { topK, topP, minP } = this.sampling;
    return topK > 0 || topP < 1 || minP > 0;
  }

  #penalised(logits: readonly number[], prompt: ArrayLike<number>, completion: readonly number[]): readonly number[] {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.sampling;
    if (repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0) return logits;
    const seen = new Set([...Array.from(prompt), ...completion]);
    return logits.map((logit, v) => {
      const count = completion.filter((id) => id === v).length;
      const repeated = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
      return (seen.has(v) ? repeated : logit) - (count > 0 ? presencePenalty : 0) - frequencyPenalty * count;
    });
  }

  /** Banned ids, and those that the constraint does not allow, are -Infinity. */
  #possible(logits: readonly number[], completion: readonly number[]): readonly number[] {
    const { bannedTokenIds } = this.sampling;
    return logits.map((logit, v) => (bannedTokenIds.includes(v) || !this.#mayFollow(completion, v) ? none : logit));
  }

  /** Probabilities with those at 0 that top-k, top-p and min-p leave out. */
  #kept(probabilities: readonly number[]): readonly number[] {
    const { topK, topP, minP } = this.sampling;
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]! || a - b);
    const best = probabilities[order[0]!]!;
    let ids = topK > 0 ? order.slice(0, topK) : order;
    const mass = ids.reduce((sum, v) => sum + probabilities[v]!, 0);
    let before = 0;
    ids = ids.filter((v) => {
      const isKept = topP === 1 || before < topP * mass;
      before += probabilities[v]!;
      return isKept;
    });
    const kept = new Set(ids.filter((v) => probabilities[v]! >= minP * best));
    return probabilities.map((p, v) => (kept.has(v) ? p : 0));
  }

  /** Whether the constraint, where there is one, lets a token come next. */
  #mayFollow(completion: readonly number[], token: number): boolean {
    const { constraint, stopTokenIds } = this.sampling;
    if (constraint === null) return true;
    const state = this.#state(completion);
    if (stopTokenIds.includes(token)) return constraint.accepting[state] === 1;
    return this.#bytes(token).length > 0 && this.#state([...completion, token]) >= 0;
  }

  #anyMayFollow(completion: readonly number[]): boolean {
    const tokens = this.vocabulary!.offsets.length - 1;
    return Array.from({ length: tokens }, (_, token) => token).some((token) => this.#mayFollow(completion, token));
  }

  /** The automaton's state behind tokens; -1 where it refuses them. */
  #state(tokens: readonly number[]): number {
    const { next, classes, classCount } = this.sampling.constraint!;
    const bytes = tokens.flatMap((token) => [...this.#bytes(token)]);
    return bytes.reduce((state, byte) => (state < 0 ? state : next[state * classCount + classes[byte]!]!), 0);
  }

  #bytes(token: number): Uint8Array {
    const { bytes, offsets } = this.vocabulary!;
    return bytes.subarray(offsets[token], offsets[token + 1]);
  }

  #text(tokens: readonly number[]): string {
    return new TextDecoder().decode(Uint8Array.from(tokens.flatMap((token) => [...this.#bytes(token)])));
  }
}

/** The stop string that is complete first; of those that end together the longest. */
function firstComplete(text: string, stops: readonly string[]): string | undefined {
  const endOf = (stop: string) => text.indexOf(stop) + stop.length;
  const found = stops.filter((stop) => text.includes(stop));
  return found.sort((a, b) => endOf(a) - endOf(b) || b.length - a.length)[0];
}

function softmax(logits: readonly number[]): readonly number[] {
  const most = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - most));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}
