// Messages to text by a model's own chat template. Templates are programs from strangers and can loop or fill the heap, so they run in a
// process of their own with a deadline and a heap limit: a worker thread that grows one large array takes the whole process with it.
// Leaves out tools and documents.
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { cpuDeadline } from "../config/cpu-deadline.mjs";
import { InputError } from "../errors.js";
import { findTemplate, readTemplate, type TemplateFile } from "./template-file.js";

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** How a template is used; the same for all conversations. */
export interface TemplateOptions {
  /** Which of several named templates. Default: the one called default. */
  readonly name?: string;
  /** A file in the place of the folder's own; "" is none. */
  readonly file?: string;
  /** Variables of the template's own, such as {enable_thinking: false}. */
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** What the template takes for today, as 2025-01-31. Default: today. */
  readonly date?: string;
}

export interface RenderOptions {
  /** End with the opening of the assistant's turn. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Longest time of the processor for one conversation. Default 5,000. */
  readonly deadlineMs?: number;
}

export interface Conversation {
  readonly messages: readonly Message[];
  /** "file:12", for errors. */
  readonly place?: string;
  /** End with the opening of the assistant's turn. */
  readonly addGenerationPrompt: boolean;
}

/** A text and where in it, in UTF-16 units, the parts are that the template calls generated. */
export interface MarkedText {
  readonly text: string;
  readonly spans: readonly (readonly [from: number, to: number])[];
}

const DEADLINE_MS = 5_000;
const HEAP_MB = 128;
/** Of all texts of a call: they are held here, where no heap limit ends what a template started. */
const MOST_CHARACTERS = 2 ** 28;
/** What a template is given anyway. */
const RESERVED = ["messages", "add_generation_prompt"];
const GENERATION = /{%(-?)\s*generation\s*(-?)%}/g;
const END_GENERATION = /{%(-?)\s*endgeneration\s*(-?)%}/g;

