// What the benches share: repeated timing, a small table, and the facts about the machine that a stored result needs.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, release, totalmem } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Qwen2.5-0.5B's sizes in Llama form, with room for the benches' sequences. */
export const HALF_BILLION = {
  vocabSize: 151_936,
  hiddenSize: 896,
  intermediateSize: 4864,
  layers: 24,
  heads: 14,
  kvHeads: 2,
  headDim: 64,
  maxPositions: 1024,
  ropeTheta: 10_000,
  rmsNormEps: 1e-5,
  tieWordEmbeddings: true,
  bosTokenId: null,
  eosTokenIds: [],
};

/** Throws when a bench's own check fails: figures of a wrong answer mean nothing. */
export function check(condition, message) {
  if (!condition) throw new Error(`[check] ${message}`);
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median seconds of a call, after one that is not counted; at least `rounds` calls and about `seconds` in all. */
export function timeCall(call, { rounds = 5, seconds = 0.5 } = {}) {
  call();
  const times = [];
  const began = performance.now();
  while (times.length < rounds || performance.now() - began < seconds * 1000) {
    const start = performance.now();
    call();
    times.push((performance.now() - start) / 1000);
  }
  return median(times);
}

/** Rows of strings under a line of titles; numbers to the right. */
export function printTable(titles, rows) {
  const all = [titles, ...rows.map((row) => row.map(String))];
  const widths = titles.map((_, c) => Math.max(...all.map((row) => row[c].length)));
  for (const row of all)
    console.log(row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join("  "));
}

export function machine() {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
  };
}

/** The commit, with a mark when sources differ from it. */
export function commit() {
  try {
    const stdio = ["ignore", "pipe", "ignore"];
    const git = (...args) => execFileSync("git", args, { cwd: root, encoding: "utf8", stdio }).trim();
    return (
      git("rev-parse", "HEAD") + (git("status", "--porcelain", "--", "src", "native", "bench") === "" ? "" : "+changes")
    );
  } catch {
    return "unknown";
  }
}

/** The last line: one JSON document; also written to `file` when there is one. */
export function finish(result, file) {
  if (file) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`);
  }
  console.log(JSON.stringify(result));
}
