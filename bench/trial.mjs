// The built-in trial with its controls, for several seeds, through the command line: how much GRPO adds and how long it takes.
// node bench/trial.mjs [--seeds 0,1,2] [--out bench/results/trial.json] [--set key=value]...
// Writes the figures of every seed; the last line is the same as one JSON document. Exits with 1 where a seed misses the bar.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, release, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const leastGain = 0.25; // share of held-out problems by which GRPO must beat the continued SFT, sampled
const mostSeconds = { main: 180, total: 420 };

const { values: flags } = parseArgs({
  options: {
    seeds: { type: "string", default: "0,1,2" },
    out: { type: "string", default: join(root, "bench", "results", "trial.json") },
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

function machine() {
  const [first] = cpus();
  return {
    cpu: first?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
  };
}

function commit() {
  try {
    const git = (...args) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
    return git("rev-parse", "HEAD") + (git("status", "--porcelain", "--", "src", "native") === "" ? "" : "+changes");
  } catch {
    return "unknown";
  }
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
mkdirSync(dirname(flags.out), { recursive: true });
writeFileSync(flags.out, `${JSON.stringify(result, null, 1)}\n`);
console.log(JSON.stringify(result));
if (seeds.some((one) => !one.ok)) process.exitCode = 1;
