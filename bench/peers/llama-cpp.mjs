// Tokens a second of node-llama-cpp on the CPU, one sequence: a GGUF file of gguf_model.py, sampling at temperature 1 over the whole
// vocabulary, every sample as long as is asked for; prompts count. The last line is one JSON document. Needs `npm install node-llama-cpp`
// in a folder of its own, given by --modules.
// node bench/peers/llama-cpp.mjs --modules DIR --model FILE [--prompt N] [--tokens N] [--threads N] [--repeats N]
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { median } from "../support.mjs";

const { values: flags } = parseArgs({
  options: {
    modules: { type: "string" },
    model: { type: "string" },
    prompt: { type: "string", default: "16" },
    tokens: { type: "string", default: "64" },
    threads: { type: "string", default: "2" },
    repeats: { type: "string", default: "1" },
  },
});
const [prompt, tokens, threads, repeats] = ["prompt", "tokens", "threads", "repeats"].map((name) =>
  Number(flags[name]),
);
const found = createRequire(join(flags.modules, "package.json")).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(found));

const llama = await getLlama({ gpu: false, build: "never", maxThreads: threads, logLevel: "error" });
const model = await llama.loadModel({ modelPath: flags.model });
const context = await model.createContext({ contextSize: 1024, threads, flashAttention: false });
const sequence = context.getSequence();

/** Seconds of a call, and of its tokens after the first. */
async function generate() {
  await sequence.clearHistory();
  const ids = Array.from({ length: prompt }, () => Math.floor(Math.random() * 150_000));
  const began = performance.now();
  let first;
  let count = 0;
  for await (const _ of sequence.evaluate(ids, { temperature: 1, topK: 0, topP: 1, minP: 0, yieldEogToken: true })) {
    first ??= performance.now();
    if (++count === tokens) break;
  }
  const ended = performance.now();
  if (count !== tokens) throw new Error(`[check] expected ${tokens} tokens, got ${count}`);
  return { seconds: (ended - began) / 1000, stepSeconds: (ended - first) / 1000 / (tokens - 1) };
}

await generate();
const runs = [];
for (let i = 0; i < repeats; i++) runs.push(await generate());
const seconds = median(runs.map((run) => run.seconds));
const stepSeconds = median(runs.map((run) => run.stepSeconds));
console.log(
  JSON.stringify({
    bench: "decode",
    model: basename(flags.model),
    batch: 1,
    prompt,
    tokens,
    threads,
    seconds,
    tokensPerSecond: tokens / seconds,
    stepSeconds,
    system: llama.systemInfo,
  }),
);
await llama.dispose();
