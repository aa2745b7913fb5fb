// @ts-check
// The whole fuzz, `npm run test:fuzz`: the native readers under address and undefined-behaviour sanitizers, then the readers in TypeScript
// with an addon that is under them too: Node is started with the sanitizer's library, which has to come before all others.
// It ends with the inputs of each target, what became of them, and their sum. ZAZEN_FUZZ_SEED=N makes other inputs.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const native = join(root, "build", "tests");
const reports = join(root, "build", "fuzz");
const env = { ...process.env, ZAZEN_FUZZ: "full" };

/** @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} more */
function run(command, args, output = /** @type {"inherit" | "pipe"} */ ("inherit"), more = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    env: { ...env, ...more },
    encoding: "utf8",
    stdio: ["ignore", output, "inherit"],
  });
  if (output === "pipe") process.stdout.write(result.stdout ?? "");
  if (result.status !== 0) {
    console.error(`failed: ${command} ${args.join(" ")}`);
    process.exit(1);
  }
  return result.stdout;
}

/** The environment of a process whose addon is under address sanitizer; null where the compiler has no such library. */
function sanitized() {
  const libraries = ["libasan.so", "libstdc++.so"].map((name) => {
    const { stdout } = spawnSync("c++", [`-print-file-name=${name}`], { encoding: "utf8" });
    return stdout.trim();
  });
  if (!libraries.every(isAbsolute)) return null;
  // Node leaves to the system what it holds at its end; and what is freed is held back for less long, since the fuzz watches memory.
  return {
    ZAZEN_ADDON: join(native, "zazen.node"),
    LD_PRELOAD: libraries.join(" "),
    ASAN_OPTIONS: "detect_leaks=0:quarantine_size_mb=32",
  };
}

const start = performance.now();
run("cmake", ["-S", "native", "-B", native, "-DZAZEN_ADDON=ON", "-DZAZEN_TESTS=ON", "-DZAZEN_SANITIZE=ON"]);
run("cmake", ["--build", native, "--target", "zazen_tests", "zazen", "--parallel", String(availableParallelism())]);
const output = run(join(native, "zazen_tests"), ["fuzz"], "pipe") ?? "";

rmSync(reports, { recursive: true, force: true });
const watched = sanitized();
run(join(root, "node_modules", ".bin", "vitest"), ["run", "test/fuzz"], "inherit", watched ?? {});

const lines = output.split("\n").filter((line) => line.startsWith("fuzz "));
let inputs = lines.reduce((sum, line) => sum + Number(/(\d+) inputs/.exec(line)?.[1]), 0);
for (const name of readdirSync(reports).filter((each) => each.endsWith(".json"))) {
  const { refused, accepted, ...report } = JSON.parse(readFileSync(join(reports, name), "utf8"));
  const codes = Object.entries(refused).map(([code, count]) => `, ${code} ${count}`);
  lines.push(
    `fuzz ${report.name}: ${report.inputs} inputs in ${report.seconds.toFixed(1)} s: accepted ${accepted}${codes.join("")}`,
  );
  inputs += report.inputs;
}
const seconds = ((performance.now() - start) / 1000).toFixed(0);
console.log(
  `\n${lines.join("\n")}\n${inputs} inputs in ${seconds} s, each read and written again or refused by a typed error`,
);
if (watched === null) {
  console.error(
    "failed: the addon was not under address sanitizer, since this compiler has no libasan.so; install one",
  );
  process.exit(1);
}
