// Proves that the tests of the laws can fail: plants one fault after another in a copy of the tree, builds it, runs the tests that the
// fault must turn red, and expects a failed test; a build that fails or a run without a failed test is not red. The last line counts:
//   N passed, N failed
// node test/faults/run.mjs [FILTER...]   A FILTER is part of a fault's law and name, such as "law 5" or "a refill"; any of them chooses it.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { faults } from "./faults.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const filters = process.argv.slice(2);
const labelOf = ({ law, name }) => `${typeof law === "number" ? `law ${law}` : law}: ${name}`;
const isChosen = (label) => filters.length === 0 || filters.some((filter) => label.includes(filter));
const chosen = faults.filter((fault) => isChosen(labelOf(fault)));

/** The tree as it stands, changes that are not committed included, with a build and node_modules; beside it the shared data. */
function copyTree() {
  const parent = mkdtempSync(join(tmpdir(), "zazen-faults-"));
  const copy = join(parent, "zazen");
  const { stdout } = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: root });
  for (const file of stdout.toString("utf8").split("\0").filter(Boolean)) {
    if (!existsSync(join(root, file))) continue; // deleted, not yet committed
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(root, file), join(copy, file));
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const shared = join(root, "..", "shared");
  if (existsSync(shared)) symlinkSync(shared, join(parent, "shared"));
  return { parent, copy };
}

const whole = ["npm", "run", "--silent", "build"];
const native = ["cmake", "--build", "build"];
const typescript = ["npm", "run", "--silent", "build:ts"];

function build(copy, [program, ...args]) {
  const result = spawnSync(program, args, { cwd: copy, encoding: "utf8" });
  if (result.status !== 0) throw new Error(`expected the tree to build, got:\n${result.stdout}${result.stderr}`);
}

/** Numbers of passed and failed tests, and the names of those that failed. */
function runTests(copy, files) {
  const report = join(copy, "build", "faults.json");
  rmSync(report, { force: true });
  const vitest = join(copy, "node_modules", ".bin", "vitest");
  const args = ["run", "--bail=1", "--reporter=json", `--outputFile.json=${report}`, ...files];
  spawnSync(vitest, args, { cwd: copy, stdio: "ignore" });
  if (!existsSync(report)) throw new Error(`expected a report of ${files.join(", ")}, got none`);
  const { numPassedTests: passed, numFailedTests: failed, testResults } = JSON.parse(readFileSync(report, "utf8"));
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
  const names = tests.filter(({ status }) => status === "failed").map(({ fullName }) => fullName);
  return { passed, failed, names };
}

/** Plants the fault, and takes it out again. Throws where its place is not found once, or nothing turns red. */
function prove(copy, { file, find, replace, tests, dist = false }) {
  const path = join(copy, file);
  const sound = readFileSync(path, "utf8");
  const places = sound.split(find).length - 1;
  if (places !== 1) throw new Error(`expected the place once in ${file}, found it ${places} times: ${find}`);
  writeFileSync(
    path,
    sound.replace(find, () => replace),
  );
  const builds = file.startsWith("native/") ? [native] : dist ? [typescript] : [];
  try {
    for (const each of builds) build(copy, each);
    const { passed, failed } = runTests(copy, tests);
    if (failed === 0) throw new Error(`expected a failed test in ${tests.join(", ")}, got ${passed} passed`);
  } finally {
    writeFileSync(path, sound);
    if (dist) build(copy, typescript); // other tests run it too
  }
}

const { parent, copy } = copyTree();
const counts = { passed: 0, failed: 0 };
const attempt = (name, body) => {
  const began = performance.now();
  try {
    body();
    counts.passed++;
    console.log(`red, as it must be: ${name} (${((performance.now() - began) / 1000).toFixed(0)} s)`);
  } catch (error) {
    counts.failed++;
    console.log(`NOT RED: ${name}\n  ${error.message}`);
  }
};
try {
  build(copy, whole);
  const sound = runTests(copy, [...new Set(chosen.flatMap((fault) => fault.tests))]);
  if (sound.failed > 0 || sound.passed === 0)
    throw new Error(`expected the sound tree to be green, got ${JSON.stringify(sound)}`);
  for (const fault of chosen) attempt(labelOf(fault), () => prove(copy, fault));
} finally {
  rmSync(parent, { recursive: true });
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 && counts.passed > 0 ? 0 : 1);
