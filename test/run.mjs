// Everything that has to hold, in one command: `npm run check` ends here. Each part prints as it goes; the last line counts them all:
//   N passed, N failed, N skipped
// A part whose tool is missing (clang-format) is skipped visibly. Plain Node: it runs before anything is compiled.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const bin = (name) => join(root, "node_modules", ".bin", name);
const nativeBuild = join(root, "build", "tests");
const cudaBuild = join(root, "build", "cuda-check");
const vitestReport = join(root, "build", "vitest.json");

const run = (command, args, options = {}) =>
  spawnSync(command, args, { cwd: root, stdio: "inherit", encoding: "utf8", ...options });
const ok = (result) => ({ passed: Number(result.status === 0), failed: Number(result.status !== 0), skipped: 0 });
const skipped = (why) => {
  console.log(`skipped: ${why}`);
  return { passed: 0, failed: 0, skipped: 1 };
};

const files = (...patterns) => {
  const listed = spawnSync("git", ["ls-files", ...patterns], { cwd: root, encoding: "utf8" });
  return listed.status === 0 ? listed.stdout.split("\n").filter(Boolean) : [];
};

/** The last `N passed, N failed` of a program's output. */
function counted(result) {
  process.stdout.write(result.stdout ?? "");
  const last = [...(result.stdout ?? "").matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1);
  const failed = last ? Number(last[2]) : 1;
  return { passed: last ? Number(last[1]) : 0, failed: result.status === 0 ? failed : Math.max(1, failed), skipped: 0 };
}

const sourceEndings = ["cc", "h", "cu", "cuh"];

function nativeFormat() {
  if (spawnSync("clang-format", ["--version"]).status !== 0) return skipped("no clang-format on this machine");
  const sources = files(
    ...["native", "test/native", "test/emulation", "bench/gpu-probe", "bench/gpu-kernels"].flatMap((folder) =>
      sourceEndings.map((ending) => `${folder}/*.${ending}`),
    ),
  );
  if (sources.length === 0) return skipped("not a git checkout");
  return ok(run("clang-format", ["--dry-run", "--Werror", ...sources]));
}

function nativeTests() {
  const flags = ["-DZAZEN_ADDON=OFF", "-DZAZEN_TESTS=ON", "-DZAZEN_SANITIZE=ON"];
  if (process.platform === "linux" && process.arch === "x64") flags.push("-DZAZEN_EMULATION=ON");
  const configured = run("cmake", ["-S", "native", "-B", nativeBuild, ...flags], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (configured.status !== 0) return ok(configured);
  const jobs = String(availableParallelism());
  const built = run("cmake", ["--build", nativeBuild, "--target", "zazen_tests", "--parallel", jobs], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (built.status !== 0) return ok(built);
  const output = { stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 28 };
  return counted(run(join(nativeBuild, "zazen_tests"), [], output));
}

// For one architecture: every kernel is run by the emulator above, and here nvcc has its say, of the programs for a GPU too.
function cudaKernels() {
  if (spawnSync("nvcc", ["--version"]).status !== 0) return skipped("no nvcc on this machine");
  const flags = ["-DZAZEN_ADDON=OFF", "-DZAZEN_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=80-real"];
  if (spawnSync("ccache", ["--version"]).status === 0)
    flags.push(...["CUDA", "CXX"].map((language) => `-DCMAKE_${language}_COMPILER_LAUNCHER=ccache`));
  const quiet = { stdio: ["ignore", "ignore", "inherit"] };
  const configured = run("cmake", ["-S", "native", "-B", cudaBuild, ...flags], quiet);
  if (configured.status !== 0) return ok(configured);
  const jobs = String(availableParallelism());
  const programs = ["gpu_probe", "gpu_kernels", "device_tests"].map((name) => `${name}_objects`);
  const targets = ["zazen_cuda_kernels", "zazen_cublaslt_header", ...programs];
  return ok(run("cmake", ["--build", cudaBuild, "--target", ...targets, "--parallel", jobs], quiet));
}

function typescriptTests() {
  mkdirSync(dirname(vitestReport), { recursive: true });
  rmSync(vitestReport, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${vitestReport}`];
  const result = run(bin("vitest"), ["run", ...reporters]);
  try {
    const { numPassedTests, numFailedTests, numPendingTests, success } = JSON.parse(readFileSync(vitestReport, "utf8"));
    const failed = success && result.status === 0 ? numFailedTests : Math.max(1, numFailedTests);
    return { passed: numPassedTests, failed, skipped: numPendingTests };
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

const parts = [
  ["format and lint", () => ok(run(bin("biome"), ["ci", "."]))],
  ["native format", nativeFormat],
  ["types", () => ok(run(bin("tsc"), ["--noEmit", "-p", "tsconfig.json"]))],
  ["native tests, with address and undefined-behaviour sanitizers", nativeTests],
  ["CUDA kernels, compiled by nvcc", cudaKernels],
  ["tests", typescriptTests],
];

const total = { passed: 0, failed: 0, skipped: 0 };
for (const [name, part] of parts) {
  console.log(`\n== ${name}`);
  const start = performance.now();
  const counts = part();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `== ${name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped in ${seconds} s`,
  );
  for (const key of Object.keys(total)) total[key] += counts[key];
}
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
