// Brings a fresh clone to where it runs: checks the tools, installs the packages, builds the addon and the TypeScript. What is up to
// date is skipped. Plain Node without dependencies, for it runs before anything is installed, and on Node versions that are too old.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const at = (...parts) => join(root, ...parts);
const leastNode = [20, 17];
const leastCMake = [3, 15];
const mostLogBytes = 256 * 1024 * 1024;

const exitFailed = 1;
const exitMissing = 2;

/** What has to be on the machine: whether it is there, its name, and the packages that bring it. */
const requirements = [
  {
    name: `Node >= ${leastNode.join(".")} (this is ${process.version})`,
    met: () => isAtLeast(process.version, leastNode),
    packages: { apt: ["nodejs", "npm"], dnf: ["nodejs"], pacman: ["nodejs", "npm"], brew: ["node"] },
    note: "Where the distribution's Node is older: nvm install 22 (https://github.com/nvm-sh/nvm)",
  },
  {
    name: "a C++20 compiler (c++, g++ or clang++)",
    met: hasCompiler,
    packages: { apt: ["g++"], dnf: ["gcc-c++"], pacman: ["gcc"], brew: [] },
  },
  {
    name: `CMake >= ${leastCMake.join(".")}`,
    met: () => isAtLeast(outputOf("cmake", ["--version"]), leastCMake),
    packages: { apt: ["cmake"], dnf: ["cmake"], pacman: ["cmake"], brew: ["cmake"] },
  },
  {
    name: "make or ninja",
    met: () => outputOf("make", ["--version"]) !== null || outputOf("ninja", ["--version"]) !== null,
    packages: { apt: ["make"], dnf: ["make"], pacman: ["make"], brew: [] },
  },
];

/** What is built, in order. `state` changes when a stage has to run again. */
const stages = [
  {
    name: "packages",
    command: ["npm", "ci", "--include=dev", "--no-audit", "--no-fund"],
    stamp: at("node_modules", ".zazen-setup.json"),
    state: () => hashOf([at("package-lock.json")]),
    unstamped: () => isNewer(at("node_modules", ".package-lock.json"), at("package-lock.json")),
  },
  {
    name: "native addon",
    command: ["npm", "run", "build:native"],
    stamp: at("build", ".zazen-setup.json"),
    state: () => hashOf([at("native"), at("package-lock.json")]) + tracesOf(addons()),
    output: () => addons().length > 0,
  },
  {
    name: "TypeScript",
    command: ["npm", "run", "build:ts"],
    stamp: at("build", ".zazen-setup-ts.json"),
    state: () =>
      hashOf([at("src"), at("tsconfig.json"), at("tsconfig.build.json"), at("package-lock.json")]) +
      tracesOf([at("dist", "cli", "main.js")]),
    output: () => existsSync(at("dist", "cli", "main.js")),
    before: () => rmSync(at("dist"), { recursive: true, force: true }),
  },
];

main();

function main() {
  const due = stages.filter((stage) => !isUpToDate(stage));
  if (due.length === 0 && requirements[0].met()) return;
  const checked = due.some((stage) => stage.name === "native addon") ? requirements : requirements.slice(0, 1);
  requireAll(checked.filter((requirement) => !requirement.met()));
  for (const stage of stages) if (!isUpToDate(stage)) build(stage);
}

/** Says what is missing and how to install it, and ends the process; returns when nothing is missing. */
function requireAll(missing) {
  if (missing.length === 0) return;
  const admin = process.getuid?.() === 0 ? "" : "sudo ";
  const packages = (manager) => missing.flatMap((each) => each.packages[manager]).join(" ");
  const lines = [
    `Missing: ${missing.map((each) => each.name).join("; ")}.`,
    "Install with the line for your system, then run the command again:",
    `  Debian, Ubuntu:  ${admin}apt-get update && ${admin}apt-get install -y ${packages("apt")}`,
    `  Fedora:          ${admin}dnf install -y ${packages("dnf")}`,
    `  Arch:            ${admin}pacman -S --needed ${packages("pacman")}`,
    `  macOS:           ${["xcode-select --install", packages("brew") && `brew install ${packages("brew")}`].filter(Boolean).join("; ")}`,
    ...missing.flatMap((each) => each.note ?? []),
  ];
  process.stderr.write(`${lines.join("\n")}\n`);
  process.exit(exitMissing);
}

