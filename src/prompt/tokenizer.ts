// Text to token ids and back, by the tokenizer.json of a model folder. Leaves out chat templates and truncation. The files may come from
// strangers, so they have an upper size and are used by a process of their own: see tokenizer-process.ts.
import { join } from "node:path";
import { readJsonObject, readSmallText, requireModelFolder } from "../config/files.js";
import { InputError } from "../errors.js";
import { type TokenBytes, tokenBytes } from "./token-bytes.js";
import { type Encoded, type Loaded, TokenizerProcess } from "./tokenizer-process.js";

export interface TokenizerOptions {
  /** Longest time of the processor for one call. Default 10,000, and 60,000 to load the files. */
  readonly deadlineMs?: number;
}

export interface EncodeOptions {
  /** Add what the tokenizer puts around a text, such as BOS. Default true. */
  readonly addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave out special tokens. Default false. */
  readonly skipSpecialTokens?: boolean;
}

const DEADLINE_MS = 10_000;
const LOAD_DEADLINE_MS = 60_000;
/** Several times the largest vocabularies that are published. */
const FILE = { code: "TOKENIZER_INVALID", maxBytes: 128 * 1024 * 1024 };
const CONFIG = { code: "TOKENIZER_INVALID" };
/** Characters of the texts that one call of `encodeAll` takes: far from the deadline, and far above the cost of a call. */
const BATCH_CHARACTERS = 1 << 18;
const SHOWN_CHARACTERS = 60;
const MOST_ID = 2 ** 31 - 1;

export class Tokenizer {
  /** Largest id + 1. */
  readonly vocabSize: number;
  /** Null where the model has none. */
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly #process: TokenizerProcess;
  readonly #file: string;

  private constructor(file: string, process: TokenizerProcess, { vocabSize, bosId, eosId }: Loaded) {
    this.#file = file;
    this.#process = process;
    this.vocabSize = vocabSize;
    this.bosId = bosId;
    this.eosId = eosId;
  }

  /**
   * Reads tokenizer.json and, where there is one, tokenizer_config.json. Throws InputError MODEL_MISSING where there is no folder,
   * TOKENIZER_MISSING for a folder without tokenizer.json and TOKENIZER_INVALID for a file that cannot be used.
   */
  static async load(folder: string, { deadlineMs }: TokenizerOptions = {}): Promise<Tokenizer> {
    await requireModelFolder(folder);
    const file = join(folder, "tokenizer.json");
    const text = await readSmallText(file, FILE);
    if (text === undefined) {
      throw new InputError(
        "TOKENIZER_MISSING",
        `[${file}] expected a tokenizer file, got none. Copy tokenizer.json next to the model's weights.`,
      );
    }
    const config = (await readJsonObject(join(folder, "tokenizer_config.json"), CONFIG)) ?? {};
    const process = new TokenizerProcess(deadlineMs ?? DEADLINE_MS);
    try {
      return new Tokenizer(file, process, await process.call("load", { text, config }, deadlineMs ?? LOAD_DEADLINE_MS));
    } catch (error) {
      process[Symbol.dispose]();
      throw invalid(file, error);
    }
  }

  /** Token ids [T] of a text. Throws InputError TOKENIZER_TEXT for text that the vocabulary cannot spell. */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const encoded = this.#guard(() => this.#process.callSync("encode", { texts: [text], addSpecialTokens }));
    requireSpelt(encoded, [text]);
    return Array.from(encoded.ids);
  }

  /** Token ids [T] of each text, in few calls; the event loop goes on. Throws as `encode`. */
  async encodeAll(texts: readonly string[], { addSpecialTokens = true }: EncodeOptions = {}): Promise<Int32Array[]> {
    const all: Int32Array[] = [];
    for (const batch of batches(texts)) {
      const encoded = await this.#process.call("encode", { texts: batch, addSpecialTokens }).catch((error) => {
        throw invalid(this.#file, error);
      });
      requireSpelt(encoded, batch);
      encoded.ends.forEach((end, i) => {
        all.push(encoded.ids.slice(i === 0 ? 0 : encoded.ends[i - 1]!, end)); // a slice does not keep the whole batch
      });
    }
    return all;
  }

  /**
   * Text of ids [T]. Bytes that are no whole UTF-8 character become U+FFFD; ids beyond the vocabulary, which a model with a padded one may
   * sample, are shown as <|token N|>. Throws InputError TOKENIZER_ID for numbers that are no ids.
   */
  decode(ids: ArrayLike<number>, { skipSpecialTokens = false }: DecodeOptions = {}): string {
    const list = Array.from(ids);
    for (const id of list) if (!Number.isInteger(id) || id < 0 || id > MOST_ID) throw this.#noId(id);
    if (list.length === 0) return "";
    return this.#guard(() => this.#process.callSync("decode", { ids: list, skipSpecialTokens }));
  }

  /** What each token writes in the text that `decode` gives, special tokens too. Throws as `tokenBytes`. */
  writtenBytes(): TokenBytes {
    const spelling = this.#guard(() => this.#process.callSync("spelling", {}));
    return tokenBytes({ ...spelling, added: spelling.added.map((token) => ({ ...token, special: false })) });
  }

  /**
   * What each token writes, for `Engine.useVocabulary`; special tokens write nothing. Throws InputError TOKENIZER_UNSUPPORTED for a decoder
   * that does not write tokens one by one.
   */
  tokenBytes(): TokenBytes {
    return tokenBytes(this.#guard(() => this.#process.callSync("spelling", {})));
  }

  /** The vocabulary's own spelling of an id, such as `▁the` or `<0x0A>`. Throws InputError TOKENIZER_ID for an unknown id. */
  token(id: number): string {
    const token = this.#guard(() => this.#process.callSync("token", { id }));
    if (token !== null) return token;
    throw this.#noId(id);
  }

  /** The id of a token's own spelling, or null. */
  tokenId(token: string): number | null {
    return this.#guard(() => this.#process.callSync("tokenId", { token }));
  }

  /** Ends the tokenizer's process now; else it ends with the tokenizer's last reference, or with this process. Idempotent. */
  [Symbol.dispose](): void {
    this.#process[Symbol.dispose]();
  }

  #noId(id: number): InputError {
    const message = `[decode] expected ids of the vocabulary, 0..${this.vocabSize - 1}, got ${id}; check whose ids they are`;
    return new InputError("TOKENIZER_ID", message);
  }

  #guard<T>(call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw invalid(this.#file, error);
    }
  }
}

function requireSpelt({ unknown }: Encoded, texts: readonly string[]): void {
  if (unknown < 0) return;
  const text = texts[unknown]!;
  const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text;
  throw new InputError(
    "TOKENIZER_TEXT",
    `[encode] expected text that the vocabulary can spell, got characters it has no token for in ${JSON.stringify(shown)}. Remove them.`,
  );
}

/** Cuts texts into runs of some size. */
function* batches(texts: readonly string[]): Generator<string[]> {
  let batch: string[] = [];
  let characters = 0;
  for (const text of texts) {
    batch.push(text);
    characters += text.length;
    if (characters < BATCH_CHARACTERS) continue;
    yield batch;
    batch = [];
    characters = 0;
  }
  if (batch.length > 0) yield batch;
}

function invalid(file: string, cause: unknown): InputError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new InputError(
    "TOKENIZER_INVALID",
    `[${file}] expected a tokenizer in Hugging Face form, got: ${detail}. Fetch the model's tokenizer files again.`,
    { cause },
  );
}
