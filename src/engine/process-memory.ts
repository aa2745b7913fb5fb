// What the process of a run takes beside its engines: Node and its libraries, V8's heap, the tokens that a step passes to and fro. What is
// there when a plan is made is measured, and what it grows by afterwards is foreseen. Leaves out processes that it starts.
import type { OtherMemory, Workload } from "./memory.js";
import { kernelBytes } from "./memory-limit.js";
import type { ModelSpec } from "./types.js";

const MiB = 2 ** 20;
/**
 * What a run adds however small its steps are, V8 filling its heap and compiling: between what was measured of short runs and of long ones,
 * 7 MiB in 10 steps of SFT and 18 in 400, 9 in 3 steps of GRPO, 30 in 20 and 35 in 80.
 */
const RUN_BYTES = 24 * MiB;
/**
 * What a step adds for each sample and each of its tokens, which fits steps of 1,024 to 16,384 samples of 3 to 105 tokens within a tenth: ids,
 * log-probs, texts, figures, and the garbage of them.
 */
const SAMPLE_BYTES = 9 * 1024;
const SAMPLED_TOKEN_BYTES = 120;
/** And for each token that it learns from or scores, measured on demonstrations from files. */
const BATCH_TOKEN_BYTES = 50;

/** Bytes of this process's own memory; pages of files, such as Node's code, are left out where the system tells them apart. */
export function processBytes(root = "/"): number {
  return kernelBytes(root, "proc/self/status", "RssAnon") ?? process.memoryUsage.rss();
}

/**
 * The part "process" of the plan of a run that asks for `workload`, with what it holds now. `engines`: bytes that engines in this process
 * hold, which are parts of their own.
 */
export function processMemory(
  engines: number,
  spec: Pick<ModelSpec, "maxPositions">,
  workload: Workload,
  bytes = processBytes(),
): OtherMemory {
  const held = Math.max(0, bytes - engines);
  return { name: "process", bytes: held + RUN_BYTES + stepBytes(spec, workload), held };
}

/** Of the largest step. What samples take is there when they are learnt from, and has room for that. */
function stepBytes(
  { maxPositions }: Pick<ModelSpec, "maxPositions">,
  { train, score, generate = [] }: Workload,
): number {
  const sampled = generate.map(({ prompts, samplesPerPrompt, maxTokens }) => {
    const bytes = SAMPLE_BYTES + SAMPLED_TOKEN_BYTES * Math.min(maxTokens, maxPositions);
    return prompts * samplesPerPrompt * bytes;
  });
  const batch = Math.max(train?.tokens ?? 0, score?.tokens ?? 0);
  return Math.max(BATCH_TOKEN_BYTES * batch, ...sampled);
}
