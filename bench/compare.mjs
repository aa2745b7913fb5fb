// Our benches and the Python ones in turn, so that a slow spell of the machine meets both: ours, theirs, ours, theirs, ... The ratio is
// of the medians of the repetitions. Peak is the better of our matmul and PyTorch's. Results go to bench/results/NAME.json.
// node bench/compare.mjs --python PATH [--only NAME,...] [--repeats N] [--threads N] [--quick] [--model DIR] [--tokenizer DIR] [--llama DIR] [--out DIR]
// Names: train-qwen2.5-0.5b, train-qwen2.5-0.5b-bfloat16, decode-1, decode-64 (bf16), decode-llama-cpp (the same; --llama is a folder with
// node-llama-cpp), train-1m (8 x 256), train-1m-8x128, train-1m-4x64, train-1m-2x64, train-1m-1x64, train-trial, grpo-step, grpo-step-lora
// (0.5B, bf16), onnx-reward, trial. --tokenizer is Qwen2.5's folder, for decode-llama-cpp and grpo-step-lora.
// --quick takes few steps: to see that all runs, not for figures.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { check, commit, finish, HALF_BILLION, machine, median, printTable, root } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    python: { type: "string" },
    only: { type: "string" },
    repeats: { type: "string", default: "3" },
    threads: { type: "string", default: String(availableParallelism()) },
    model: { type: "string", default: join(root, "..", "shared", "models", "stories260k") },
    tokenizer: { type: "string", default: join(root, "..", "shared", "tokenizers", "qwen2.5") },
    llama: { type: "string" },
    out: { type: "string", default: join(root, "bench", "results") },
    quick: { type: "boolean", default: false },
  },
});
check(flags.python, "--python: expected the path of a Python with bench/peers/requirements.txt, got none");
const repeats = Number(flags.repeats);
const threads = ["--threads", flags.threads];
const newTokens = flags.quick ? "4" : "64";
const few = flags.quick ? ["--steps", "2", "--warmup", "1"] : [];
const bench = (name) => join(root, "bench", name);
const peer = (name) => join(root, "bench", "peers", name);

/**
 * One bench on both sides. `seconds` reads either side's document; `wanted` is the least ratio theirs / ours. `batch`: [sequences,
 * length], else the shape's own.
 */
function trainStep(shape, wanted, batch, dtype = "float32") {
  const size = batch ? ["--sequences", String(batch[0]), "--length", String(batch[1])] : [];
  const args = ["--shape", shape, "--dtype", dtype, ...size, ...threads, ...few];
  return {
    name: ["train", shape, ...(batch ? [batch.join("x")] : []), ...(dtype === "float32" ? [] : [dtype])].join("-"),
    wanted,
    dtype,
    ours: () => ours(bench("train-step.mjs"), ...args),
    theirs: () => theirs(peer("train_step.py"), ...args),
    seconds: (document) => document.seconds,
  };
}

/** Generation of the 0.5B shape in bf16, prompts counted on both sides. */
function decode(batch, wanted) {
  const sizes = ["--batch", String(batch), "--tokens", newTokens];
  const args = ["--dtype", "bfloat16", ...sizes, ...threads];
  return {
    name: `decode-${batch}`,
    wanted,
    dtype: "bfloat16",
    ours: (_, peaks) => ours(bench("decode.mjs"), ...args, "--peak", String(peaks.best)),
    theirs: () => theirs(peer("decode.py"), ...args),
    seconds: (document) => document.seconds,
  };
}

/** The same for one sample, against node-llama-cpp on a bf16 file of the same sizes. */
function decodeBesideLlama() {
  const sizes = ["--tokens", newTokens, ...threads];
  const file = (folder) => join(folder, "bf16.gguf");
  return {
    name: "decode-llama-cpp",
    wanted: 1,
    dtype: "bfloat16",
    model: async (folder) => {
      await makeHalfBillion(folder);
      await output(flags.python, [peer("gguf_model.py"), "--model", folder, "--out", file(folder)]);
    },
    ours: (_, peaks) => ours(bench("decode.mjs"), "--dtype", "bfloat16", ...sizes, "--peak", String(peaks.best)),
    theirs: (folder) => ours(peer("llama-cpp.mjs"), "--modules", flags.llama, "--model", file(folder), ...sizes),
    seconds: (document) => document.seconds,
  };
}