/** Runs a stage and writes one line; its log is shown when it fails, and the process ends. */
function build(stage) {
  process.stderr.write(`${stage.name.padEnd(14)}`);
  stage.before?.();
  const began = Date.now();
  const [program, ...args] = stage.command;
  const run = spawnSync(program, args, { cwd: root, encoding: "utf8", maxBuffer: mostLogBytes });
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  const complete = run.status === 0 && (stage.output?.() ?? true);
  process.stderr.write(complete ? `${seconds} s\n` : `failed after ${seconds} s\n`);
  if (!complete) {
    process.stderr.write(`\n$ ${stage.command.join(" ")}\n${run.stdout ?? ""}${run.stderr ?? ""}${run.error ?? ""}\n`);
    process.exit(exitFailed);
  }
  mkdirSync(dirname(stage.stamp), { recursive: true });
  writeFileSync(stage.stamp, JSON.stringify({ state: stage.state() }));
}

function isUpToDate(stage) {
  if (!(stage.output?.() ?? true)) return false;
  if (!existsSync(stage.stamp)) return stage.unstamped?.() ?? false;
  try {
    return JSON.parse(readFileSync(stage.stamp, "utf8")).state === stage.state();
  } catch {
    return false; // a stamp cut short by an interruption
  }
}

/** Compiles and links a small C++20 program with the compiler that CMake would take. */
function hasCompiler() {
  const folder = mkdtempSync(join(tmpdir(), "zazen-setup-"));
  const source = join(folder, "probe.cc");
  const program =
    "#include <concepts>\n#include <span>\ntemplate <std::integral T> T first(std::span<const T> s) { return s[0]; }\n";
  writeFileSync(source, `${program}int main() { const int a[] = {0}; return first<int>(a); }\n`);
  const compilers = process.env.CXX ? [process.env.CXX] : ["c++", "g++", "clang++"];
  const works = compilers.some(
    (compiler) => outputOf(compiler, ["-std=c++20", source, "-o", join(folder, "probe")]) !== null,
  );
  rmSync(folder, { recursive: true });
  return works;
}

/** Standard output of a command, or null when it is not there or fails. */
function outputOf(program, args) {
  const run = spawnSync(program, args, { encoding: "utf8" });
  return run.status === 0 ? run.stdout : null;
}

/** Whether the first version number in `text` is at least `least`. */
function isAtLeast(text, least) {
  const found = /(\d+)\.(\d+)/.exec(text ?? "");
  if (found === null) return false;
  const [major, minor] = [Number(found[1]), Number(found[2])];
  return major > least[0] || (major === least[0] && minor >= least[1]);
}

function isNewer(path, than) {
  return existsSync(path) && existsSync(than) && statSync(path).mtimeMs >= statSync(than).mtimeMs;
}

function addons() {
  const folder = at("build", "Release");
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".node"))
    .map((name) => join(folder, name));
}

/** Size and time of files: tells an output that someone else has built since. */
function tracesOf(paths) {
  return paths
    .filter((path) => existsSync(path))
    .map((path) => ` ${statSync(path).size} ${statSync(path).mtimeMs}`)
    .join("");
}

/** Hash of files and folders, names and contents. */
function hashOf(paths) {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch} ${process.env.CXX ?? ""}`);
  for (const path of paths.flatMap(filesUnder)) hash.update(`\0${relative(root, path)}\0`).update(readFileSync(path));
  return hash.digest("hex");
}

function filesUnder(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesUnder(join(path, name)));
}
