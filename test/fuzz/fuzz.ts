// Runs a fuzz target: many inputs made from a seed, each of which is read and then written and read again, or refused by a typed error
// of the house's form. Anything else ends the run with the input's number, its files are kept, and the same seed makes them again.
//   ZAZEN_FUZZ=full            the whole number of inputs instead of a small one
//   ZAZEN_FUZZ_SEED=7          other inputs
//   ZAZEN_FUZZ_INPUT=123       this input alone
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { type Random, random } from "../../src/data/random.js";
import { ZazenError } from "../../src/errors.js";
import { root } from "./codes.js";

/** Content by path. */
export type Files = Readonly<Record<string, string | Uint8Array>>;

export interface Target {
  readonly name: string;
  readonly inputs: { readonly quick: number; readonly full: number };
  /** Source files of the readers: every error code in them has to be reached. */
  readonly readers: readonly string[];
  /** Source files that those use, of which other targets are; their codes may come. */
  readonly beneath?: readonly string[];
  /** Codes in the readers that no file can bring about, each with the test that has them. */
  readonly elsewhere?: Readonly<Record<string, string>>;
  /** An input; nothing but the stream decides. */
  make(stream: Random): Files;
  /** Reads the files of a folder. What it accepts it writes and reads again; a difference is an Error of its own. */
  read(folder: string): Promise<void>;
  /** Inputs that give a code, or a reading of their own that does. */
  readonly directed: readonly Directed[];
  /** Milliseconds that one input may take. Default 20,000: other processes may be in the way. */
  readonly deadlineMs?: number;
}

export type Directed = readonly [code: string, input: Files | ((folder: string) => unknown)];

export interface Report {
  readonly name: string;
  readonly inputs: number;
  readonly seconds: number;
  readonly accepted: number;
  /** Inputs by the code of the error that refused them. */
  readonly refused: Readonly<Record<string, number>>;
}

const DEFAULT_SEED = 2026;
const DEADLINE_MS = 20_000;
/** Memory above the start of a run: the largest inputs are far below, and the collector is lazy. */
const MOST_BYTES = 1_500 * 2 ** 20;
/** Characters of a message: nobody reads more, and a file must not fill the terminal. */
const LONGEST_MESSAGE = 4_096;
/** In memory where there is such a place, since a save waits for the disk. */
const SCRATCH = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const FORM = /^\[[^\n]+?\] .*expected [\s\S]+\bgot\b[\s\S]*(; |\. |\n)\S/;
const CONTROL = /[^\P{Cc}\n]/u;

const { ZAZEN_FUZZ, ZAZEN_FUZZ_SEED, ZAZEN_FUZZ_INPUT } = process.env;
const isFull = ZAZEN_FUZZ === "full";
const seed = Number(ZAZEN_FUZZ_SEED ?? DEFAULT_SEED);

/** Makes and reads the target's inputs. Throws an Error that names the first input that is neither accepted nor refused as it should be. */
export async function runFuzz(
  target: Target,
  count = isFull ? target.inputs.full : target.inputs.quick,
): Promise<Report> {
  const start = performance.now();
  const refused: Record<string, number> = {};
  let accepted = 0;
  const numbers = ZAZEN_FUZZ_INPUT === undefined ? Array(count).keys() : [Number(ZAZEN_FUZZ_INPUT)];
  using watch = watchdog(target);
  for (const number of numbers) {
    watch.begin(number);
    const files = target.make(random(seed, number));
    const code = await outcome(target, number, files, (folder) => target.read(folder));
    if (code === "") accepted++;
    else refused[code] = (refused[code] ?? 0) + 1;
  }
  const seconds = (performance.now() - start) / 1000;
  return { name: target.name, inputs: count, seconds, accepted, refused };
}

/** Reads the directed inputs; throws an Error for one that gives another code than its own. Returns the codes. */
export async function runDirected(target: Target): Promise<Set<string>> {
  for (const [index, [code, input]] of target.directed.entries()) {
    const files = typeof input === "function" ? {} : input;
    const read = async (folder: string) =>
      void (await (typeof input === "function" ? input(folder) : target.read(folder)));
    const got = await outcome(target, `directed ${index}`, files, read);
    if (got !== code)
      throw new Error(`fuzz ${target.name}: expected ${code} from directed input ${index}, got ${got || "none"}`);
  }
  return new Set(target.directed.map(([code]) => code));
}

/** The code that refuses an input, or "" where it is accepted. */
async function outcome(
  target: Target,
  number: number | string,
  files: Files,
  read: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = mkdtempSync(join(SCRATCH, "zazen-fuzz-"));
  try {
    writeFiles(folder, files);
    await read(folder);
    return "";
  } catch (error) {
    const fault = faultOf(error, folder);
    if (fault === null) return (error as ZazenError).code;
    throw new Error(`fuzz ${target.name}, input ${number}: ${fault}; ${keep(target, number, files)}`, { cause: error });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function writeFiles(folder: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
}

/** What is wrong with an error, or null for one as it should be. */
export function faultOf(error: unknown, folder = ""): string | null {
  if (!(error instanceof ZazenError)) return `an untyped ${error instanceof Error ? error.stack : String(error)}`;
  const { code, message } = error;
  const short = message.replaceAll(folder, "");
  if (short.length > LONGEST_MESSAGE) return `${code} with a message of ${short.length} characters`;
  if (CONTROL.test(message)) return `${code} with control characters in ${JSON.stringify(message)}`;
  if (!FORM.test(message)) return `${code} without the form "[where] expected X, got Y; what to do": ${message}`;
  return null;
}

/** Says how to have an input again, and keeps its files. */
function keep({ name }: Target, number: number | string, files: Files): string {
  const kept = join(root, "build", "fuzz", `${name}-${number}`);
  rmSync(kept, { recursive: true, force: true });
  mkdirSync(kept, { recursive: true });
  writeFiles(kept, files);
  return `its files are in ${kept}; again: ${again(name).replace("#", String(number))}`;
}

const again = (name: string): string =>
  `ZAZEN_FUZZ_SEED=${seed} ZAZEN_FUZZ_INPUT=# npx vitest run test/fuzz/${name}.test.ts`;

function watchdog({ name, deadlineMs = DEADLINE_MS }: Target): Disposable & { begin(number: number): void } {
  const progress = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const worker = new Worker(new URL("./watchdog.mjs", import.meta.url), {
    workerData: { name, again: again(name), progress, deadlineMs, mostBytes: MOST_BYTES },
    execArgv: [],
  });
  worker.unref();
  return {
    begin: (number) => void Atomics.store(progress, 0, number),
    [Symbol.dispose]: () => void worker.terminate(),
  };
}

/** What JSON holds of a value: 0 for -0. */
export const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** One line for a report. */
export function reportLine({ name, inputs, seconds, accepted, refused }: Report): string {
  const codes = Object.entries(refused).sort(([, a], [, b]) => b - a);
  const counts = codes.map(([code, count]) => `, ${code} ${count}`).join("");
  return `fuzz ${name}: ${inputs} inputs in ${seconds.toFixed(1)} s: accepted ${accepted}${counts}`;
}
