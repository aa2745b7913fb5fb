// Runs the built command line as a process. Tests that use it skip where `npm run build:ts` has not been run.
import { spawnSync } from "node:child_process";
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
