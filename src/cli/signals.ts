// SIGINT and SIGTERM: a command that asked for it is told through an AbortSignal and ends cleanly; any other process ends at once,
// and so does one that is told twice.
import { exitCodes, InterruptedError, log, type Signal } from "./output.js";

let listener: AbortController | null = null;

/** Installs the handlers; once a process. */
export function handleSignals(): void {
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => onSignal(name));
}

/** Aborts, with an InterruptedError as its reason, on the first signal from now on. */
export function abortOnSignal(): AbortSignal {
  listener ??= new AbortController();
  return listener.signal;
}

function onSignal(name: Signal): void {
  if (listener === null || listener.signal.aborted) process.exit(exitCodes[name]);
  log(`\n${name}: stopping after the step in hand; once more to stop at once`);
  listener.abort(new InterruptedError(name, `stopped by ${name}`));
}
