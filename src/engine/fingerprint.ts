// What decides the bits of a run besides its recipe and its data: the engine's build, the code around it, the device, the libraries
// whose functions both call. Instruction sets and threads are left out on purpose: all of them give the same bits.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { addon, addonFile } from "./addon.js";

/** A name and its value, such as "libc": "glibc 2.36". */
export type Fingerprint = Readonly<Record<string, string>>;

const home = fileURLToPath(new URL("../", import.meta.url)); // the folder of all modules, built or not
const silent = ["cli", "report"]; // they show what a run does
const shownDigits = 16; // of a hash

let known: Fingerprint | undefined;

/** Of this build on this machine; computed once a process. */
export function fingerprint(): Fingerprint {
  known ??= {
    engine: hash([readFileSync(addonFile().file!)]),
    code: hash(modules().map((path) => readFileSync(join(home, path)))),
    device: "cpu",
    architecture: process.arch,
    libc: addon().libc(),
    v8: process.versions.v8,
  };
  return known;
}

/** Names whose values differ, as "libc glibc 2.31 instead of glibc 2.36": what is here, then what was. */
export function differences(here: Fingerprint, there: Fingerprint): string[] {
  const names = [...new Set([...Object.keys(there), ...Object.keys(here)])];
  return names
    .filter((name) => here[name] !== there[name])
    .map((name) => `${name} ${here[name] ?? "(none)"} instead of ${there[name] ?? "(none)"}`);
}

function modules(): string[] {
  const ending = extname(import.meta.url);
  const paths = readdirSync(home, { recursive: true, encoding: "utf8" }).filter((path) => extname(path) === ending);
  return paths.filter((path) => !silent.some((folder) => path.startsWith(join(folder, "/")))).sort();
}

function hash(contents: readonly Buffer[]): string {
  const sha = createHash("sha256");
  for (const content of contents) sha.update(content);
  return sha.digest("hex").slice(0, shownDigits);
}