/** A model folder of the 0.5B shape in bf16 with random weights. */
async function makeHalfBillion(folder) {
  const { Engine } = await import("../dist/engine/engine.js");
  const spec = { ...HALF_BILLION, eosTokenIds: [151_643] };
  const engine = await Engine.create(spec, { seed: 0 }, { dtype: "bfloat16", trainable: false });
  await engine.save(folder);
  await engine.dispose();
  cpSync(flags.tokenizer, folder, { recursive: true });
}

/** A GRPO step of adapters beside the 0.5B shape in bf16, random weights; TRL's batch is cut so that it fits. */
function adapterStep() {
  const sizes = ["--prompts", "4", "--completions", "8", "--prompt-tokens", "128", "--new-tokens", "128"];
  const counts = flags.quick ? ["--steps", "1", "--warmup", "0"] : ["--steps", "1", "--warmup", "1"];
  const args = ["--dtype", "bfloat16", "--lora-rank", "16", ...sizes, ...counts, ...threads];
  return {
    name: "grpo-step-lora",
    wanted: 1.5,
    model: makeHalfBillion,
    ours: (folder) => ours(bench("grpo-step.mjs"), "--model", folder, ...args),
    theirs: (folder) => theirs(peer("trl_grpo.py"), "--model", folder, "--micro-batch", "8", ...args),
    seconds: (document) => document.seconds,
  };
}

// Both sides take the same number of steps of the same size.
const [sftSteps, grpoSteps] = flags.quick ? [20, 2] : [2280, 40];
const trialOfOurs = [`sft.steps=${sftSteps}`, `grpo.steps=${grpoSteps}`];
const trialOfTheirs = ["--sft-steps", String(sftSteps), "--grpo-steps", String(grpoSteps)];
if (flags.quick) {
  trialOfOurs.push("evaluation.problems=32", "evaluation.minimumPass=0");
  trialOfTheirs.push("--eval-problems", "32");
}

let runs = 0;
/** The built-in trial, evaluations left out on both sides. */
async function ourTrial(folder) {
  const sets = [...trialOfOurs, `threads=${flags.threads}`].flatMap((set) => ["--set", set]);
  const cli = join(root, "dist", "cli", "main.js");
  const { summary } = await ours(cli, "train", "quickstart", "--json", "--out", join(folder, String(runs++)), ...sets);
  return { seconds: summary.arms.grpo.train.seconds + summary.arms.sft.train.seconds, arms: summary.arms };
}

const jobs = [
  trainStep("qwen2.5-0.5b", 1.35),
  trainStep("qwen2.5-0.5b", 1.35, undefined, "bfloat16"),
  decode(1, 2),
  decode(64, 1.8),
  ...(flags.llama ? [decodeBesideLlama()] : []),
  trainStep("1m", 3),
  trainStep("1m", 3, [8, 128]),
  trainStep("1m", 3, [4, 64]),
  trainStep("1m", 3, [2, 64]),
  trainStep("1m", 3, [1, 64]),
  trainStep("trial", null),
  {
    name: "grpo-step",
    wanted: 6,
    ours: () => ours(bench("grpo-step.mjs"), "--model", flags.model, ...threads, ...few),
    theirs: () => theirs(peer("trl_grpo.py"), "--model", flags.model, ...threads, ...few),
    seconds: (document) => document.seconds,
  },
  adapterStep(),
  {
    name: "onnx-reward",
    wanted: 1 / 1.3,
    model: (folder) => theirs(peer("onnx_reward.py"), "--folder", folder, "--make", "--rounds", "1", ...threads),
    ours: (folder) => ours(bench("onnx-reward.mjs"), "--folder", folder, ...threads),
    theirs: (folder) => theirs(peer("onnx_reward.py"), "--folder", folder, ...threads),
    seconds: (document) => document.seconds,
  },
  {
    name: "trial",
    wanted: 2,
    ours: ourTrial,
    theirs: () => theirs(peer("trial_torch.py"), ...threads, ...trialOfTheirs),
    seconds: (document) => document.seconds,
  },
];

