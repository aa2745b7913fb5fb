// What commands write and how they end: one JSON document or text on stdout, everything else on stderr, and the exit codes.
import { CommanderError } from "commander";
import { InputError, ZazenError } from "../errors.js";

export const exitCodes = { failed: 1, badInput: 2, SIGINT: 130, SIGTERM: 143 } as const;

export type Signal = "SIGINT" | "SIGTERM";

/** A run that a signal stopped. */
export class InterruptedError extends ZazenError {
  override readonly name = "InterruptedError";
  readonly signal: Signal;

  constructor(signal: Signal, message: string) {
    super("INTERRUPTED", message);
    this.signal = signal;
  }
}

/** Exit codes and the form of errors, for the end of every command's help. */
export const commonHelp = `

With --json, stdout is exactly one JSON document and everything else goes to stderr; when a command
fails, stdout stays empty and the last line of stderr is {"error":{"code","message"}}.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 and 143 stopped by SIGINT and SIGTERM.`;

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function printLines(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

export function log(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Says on stderr what went wrong, and sets the exit code. */
export function reportFailure(error: unknown, json: boolean): void {
  if (error instanceof CommanderError && error.exitCode === 0) return; // help or version was asked for
  process.exitCode = exitCodeOf(error);
  if (error instanceof CommanderError && error.code === "commander.help") return; // the help was shown
  const { code, message } = describeFailure(error);
  log(json ? JSON.stringify({ error: { code, message } }) : `error: ${message}`);
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof InterruptedError) return exitCodes[error.signal];
  return error instanceof InputError || error instanceof CommanderError ? exitCodes.badInput : exitCodes.failed;
}

/** An error that nobody planned is shown with its stack. */
function describeFailure(error: unknown): { code: string; message: string } {
  if (error instanceof CommanderError) return { code: "USAGE", message: error.message.replace(/^error: /, "") };
  if (error instanceof ZazenError) return { code: error.code, message: error.message };
  return { code: "UNEXPECTED", message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}
