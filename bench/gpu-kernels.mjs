// The CUDA kernels on a GPU against the copy bandwidth, cuBLASLt and PyTorch, with every answer checked; see bench/gpu-kernels. Builds the
// program with CMake (nvcc and a GPU are needed) and runs it, then the peers. Ends with 1 where there is no GPU or an answer is wrong.
// Options: --architectures A (default native's own; "90a-real" on Hopper), --python P with torch, --no-peers, --json FILE; and to report
// what was measured elsewhere, by bench/gpu-session.sh: --facts-from FILE, --peers-from FILE.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { assemble, lastDocument, tableRows } from "./gpu-kernels/report.mjs";
import { commit, finish, machine, printTable, root } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    architectures: { type: "string" },
    python: { type: "string", default: "python3" },
    peers: { type: "boolean", default: true },
    "facts-from": { type: "string" },
    "peers-from": { type: "string" },
    json: { type: "string", default: join(root, "bench", "results", "gpu-kernels.json") },
  },
  allowNegative: true,
});

try {
  run();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}

function run() {
  const { facts, peers } = flags["facts-from"] === undefined ? measured() : stored(flags["facts-from"]);
  const report = assemble(facts, peers?.results ?? []);
  printTable(["case", "shape", "us", "GB/s", "TFLOP/s", "answer", "targets"], tableRows(report));
  const about = { date: new Date().toISOString().slice(0, 10), commit: commit(), machine: machine() };
  const torch = peers === null ? null : { torch: peers.torch, cuda: peers.cuda, device: peers.device };
  finish({ bench: "gpu-kernels", ...about, peers: torch, ...report }, flags.json);
  if (report.wrong.length > 0) throw new Error(`[gpu-kernels] wrong answers: ${JSON.stringify(report.wrong)}`);
}

/** What a session on a GPU left. */
function stored(/** @type {string} */ file) {
  const read = (/** @type {string} */ from) => lastDocument(readFileSync(from, "utf8"), from);
  return { facts: read(file), peers: flags["peers-from"] === undefined ? null : read(flags["peers-from"]) };
}

function measured() {
  requireGpu();
  const facts = lastDocument(outputOf(built(), []), "gpu-kernels");
  const script = join(root, "bench", "peers", "gpu_kernels.py");
  return { facts, peers: flags.peers ? lastDocument(outputOf(flags.python, [script]), "peers") : null };
}

function requireGpu() {
  const listed = spawnSync("nvidia-smi", ["-L"], { encoding: "utf8" });
  if (listed.status === 0 && listed.stdout.includes("GPU")) return;
  const why = (listed.stdout || listed.stderr || listed.error?.message || "").trim();
  throw new Error(
    `[gpu-kernels] expected a GPU, got none (nvidia-smi -L: ${why}); this bench measures nothing without one`,
  );
}

/** Builds the program and says where it is. */
function built() {
  const folder = join(root, "build", "gpu");
  const architectures = flags.architectures ? [`-DCMAKE_CUDA_ARCHITECTURES=${flags.architectures}`] : [];
  command("cmake", [
    "-S",
    join(root, "native"),
    "-B",
    folder,
    "-DZAZEN_ADDON=OFF",
    "-DZAZEN_CUDA=ON",
    ...architectures,
  ]);
  command("cmake", ["--build", folder, "--target", "gpu_kernels", "--parallel", String(availableParallelism())]);
  return join(folder, "gpu_kernels");
}

function command(/** @type {string} */ program, /** @type {string[]} */ args) {
  const result = spawnSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (result.status !== 0) throw new Error(`[gpu-kernels] ${program} ${args.join(" ")} failed`);
}

function outputOf(/** @type {string} */ program, /** @type {string[]} */ args) {
  const result = spawnSync(program, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 26,
  });
  if (result.status !== 0)
    throw new Error(`[gpu-kernels] ${program} failed${result.error ? `: ${result.error.message}` : ""}`);
  return result.stdout;
}
