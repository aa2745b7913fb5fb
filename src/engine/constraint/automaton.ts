// Patterns to deterministic automata over bytes: Thompson's construction, then subsets, then states that lead nowhere go. Bounded in size
// and work, so that no pattern holds up the process.
import { InputError } from "../../errors.js";
import { type Pattern, tooLarge } from "./pattern.js";
import { utf8Sequences } from "./utf8.js";

/** State 0 is the start; every state can still reach an accepting one. */
export interface ByteAutomaton {
  /** Class of each byte: bytes that no state tells apart share one. */
  readonly classes: Uint8Array; // [256]
  readonly classCount: number;
  /** The state behind a byte of the class; -1 where it is refused. */
  readonly next: Int32Array; // [states, classCount]
  /** 1: the text may end here. */
  readonly accepting: Uint8Array; // [states]
}

export const DEAD = -1;
const MAX_STATES = 10_000;
const MAX_NODES = 200_000;
const MAX_WORK = 4_000_000; // nodes and edges looked at while subsets are made

interface Edge {
  readonly low: number;
  readonly high: number;
  readonly to: number;
}

/** Nodes with edges over bytes and edges over nothing. */
class Graph {
  readonly edges: Edge[][] = [];
  readonly jumps: number[][] = [];

  node(): number {
    if (this.edges.length >= MAX_NODES) throw tooLarge(`a pattern of at most ${MAX_NODES} parts`, "more");
    this.jumps.push([]);
    return this.edges.push([]) - 1;
  }

  /** Adds what leads through the pattern from a node; returns the node where it ends. */
  add(pattern: Pattern, from: number): number {
    switch (pattern.kind) {
      case "set":
        return this.#addSet(pattern, from);
      case "sequence":
        return pattern.parts.reduce((at, part) => this.add(part, at), this.#jump(from));
      case "choice":
        return this.#join(pattern.options.map((option) => this.add(option, from)));
      case "repeat":
        return this.#addRepeat(pattern, from);
    }
  }

  #addSet({ ranges }: Pattern & { kind: "set" }, from: number): number {
    const end = this.node();
    for (const sequence of utf8Sequences(ranges)) {
      let at = from;
      sequence.forEach(([low, high], i) => {
        const to = i === sequence.length - 1 ? end : this.node();
        this.edges[at]!.push({ low, high, to });
        at = to;
      });
    }
    return end;
  }

  #addRepeat({ part, min, max }: Pattern & { kind: "repeat" }, from: number): number {
    let at = this.#jump(from);
    for (let i = 0; i < min; i++) at = this.add(part, at);
    if (max === Number.POSITIVE_INFINITY) {
      const loop = this.#jump(at);
      this.jumps[this.add(part, loop)]!.push(loop);
      return this.#jump(loop);
    }
    const exits = [at];
    for (let i = min; i < max; i++) {
      at = this.add(part, at);
      exits.push(at);
    }
    return this.#join(exits);
  }

  /** A new node behind a node. It keeps a loop from reaching what comes before it. */
  #jump(from: number): number {
    return this.#join([from]);
  }

  #join(ends: readonly number[]): number {
    const node = this.node();
    for (const end of ends) this.jumps[end]!.push(node);
    return node;
  }
}

/** Throws InputError PATTERN_TOO_LARGE, and CONSTRAINT_UNSATISFIABLE for a pattern that no text matches. */
export function compilePattern(pattern: Pattern): ByteAutomaton {
  const graph = new Graph();
  const start = graph.node();
  const end = graph.add(pattern, start);
  const { classes, classCount } = byteClasses(graph);
  return withoutDeadEnds(subsets(graph, start, end, classes, classCount), classes, classCount);
}

