// One worker process: started through a shell that sets its limits, spoken to over three pipes, ended with its whole group. Leaves out when to
// start and end one.
import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { Cells } from "./cells.js";
import type { Fault } from "./faults.js";
import type { Batch, Reply } from "./host.js";
import type { WorkerSetup } from "./worker/graders.js";
import { LineCutter } from "./worker/lines.js";
import { MESSAGES, type ProcessMessage, type ProcessRequest, REQUESTS } from "./worker/process.js";

/** Node's own data, threads and code, beside what a module may use. */
const BASE_MB = 256;
const KB = 1024;
const LONGEST_MESSAGE = 1 << 24; // bytes
/** No core dumps, and a limit on writable memory: a buffer above it is refused by the system. */
const SHELL = 'ulimit -c 0; ulimit -d "$0"; exec "$@"';

interface Current {
  readonly cells: Cells;
  readonly faults: Map<number, Fault>;
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

export class Child {
  /** Resolves when the process has ended and all it said was read. */
  readonly ended: Promise<void>;
  readonly #process: ChildProcess;
  readonly #requests: Socket;
  readonly #messages: Socket;
  readonly #cutter = new LineCutter(LONGEST_MESSAGE);
  #current: Current | null = null;
  #isAlive = true;

  constructor(setup: WorkerSetup, memoryMb: number) {
    const start = fileURLToPath(new URL("./worker/start.mjs", import.meta.url));
    const node = [process.execPath, `--max-old-space-size=${memoryMb}`, start];
    this.#process = spawn("/bin/sh", ["-c", SHELL, String((memoryMb + BASE_MB) * KB), ...node], {
      stdio: ["ignore", 2, 2, "pipe", "pipe", "pipe"],
      detached: true, // a group of its own, so that what a module starts ends with it
    });
    this.#requests = this.#process.stdio[REQUESTS] as Socket;
    this.#messages = this.#process.stdio[MESSAGES] as Socket;
    for (const pipe of this.#pipes()) pipe.on("error", () => {}); // a process that ended; "close" says so
    this.#messages.on("data", (chunk: Buffer) => this.#read(chunk));
    this.ended = new Promise((resolve) => {
      this.#process.on("error", (error) => this.#end(`it did not start: ${error.message}`, resolve));
      this.#process.on("close", (code, signal) =>
        this.#end(signal ? `signal ${signal}` : `exit code ${code}`, resolve),
      );
    });
    this.#write(setup);
    this.#hold(false);
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Grades a batch into `cells`; rejects when the process ends. One at a time. */
  grade({ reward, items }: Batch, cells: Cells, end: AbortSignal): Promise<Reply> {
    return new Promise<Reply>((resolve, reject) => {
      const kill = () => this.kill();
      const done = () => {
        end.removeEventListener("abort", kill);
        this.#current = null;
        this.#hold(false);
      };
      this.#current = {
        cells,
        faults: new Map(),
        resolve: (reply) => {
          done();
          resolve(reply);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      };
      end.addEventListener("abort", kill);
      this.#hold(true);
      this.#write({ reward, items } satisfies ProcessRequest);
      if (!this.#isAlive) this.#current.reject(new Error("it had ended before"));
    });
  }

  /** Ends the process and all that it started. */
  kill(): void {
    const { pid } = this.#process;
    if (pid === undefined || !this.#isAlive) return;
    this.#hold(true); // until its end is known
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      this.#process.kill("SIGKILL"); // its group is gone, or not made yet
    }
  }

  #read(chunk: Buffer): void {
    try {
      for (const line of this.#cutter.push(chunk)) this.#take(JSON.parse(line) as ProcessMessage);
    } catch {
      this.kill(); // a module wrote on the line itself; what it said so far holds
    }
  }

  #take(message: ProcessMessage): void {
    if (this.#current === null) return;
    const { cells, faults } = this.#current;
    if (message.type === "started") cells.start(message.item);
    else if (message.type === "finished") cells.finish(message.item, message.rewards);
    else if (message.type === "beat") cells.beat();
    else if (message.type === "failed") {
      cells.fail(message.item);
      faults.set(message.item, message.fault);
    } else this.#current.resolve({ unusable: message.unusable, faults });
  }

  #end(how: string, resolve: () => void): void {
    this.#isAlive = false;
    this.#current?.reject(new Error(how));
    resolve();
  }

  #write(line: WorkerSetup | ProcessRequest): void {
    this.#requests.write(`${JSON.stringify(line)}\n`);
  }

  /** While it works it keeps this process alive; idle it does not. */
  #hold(on: boolean): void {
    for (const each of [this.#process, ...this.#pipes()])
      if (on) each.ref();
      else each.unref();
  }

  #pipes(): readonly Socket[] {
    return this.#process.stdio.slice(REQUESTS) as unknown as Socket[];
  }
}
