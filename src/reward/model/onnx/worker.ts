// A process with one ONNX file: started, asked, ended. Whatever becomes of it is a typed error: it is over its time, it ends, the graph refuses.
import { type ChildProcess, fork } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { InputError } from "../../../errors.js";
import { RewardError } from "../../faults.js";
import type { GraphInfo } from "./graph.js";

export interface WorkerOptions {
  readonly file: string;
  /** Threads of one operator. */
  readonly threads: number;
  /** Milliseconds for the file to load, and for each run. */
  readonly timeoutMs: number;
  /** Names the model in errors. */
  readonly where: string;
  /** Path of the module of onnxruntime-node. */
  readonly runtime: string;
}

/** One padded batch. */
export interface Feeds {
  readonly feeds: readonly { readonly name: string; readonly type: "int64" | "int32"; readonly data: Int32Array }[]; // [B * L]
  readonly dims: readonly [batch: number, length: number];
  readonly output: string;
}

export interface RunResult {
  readonly dims: readonly number[];
  readonly scores: Float64Array;
}

type Stage = "runtime" | "file" | "run";
type Answer = { readonly call: number; readonly value?: unknown; readonly error?: string; readonly stage?: Stage };
interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
}

const PACKAGE = "onnxruntime-node";
const TOLD_CHARACTERS = 500; // of what the process wrote before it ended

/** Path of the package that runs ONNX files. Throws InputError ONNX_MISSING where it is not installed. */
export function findRuntime(where: string, name: string = PACKAGE): string {
  try {
    return createRequire(import.meta.url).resolve(name);
  } catch (error) {
    throw new InputError(
      "ONNX_MISSING",
      `[${where}] expected the package ${PACKAGE}, which runs ONNX files, got none; npm install ${PACKAGE}`,
      { cause: error },
    );
  }
}

export class OnnxWorker {
  readonly #options: WorkerOptions;
  readonly #process: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  readonly #closed: Promise<void>;
  #calls = 0;
  #told = "";
  /** Why there is no process any more. */
  #ended: Error | null = null;

  private constructor(options: WorkerOptions) {
    this.#options = options;
    this.#process = fork(fileURLToPath(new URL("./onnx-child.mjs", import.meta.url)), {
      execArgv: [],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      serialization: "advanced",
    });
    this.#process.stderr?.on("data", (chunk: Buffer) => {
      this.#told = (this.#told + chunk.toString("utf8")).slice(-TOLD_CHARACTERS);
    });
    this.#process.on("message", (answer: Answer) => this.#take(answer));
    this.#process.on("error", (error) => this.#end(this.#lost(error.message)));
    this.#closed = new Promise((resolve) => {
      this.#process.on("close", (code, signal) => {
        this.#end(this.#lost(signal === null ? `exit code ${code}` : `signal ${signal}`));
        resolve();
      });
    });
  }

  /** Throws InputError ONNX_RUNTIME (the package does not load here), ONNX_FILE; RewardError REWARD_TIMEOUT, REWARD_LOST. */
  static async start(options: WorkerOptions): Promise<{ readonly worker: OnnxWorker; readonly graph: GraphInfo }> {
    const worker = new OnnxWorker(options);
    try {
      const { runtime, file, threads } = options;
      const graph = await worker.#call({ open: { runtime, file, threads } });
      return { worker, graph: graph as GraphInfo };
    } catch (error) {
      await worker.dispose();
      throw error;
    }
  }

  /** Its process, for tests. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Runs a batch, after those before. Throws RewardError ONNX_RUN, REWARD_TIMEOUT, REWARD_LOST; its process is ended by the last two. */
  run(batch: Feeds): Promise<RunResult> {
    return this.#call({ run: batch }) as Promise<RunResult>;
  }

  /** Ends the process; what it computes is lost. May be called again. */
  async dispose(): Promise<void> {
    const message = `[${this.#options.where}] expected a reward model, got one that was disposed`;
    this.#end(new RewardError("REWARD_DISPOSED", message));
    await this.#closed;
  }

  #call(request: { readonly open?: object; readonly run?: Feeds }): Promise<unknown> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(this.#late()), this.#options.timeoutMs);
      this.#pending.set(call, { resolve, reject, timer });
      this.#hold(true);
      this.#process.send({ call, ...request }, (error) => error && this.#end(this.#lost(error.message)));
    });
  }

  #take({ call, value, error, stage = "run" }: Answer): void {
    const waiting = this.#pending.get(call);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    this.#pending.delete(call);
    this.#hold(this.#pending.size > 0);
    if (error === undefined) waiting.resolve(value);
    else waiting.reject(this.#refused(stage, error));
  }

  #end(reason: Error): void {
    if (this.#ended !== null) return;
    this.#ended = reason;
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer);
      reject(reason);
    }
    this.#pending.clear();
    this.#hold(true); // until its end is known
    this.#process.kill("SIGKILL");
  }

  #refused(stage: Stage, error: string): Error {
    const { where, file } = this.#options;
    if (stage === "runtime")
      return new InputError(
        "ONNX_RUNTIME",
        `[${where}] expected ${PACKAGE} that loads on this machine, got: ${error}; install it again, or another version`,
      );
    if (stage === "file")
      return new InputError(
        "ONNX_FILE",
        `[${where}] expected an ONNX file that ${PACKAGE} can load, got ${file}: ${error}; copy it again, with the files of its ` +
          "weights, or export it for an older opset",
      );
    const message = `[${where}] expected scores of the ONNX file, got: ${error}; check that tokenizer and file belong together`;
    return new RewardError("ONNX_RUN", message);
  }

  #lost(how: string): RewardError {
    const told = this.#told.trim();
    return new RewardError(
      "REWARD_LOST",
      `[${this.#options.where}] expected scores, got the end of the process that runs the ONNX file (${how})` +
        `${told === "" ? "" : `, which wrote: ${told}`}; if memory ran out, set batchTokens, maxTokens or workers lower`,
    );
  }

  #late(): RewardError {
    const { where, timeoutMs } = this.#options;
    const message = `[${where}] expected the ONNX file to be done within ${timeoutMs} ms, got nothing`;
    return new RewardError("REWARD_TIMEOUT", `${message}; raise timeoutMs, or set batchTokens lower`);
  }

  /** While it works it keeps this process alive; idle it does not. */
  #hold(on: boolean): void {
    const { channel, stderr } = this.#process;
    const pipes = [this.#process, channel, stderr as { ref?(): void; unref?(): void } | null];
    for (const each of pipes) on ? each?.ref?.() : each?.unref?.();
  }
}