const ours = (...args) => run(process.execPath, args);
const theirs = (...args) => run(flags.python, args);

/** Runs a bench; resolves with the JSON document of its last line. */
async function run(program, args) {
  const text = await output(program, args);
  return parse(text) ?? JSON.parse(text.slice(text.lastIndexOf("\n") + 1));
}

/** What a program writes to stdout. Its progress goes to stderr. */
async function output(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const chunks = [];
  child.stdout.on("data", (chunk) => chunks.push(chunk));
  const code = await new Promise((resolve, reject) => child.on("close", resolve).on("error", reject));
  check(code === 0, `${program} ${args.join(" ")}: expected exit code 0, got ${code}`);
  return Buffer.concat(chunks).toString("utf8").trim();
}

function parse(text) {
  try {
    return JSON.parse(text); // the command line writes its document over several lines
  } catch {
    return undefined;
  }
}

/** GFLOP/s that this machine reached with either matmul of a type. */
async function measurePeaks(dtype) {
  const { measurePeak } = await import("../dist/engine/doctor.js");
  const own = measurePeak(flags.quick ? 0.2 : 3, Number(flags.threads), dtype).gflops;
  const repeats = flags.quick ? ["--repeats", "1"] : [];
  const torch = (await theirs(peer("matmul_peak.py"), "--dtype", dtype, ...threads, ...repeats)).gflops;
  return { ours: own, torch, best: Math.max(own, torch) };
}

async function compare(job, peaksOf) {
  const peaks = peaksOf[job.dtype ?? "float32"];
  const [left, right] = [[], []];
  const folder = mkdtempSync(join(tmpdir(), "zazen-compare-"));
  await job.model?.(folder);
  for (let repeat = 0; repeat < repeats; repeat++) {
    left.push(await job.ours(folder, peaks));
    right.push(await job.theirs(folder));
  }
  rmSync(folder, { recursive: true });
  const secondsOurs = median(left.map(job.seconds));
  const secondsTheirs = median(right.map(job.seconds));
  const { flops } = left[0];
  const gflops = flops ? flops.total / secondsOurs / 1e9 : null;
  const ratio = secondsTheirs / secondsOurs;
  const share = gflops === null ? null : gflops / peaks.best;
  const result = {
    bench: "compare",
    name: job.name,
    quick: flags.quick,
    date: new Date().toISOString(),
    commit: commit(),
    machine: machine(),
    threads: Number(flags.threads),
    ratio,
    wanted: job.wanted,
    seconds: { ours: secondsOurs, theirs: secondsTheirs },
    gflops,
    peaks,
    shareOfPeak: share,
    ours: left,
    theirs: right,
  };
  console.error(`${job.name}: ${ratio.toFixed(2)} times`);
  finish(result, join(flags.out, `${job.name}${flags.quick ? ".quick" : ""}.json`));
  return result;
}

const names = flags.only?.split(",") ?? jobs.map((job) => job.name);
for (const name of names)
  check(
    jobs.some((job) => job.name === name),
    `--only: expected names of benches, got ${name}`,
  );
const peaks = { float32: await measurePeaks("float32"), bfloat16: await measurePeaks("bfloat16") };
const results = [];
for (const job of jobs.filter(({ name }) => names.includes(name))) results.push(await compare(job, peaks));
printTable(
  ["bench", "ours s", "theirs s", "ratio", "wanted", "of peak"],
  results.map(({ name, seconds, ratio, wanted, shareOfPeak }) => [
    name,
    seconds.ours.toFixed(3),
    seconds.theirs.toFixed(3),
    ratio.toFixed(2),
    wanted ?? "-",
    shareOfPeak === null ? "-" : `${(100 * shareOfPeak).toFixed(0)}%`,
  ]),
);
const summary = results.map(({ name, seconds, ratio, wanted, shareOfPeak }) => ({
  name,
  seconds,
  ratio,
  wanted,
  shareOfPeak,
}));
console.log(JSON.stringify({ bench: "compare", peaks, results: summary }));
