// Runs the built command line as a process. Tests that use it skip where `npm run build:ts` has not been run.
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const dist = fileURLToPath(new URL("../../dist", import.meta.url));
export const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
export const cliIsBuilt = existsSync(main);

/** A model folder of the data beside the repository. */
export const model = (name: string): string =>
  fileURLToPath(new URL(`../../../shared/models/${name}`, import.meta.url));
export const modelsAreThere = existsSync(model("stories260k"));

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function zazen(args: readonly string[], options: { cwd?: string } = {}): Ended {
  const env = { ...process.env, NO_COLOR: "1" };
  return spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env, cwd: options.cwd ?? root });
}

/** A write below a folder at which a process sends itself a signal. */
export interface AtWrite {
  readonly folder: string;
  /** The function of node:fs, or "any" of them. */
  readonly verb: string;
  /** Part of the path. */
  readonly place?: string;
  /** Of those that fit, counted from 1. */
  readonly nth?: number;
  /** Whether SIGKILL comes within the write and not before it. */
  readonly half?: boolean;
  readonly signal?: NodeJS.Signals;
  /** Signals, one at each write below the folder from this one on. */
  readonly times?: number;
}

/** A command that goes on by itself while it is watched. */
export interface Running {
  readonly pid: number;
  kill(signal: NodeJS.Signals): boolean;
  readonly ended: Promise<{
    readonly code: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly told: string;
  }>;
}

/** Starts a command, which is sent a signal at a write, by default SIGKILL. */
export function start(args: readonly string[], at?: AtWrite): Running {
  const preload = ["--import", new URL("../helpers/at-a-write.mjs", import.meta.url).href];
  const complete = { place: "", nth: 1, half: false, signal: "SIGKILL", times: 1, ...at };
  const env = { ...process.env, NO_COLOR: "1", ...(at && { ZAZEN_AT_A_WRITE: JSON.stringify(complete) }) };
  const child = spawn(process.execPath, [...(at ? preload : []), main, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
    env,
  });
  let told = "";
  child.stderr.on("data", (text) => {
    told += String(text);
  });
  const ended: Running["ended"] = new Promise((resolve) =>
    child.on("close", (code, signal) => resolve({ code, signal, told })),
  );
  return { pid: child.pid!, kill: (signal) => child.kill(signal), ended };
}

/** The one document on stdout of a command that must end well. */
export function json<Document>(args: readonly string[]): Document {
  const { status, stdout, stderr } = zazen([...args, "--json"]);
  if (status !== 0) throw new Error(`zazen ${args.join(" ")} ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as Document;
}

/** The error that a command with --json writes, with its exit code; stdout must be empty. */
export function failure(args: readonly string[]): { status: number | null; code: string; message: string } {
  const { status, stdout, stderr } = zazen([...args, "--json"]);
  if (stdout !== "") throw new Error(`expected an empty stdout, got ${stdout}`);
  const { error } = JSON.parse(stderr.trimEnd().split("\n").at(-1) ?? "") as {
    error: { code: string; message: string };
  };
  return { status, ...error };
}
