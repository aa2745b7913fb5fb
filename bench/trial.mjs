// The built-in trial with its controls, for several seeds, through the command line: how much GRPO adds and how long it takes.
// node bench/trial.mjs [--seeds 0,1,2] [--out bench/results/quickstart.json] [--set key=value]...
// Writes the figures of every seed; the last line is the same as one JSON document. Exits with 1 where a seed misses the bar.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commit, finish, machine, root } from "./support.mjs";

const leastGain = 0.25; // share of held-out problems by which GRPO must beat the continued SFT, sampled
const mostSeconds = { main: 180, total: 420 };

const { values: flags } = parseArgs({
  options: {
    seeds: { type: "string", default: "0,1,2" },
    out: { type: "string", default: join(root, "bench", "results", "quickstart.json") },
    set: { type: "string", multiple: true, default: [] },
  },
});

/** Runs the recipe in a fresh folder; its progress goes to stderr. */
async function runSeed(seed) {
  const out = mkdtempSync(join(tmpdir(), "zazen-trial-"));
  const sets = [`seed=${seed}`, "controls=true", ...flags.set].flatMap((set) => ["--set", set]);
  const args = [
    join(root, "dist", "cli", "main.js"),
    "train",
    "quickstart",
    "--json",
    "--out",
    join(out, "run"),
    ...sets,
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const chunks = [];
  child.stdout.on("data", (chunk) => chunks.push(chunk));
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`[bench/trial] expected the run of seed ${seed} to exit with 0, got ${code}`);
  const { summary } = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  rmSync(out, { recursive: true });
  return judge(seed, summary);
}

function judge(seed, { arms, seconds, learnt, parameters }) {
  const rate = (arm) => arms[arm]?.sampled.pass.rate ?? 0;
  const gain = rate("grpo") - rate("sftContinued");
  const inTime = seconds.main <= mostSeconds.main && seconds.total <= mostSeconds.total;
  return { seed, ok: gain >= leastGain && inTime, gainOverSftContinued: gain, seconds, parameters, learnt, arms };
}

const seeds = [];
for (const seed of flags.seeds.split(",").map(Number)) {
  const result = await runSeed(seed);
  seeds.push(result);
  const points = (100 * result.gainOverSftContinued).toFixed(1);
  const { main, total } = result.seconds;
  console.log(
    `seed ${seed}: GRPO ${points} points above SFT continued, ${main.toFixed(0)} s, with controls ${total.toFixed(0)} s`,
  );
}
const bar = { gainOverSftContinued: leastGain, seconds: mostSeconds };
const result = { bench: "trial", date: new Date().toISOString(), commit: commit(), machine: machine(), bar, seeds };
finish(result, flags.out);
if (seeds.some((one) => !one.ok)) process.exitCode = 1;
