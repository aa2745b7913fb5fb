// Messages to text by a model's own chat template. Templates are programs from strangers and can loop or fill the heap, so they run in a
// process of their own with a deadline and a heap limit: a worker thread that grows one large array takes the whole process with it.
// Leaves out tools and documents.
import { type ChildProcess, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { readJsonObject, readSmallText } from "../config/files.js";
import { InputError } from "../errors.js";

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface RenderOptions {
  /** End with the opening of the assistant's turn. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Longest time for one conversation. Default 5,000. */
  readonly deadlineMs?: number;
}

type Json = Readonly<Record<string, unknown>>;

const DEADLINE_MS = 5_000;
const HEAP_MB = 128;
const FILE = { code: "TOKENIZER_INVALID" };
const SPECIAL_TOKENS = ["bos_token", "eos_token", "pad_token", "unk_token"] as const;

/**
 * Runs in the other process, as plain JavaScript: renders each conversation in turn and sends its text. It disconnects only after the
 * last message is written: what is still waiting then, since the reader is slow, would be lost.
 */
const RENDERER = `
process.once("message", ({ library, source, variables, conversations }) => {
  let waiting = 1;
  const written = () => { if (--waiting === 0) process.disconnect(); };
  const send = (message) => { waiting++; process.send(message, written); };
  try {
    const { Template } = require(library);
    const template = new Template(source);
    for (const messages of conversations) send({ text: String(template.render({ ...variables, messages })) });
  } catch (error) {
    send({ error: String((error && error.message) || error) });
  }
  written();
});
`;

interface RenderJob {
  /** Path of the template library. */
  readonly library: string;
  readonly source: string;
  readonly variables: Json;
  readonly conversations: readonly (readonly Message[])[];
}

export class ChatTemplate {
  private readonly file: string;
  private readonly source: string;
  private readonly variables: Json;

  private constructor(file: string, source: string, variables: Json) {
    this.file = file;
    this.source = source;
    this.variables = variables;
  }

  /**
   * The template of a model folder, from chat_template.jinja or tokenizer_config.json; null when it has none. Throws InputError
   * TOKENIZER_INVALID for a tokenizer_config.json that is not JSON, and for either when it is too large or no file.
   */
  static async load(folder: string): Promise<ChatTemplate | null> {
    const configFile = join(folder, "tokenizer_config.json");
    const ownFile = join(folder, "chat_template.jinja");
    const config: Json = (await readJsonObject(configFile, FILE)) ?? {};
    const own = await readSmallText(ownFile, FILE);
    const source = own ?? templateOf(config.chat_template);
    if (source === null) return null;
    const variables = Object.fromEntries(SPECIAL_TOKENS.map((name) => [name, tokenText(config[name])]));
    return new ChatTemplate(own === undefined ? configFile : ownFile, source, variables);
  }

  /** Text of one conversation. See `renderAll`. */
  async render(messages: readonly Message[], options: RenderOptions = {}): Promise<string> {
    const [text] = await this.renderAll([messages], options);
    return text!;
  }

  /**
   * Texts of conversations, in order, by one process. Throws InputError CHAT_TEMPLATE_FAILED when the template refuses one, is over
   * its deadline or needs too much memory.
   */
  renderAll(conversations: readonly (readonly Message[])[], options: RenderOptions = {}): Promise<string[]> {
    const { addGenerationPrompt = true, deadlineMs = DEADLINE_MS } = options;
    if (conversations.length === 0) return Promise.resolve([]);
    const variables = { ...this.variables, add_generation_prompt: addGenerationPrompt };
    const library = createRequire(import.meta.url).resolve("@huggingface/jinja");
    const job = { library, source: this.source, variables, conversations };
    return runJob(job, deadlineMs).catch((error: unknown) => {
      throw this.failure(error);
    });
  }

  private failure(cause: unknown): InputError {
    const detail = cause instanceof Error ? cause.message : String(cause);
    return new InputError(
      "CHAT_TEMPLATE_FAILED",
      `[${this.file}] expected a chat template that renders these messages, got: ${detail}. Check the roles, or prompt with raw text.`,
      { cause },
    );
  }
}

/** The texts of a job; each must come within the deadline. The process is ended in any case. */
async function runJob(job: RenderJob, deadlineMs: number): Promise<string[]> {
  const child = spawn(process.execPath, [`--max-old-space-size=${HEAP_MB}`, "-e", RENDERER], {
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: {},
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<string[]>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no text within ${deadlineMs} ms`)), deadlineMs);
      listen(child, job.conversations.length, { resolve, reject, progress: () => timer?.refresh() });
      child.send(job, (error) => error && reject(error));
    });
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
  }
}

interface Listener {
  resolve(texts: string[]): void;
  reject(error: Error): void;
  progress(): void;
}

function listen(child: ChildProcess, count: number, listener: Listener): void {
  const texts: string[] = [];
  child.on("error", listener.reject);
  // Not "exit": that may come before the last message is read.
  child.on("close", (code, signal) => {
    listener.reject(
      new Error(`rendering ended (${signal ?? `exit code ${code}`}), perhaps over ${HEAP_MB} MB of memory`),
    );
  });
  child.on("message", (message: { text: string } | { error: string }) => {
    if ("error" in message) return listener.reject(new Error(message.error));
    texts.push(message.text);
    if (texts.length === count) return listener.resolve(texts);
    listener.progress();
  });
}

/** A template, or the one called "default" of a list of named ones. */
function templateOf(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const named: unknown = value.find((entry: Json) => entry?.name === "default");
  const template = (named as Json | undefined)?.template;
  return typeof template === "string" ? template : null;
}

/** Special tokens are strings or `{content}`; absent ones are the empty text, as templates expect. */
function tokenText(value: unknown): string {
  const content = typeof value === "object" && value !== null ? (value as Json).content : value;
  return typeof content === "string" ? content : "";
}
