// A time limit for synchronous code that runs patterns from strangers' files: a regular expression or a loop past its limit is ended from
// outside. Leaves out memory: the heap is the process's own.
import vm from "node:vm";

const context = vm.createContext({ task: null as (() => unknown) | null });
const script = new vm.Script("task()");

/** Thrown by `withDeadline` when the time is over. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

function isTimeout(error: unknown): boolean {
  return (
    typeof error === "object" && error !== null && "code" in error && error.code === "ERR_SCRIPT_EXECUTION_TIMEOUT"
  );
}

/** What `task` returns, or its error; throws DeadlineError after `milliseconds`. Costs some 50 microseconds. */
export function withDeadline<T>(task: () => T, milliseconds: number): T {
  context.task = task;
  try {
    return script.runInContext(context, { timeout: milliseconds }) as T;
  } catch (error) {
    if (isTimeout(error)) throw new DeadlineError(`took more than ${milliseconds} ms`, { cause: error });
    throw error;
  } finally {
    context.task = null;
  }
}
