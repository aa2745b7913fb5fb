// @ts-check
// A deadline for what another process computes. On a busy machine a process that does its work may wait long for a processor, and must not be
// taken for one that spins, so the processor's time counts and not the clock's. The clock bounds it too, much later: a process may sleep, or be
// stopped. Plain JavaScript: threads that are started as they lie import it.
import { readFileSync } from "node:fs";

/** How many deadlines may pass by the clock: a process with few rights on a machine with many others gets a small share of it. */
export const CLOCK_FACTOR = 30;
/** Between two looks at a process at least. */
const LEAST_WAIT_MS = 20;
/** Linux tells times in hundredths of a second, USER_HZ, whatever the kernel's own tick is. */
const TICK_MS = 10;
/** Places of utime and stime behind the name in /proc/PID/stat: proc_pid_stat(5), fields 14 and 15. */
const [USER_TIME, SYSTEM_TIME] = [11, 12];

/**
 * Milliseconds that the first thread of a process has computed, the one that runs its JavaScript; null where nothing tells: the process is no
 * more, or the system has no /proc.
 * @param {number | undefined} pid
 * @returns {number | null}
 */
export function computedMs(pid) {
  try {
    const line = readFileSync(`/proc/${pid}/task/${pid}/stat`, "utf8");
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" "); // a name may hold blanks and brackets
    return (Number(fields[USER_TIME]) + Number(fields[SYSTEM_TIME])) * TICK_MS;
  } catch {
    return null;
  }
}

/** Of a call with this deadline. @param {number} deadlineMs */
export const byTheClock = (deadlineMs) => `${CLOCK_FACTOR * deadlineMs} ms by the clock`;

/**
 * Calls `expire` once the process has computed for `deadlineMs` since now, or since the last `restart`, or once CLOCK_FACTOR times as much has
 * passed by the clock; it is told which, as "5000 ms of computing". Where the system does not tell what a process computes, the clock's own
 * `deadlineMs` count.
 * @param {number | undefined} pid
 * @param {number} deadlineMs
 * @param {(limit: string) => void} expire
 * @returns {{ restart(): void, stop(): void }}
 */
export function cpuDeadline(pid, deadlineMs, expire) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  let begun = 0;
  /** @type {number | null} */
  let computed = null;

  const look = () => {
    const passed = performance.now() - begun;
    // A process that was there and is no more computes nothing; its end is told elsewhere.
    const used = computed === null ? passed : (computedMs(pid) ?? computed) - computed;
    if (used >= deadlineMs) return expire(`${deadlineMs} ms of computing`);
    if (passed >= CLOCK_FACTOR * deadlineMs) return expire(byTheClock(deadlineMs));
    const left = Math.min(deadlineMs - used, CLOCK_FACTOR * deadlineMs - passed);
    timer = setTimeout(look, Math.max(LEAST_WAIT_MS, left));
  };
  const stop = () => clearTimeout(timer);
  const restart = () => {
    stop();
    begun = performance.now();
    computed = computedMs(pid);
    timer = setTimeout(look, deadlineMs); // one thread computes no faster than the clock goes
  };
  restart();
  return { restart, stop };
}