interface RenderJob {
  readonly source: string;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly conversations: readonly Conversation[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

export class ChatTemplate {
  readonly #file: TemplateFile;
  readonly #variables: Readonly<Record<string, unknown>>;
  readonly #now: number;

  private constructor(file: TemplateFile, variables: Readonly<Record<string, unknown>>, now: number) {
    this.#file = file;
    this.#variables = variables;
    this.#now = now;
  }

  /**
   * The template of a model folder, from chat_template.jinja, additional_chat_templates or tokenizer_config.json; null when it has none.
   * Throws InputError CHAT_TEMPLATE_MISSING for a name or a file that there is not, CHAT_TEMPLATE_SETTING for options that cannot be, and
   * TOKENIZER_INVALID for a tokenizer_config.json that is not JSON, and for either when it is too large or no file.
   */
  static async load(
    folder: string,
    { name = "", file = "", kwargs = {}, date }: TemplateOptions = {},
  ): Promise<ChatTemplate | null> {
    const reserved = Object.keys(kwargs).find((key) => RESERVED.includes(key));
    if (reserved !== undefined) throw settingError("variables of the template's own", reserved);
    const now = date === undefined ? Date.now() : Date.parse(date);
    if (Number.isNaN(now)) throw settingError("a date such as 2025-01-31", String(date));
    const found = file === "" ? await findTemplate(folder, name) : await readTemplate(file, folder);
    return found === null ? null : new ChatTemplate(found, { ...found.specialTokens, ...kwargs }, now);
  }

  /** A template that is in no folder; `where` names it in errors. It has no variables but the messages. */
  static from(source: string, where: string): ChatTemplate {
    return new ChatTemplate({ path: where, source, specialTokens: {} }, {}, Date.now());
  }

  /** The template as it is written, Jinja. */
  get source(): string {
    return this.#file.source;
  }

  /** Whether the template says which parts the assistant generates, by {% generation %}. */
  get marksGeneration(): boolean {
    return this.#file.source.search(GENERATION) >= 0;
  }

  /** Text of one conversation. See `renderEach`. */
  async render(messages: readonly Message[], options: RenderOptions = {}): Promise<string> {
    const [text] = await this.renderAll([messages], options);
    return text!;
  }

  /** Texts of conversations that end alike. See `renderEach`. */
  renderAll(conversations: readonly (readonly Message[])[], options: RenderOptions = {}): Promise<string[]> {
    const { addGenerationPrompt = true, deadlineMs } = options;
    return this.renderEach(
      conversations.map((messages) => ({ messages, addGenerationPrompt })),
      deadlineMs,
    );
  }

  /**
   * Texts of conversations, in order, by one process. Throws InputError CHAT_TEMPLATE_FAILED when the template refuses one, is over
   * its deadline or needs too much memory.
   */
  renderEach(conversations: readonly Conversation[], deadlineMs: number = DEADLINE_MS): Promise<string[]> {
    return this.#run(this.#file.source, conversations, deadlineMs);
  }

  /** Whole conversations with the parts that the template marks by {% generation %}. Throws as `renderEach`. */
  async renderMarked(conversations: readonly Omit<Conversation, "addGenerationPrompt">[]): Promise<MarkedText[]> {
    const id = randomUUID(); // no text holds it by chance, and no text can be made to
    const [open, close] = [`<${id}>`, `</${id}>`];
    // A block for a block, so that the blanks around it are treated as before.
    const mark = (text: string) => `{%$1 if true %}{{ "${text}" }}{% endif $2%}`;
    const source = this.#file.source.replaceAll(GENERATION, mark(open)).replaceAll(END_GENERATION, mark(close));
    const whole = conversations.map((one) => ({ ...one, addGenerationPrompt: false }));
    const [marked, plain] = await Promise.all([this.#run(source, whole, DEADLINE_MS), this.renderEach(whole)]);
    return marked.map((text, i): MarkedText => {
      const found = cutMarks(text, open, close);
      if (found !== null && found.text === plain[i]) return found;
      throw this.#failure(new Error("{% generation %} that changes the text, or is not closed in it"), whole[i]!.place);
    });
  }

  #run(source: string, conversations: readonly Conversation[], deadlineMs: number): Promise<string[]> {
    if (conversations.length === 0) return Promise.resolve([]);
    const job = { source, variables: this.#variables, conversations, now: this.#now };
    let done = 0;
    const count = () => done++;
    return runJob(job, deadlineMs, count).catch((error: unknown) => {
      throw this.#failure(error, conversations[done]?.place);
    });
  }

  #failure(cause: unknown, place?: string): InputError {
    const detail = cause instanceof Error ? cause.message : String(cause);
    const whose = place === undefined ? "these messages" : `the messages of ${place}`;
    return new InputError(
      "CHAT_TEMPLATE_FAILED",
      `[${this.#file.path}] expected a chat template that renders ${whose}, got: ${detail}. Check the roles, or prompt with raw text.`,
      { cause },
    );
  }
}

function settingError(expected: string, got: string): InputError {
  return new InputError(
    "CHAT_TEMPLATE_SETTING",
    `[chat template] expected ${expected}, got "${got}"; correct the settings`,
  );
}

/** The text without its marks; null where they do not alternate. */
function cutMarks(marked: string, open: string, close: string): MarkedText | null {
  const spans: [number, number][] = [];
  let text = "";
  for (const [index, part] of marked.split(open).entries()) {
    const [inside, after, ...more] = part.split(close);
    if (index === 0 ? after !== undefined : after === undefined || more.length > 0) return null;
    if (index > 0) spans.push([text.length, text.length + inside!.length]);
    text += inside! + (after ?? "");
  }
  return { text, spans };
}

/** The texts of a job; each must come within the deadline, and is counted. The process is ended in any case. */
async function runJob(job: RenderJob, deadlineMs: number, count: () => void): Promise<string[]> {
  const child = fork(fileURLToPath(new URL("./render-child.mjs", import.meta.url)), {
    execArgv: [`--max-old-space-size=${HEAP_MB}`],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { TZ: "UTC" },
  });
  let deadline: ReturnType<typeof cpuDeadline> | undefined;
  const progress = () => {
    count();
    deadline?.restart();
  };
  try {
    return await new Promise<string[]>((resolve, reject) => {
      deadline = cpuDeadline(child.pid, deadlineMs, (limit) => reject(new Error(`no text within ${limit}`)));
      listen(child, job.conversations.length, { resolve, reject, progress });
      child.send(job, (error) => error && reject(error));
    });
  } finally {
    deadline?.stop();
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
  let characters = 0;
  child.on("error", listener.reject);
  // Not "exit": that may come before the last message is read.
  child.on("close", (code, signal) => {
    listener.reject(
      new Error(`rendering ended (${signal ?? `exit code ${code}`}), perhaps over ${HEAP_MB} MB of memory`),
    );
  });
  child.on("message", (message: { text: string } | { error: string }) => {
    if ("error" in message) return listener.reject(new Error(message.error));
    characters += message.text.length;
    if (characters > MOST_CHARACTERS)
      return listener.reject(new Error(`texts of more than ${MOST_CHARACTERS} characters`));
    texts.push(message.text);
    listener.progress();
    if (texts.length === count) listener.resolve(texts);
  });
}