/** Bytes between two neighbouring ends of edges are one class; classes are numbered in the order of bytes. */
function byteClasses(graph: Graph): { classes: Uint8Array; classCount: number } {
  const begins = new Uint8Array(257);
  for (const { low, high } of graph.edges.flat()) {
    begins[low] = 1;
    begins[high + 1] = 1;
  }
  const classes = new Uint8Array(256);
  for (let byte = 1; byte < 256; byte++) classes[byte] = classes[byte - 1]! + begins[byte]!;
  return { classes, classCount: classes[255]! + 1 };
}

interface States {
  readonly next: readonly Int32Array[]; // [states][classCount]
  readonly accepting: readonly boolean[]; // [states]
}

function subsets(graph: Graph, start: number, end: number, classes: Uint8Array, classCount: number): States {
  const closure = new Closure(graph);
  const sets: Int32Array[] = [];
  const numbers = new Map<string, number>();
  const numberOf = (nodes: Iterable<number>): number => {
    const set = closure.of(nodes);
    const key = set.join();
    const known = numbers.get(key);
    if (known !== undefined) return known;
    if (sets.length >= MAX_STATES) throw tooLarge(`a pattern of at most ${MAX_STATES} states`, "more");
    numbers.set(key, sets.length);
    return sets.push(set) - 1;
  };
  numberOf([start]);
  const next: Int32Array[] = [];
  for (let state = 0; state < sets.length; state++) {
    const targets = Array.from({ length: classCount }, () => new Set<number>());
    for (const { low, high, to } of Array.from(sets[state]!).flatMap((node) => graph.edges[node]!))
      for (let c = classes[low]!; c <= classes[high]!; c++) targets[c]!.add(to);
    next.push(Int32Array.from(targets, (nodes) => (nodes.size === 0 ? DEAD : numberOf(nodes))));
  }
  return { next, accepting: sets.map((set) => set.includes(end)) };
}

/** Nodes that are reached over nothing. */
class Closure {
  readonly #graph: Graph;
  readonly #marks: Int32Array;
  #round = 0;
  #work = 0;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#marks = new Int32Array(graph.edges.length);
  }

  /** Those of them that matter, ascending: nodes with edges, and the end, which has neither edges nor jumps. */
  of(nodes: Iterable<number>): Int32Array {
    this.#round++;
    const open = [...nodes];
    const found: number[] = [];
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      if (this.#marks[node] === this.#round) continue;
      this.#marks[node] = this.#round;
      const [edges, jumps] = [this.#graph.edges[node]!, this.#graph.jumps[node]!];
      this.#work += 1 + edges.length + jumps.length;
      if (this.#work > MAX_WORK) throw tooLarge("a pattern with fewer ways to match a text", "too many");
      if (edges.length > 0 || jumps.length === 0) found.push(node);
      open.push(...jumps);
    }
    return Int32Array.from(found).sort();
  }
}

/** Keeps the states that can reach an accepting one, in their order. */
function withoutDeadEnds({ next, accepting }: States, classes: Uint8Array, classCount: number): ByteAutomaton {
  const before = next.map(() => [] as number[]);
  next.forEach((row, state) => {
    for (const to of new Set(row)) if (to !== DEAD) before[to]!.push(state);
  });
  const alive = new Uint8Array(next.length);
  const open = [...next.keys()].filter((state) => accepting[state]);
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    if (alive[state] === 1) continue;
    alive[state] = 1;
    open.push(...before[state]!);
  }
  if (alive[0] !== 1) {
    const message = "[generate constraint] expected a pattern that some text matches, got one that none does; mend it";
    throw new InputError("CONSTRAINT_UNSATISFIABLE", message);
  }
  const kept = [...next.keys()].filter((state) => alive[state] === 1);
  const number = new Int32Array(next.length).fill(DEAD);
  for (const [place, state] of kept.entries()) number[state] = place;
  return {
    classes,
    classCount,
    next: Int32Array.from(
      kept.flatMap((state) => Array.from(next[state]!, (to) => (to === DEAD ? DEAD : number[to]!))),
    ),
    accepting: Uint8Array.from(kept, (state) => (accepting[state] ? 1 : 0)),
  };
}
