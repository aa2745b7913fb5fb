// Text to token ids and back, by the tokenizer.json of a model folder. Leaves out chat templates and truncation. The files may come from
// strangers, so they have an upper size and every call has a deadline; memory has no limit of its own.
import { join } from "node:path";
import { Tokenizer as UntypedTokenizer } from "@huggingface/tokenizers";
import { readJsonObject, requireModelFolder } from "../config/files.js";
import { InputError } from "../errors.js";
import { withDeadline } from "./deadline.js";

export interface TokenizerOptions {
  /** Longest time for one call. Default 10,000. */
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

type Json = Readonly<Record<string, unknown>>;

/** What is used of @huggingface/tokenizers; its own types do not resolve under NodeNext. */
interface FileTokenizer {
  readonly model: { readonly vocab: readonly string[] };
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

const FileTokenizer = UntypedTokenizer as new (tokenizer: Json, config: Json) => FileTokenizer;

const DEADLINE_MS = 10_000;
/** Several times the largest vocabularies that are published. */
const FILE = { code: "TOKENIZER_INVALID", maxBytes: 128 * 1024 * 1024 };
const NULLABLE_PARTS = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };

export class Tokenizer {
  /** Largest id + 1. */
  readonly vocabSize: number;
  /** Null where the model has none. */
  readonly bosId: number | null;
  readonly eosId: number | null;
  private readonly inner: FileTokenizer;
  private readonly cleanUp: boolean;
  private readonly deadlineMs: number;

  private readonly file: string;

  private constructor(file: string, inner: FileTokenizer, config: Json, deadlineMs: number) {
    this.file = file;
    this.inner = inner;
    this.deadlineMs = deadlineMs;
    this.cleanUp = config.clean_up_tokenization_spaces === true;
    this.vocabSize = inner.model.vocab.length;
    this.bosId = this.specialId(config.bos_token);
    this.eosId = this.specialId(config.eos_token);
  }

  /**
   * Reads tokenizer.json and, where there is one, tokenizer_config.json. Throws InputError MODEL_MISSING where there is no folder,
   * TOKENIZER_MISSING for a folder without tokenizer.json and TOKENIZER_INVALID for a file that cannot be used.
   */
  static async load(folder: string, { deadlineMs = DEADLINE_MS }: TokenizerOptions = {}): Promise<Tokenizer> {
    await requireModelFolder(folder);
    const file = join(folder, "tokenizer.json");
    const tokenizer = await readJsonObject(file, FILE);
    if (tokenizer === undefined) {
      throw new InputError(
        "TOKENIZER_MISSING",
        `[${file}] expected a tokenizer file, got none. Copy tokenizer.json next to the model's weights.`,
      );
    }
    const config = (await readJsonObject(join(folder, "tokenizer_config.json"), FILE)) ?? {};
    try {
      return withDeadline(
        () => new Tokenizer(file, new FileTokenizer({ ...NULLABLE_PARTS, ...tokenizer }, config), config, deadlineMs),
        deadlineMs,
      );
    } catch (error) {
      throw invalid(file, error);
    }
  }

  /** Token ids [T] of a text. Throws InputError TOKENIZER_TEXT for text that the vocabulary cannot spell. */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const ids = this.guard(() => this.inner.encode(text, { add_special_tokens: addSpecialTokens }).ids);
    if (ids.every((id) => id !== undefined)) return ids;
    throw new InputError(
      "TOKENIZER_TEXT",
      "[encode] expected text that the vocabulary can spell, got characters it has no token for. Remove them.",
    );
  }

  /** Text of ids [T]. Bytes that are no whole UTF-8 character become U+FFFD. Throws InputError TOKENIZER_ID for unknown ids. */
  decode(ids: ArrayLike<number>, { skipSpecialTokens = false }: DecodeOptions = {}): string {
    const list = Array.from(ids);
    for (const id of list) this.token(id);
    if (list.length === 0) return "";
    const options = { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: this.cleanUp };
    return this.guard(() => this.inner.decode(list, options));
  }

  /** The vocabulary's own spelling of an id, such as `▁the` or `<0x0A>`. Throws InputError TOKENIZER_ID for an unknown id. */
  token(id: number): string {
    const token = this.inner.id_to_token(id);
    if (token !== undefined) return token;
    throw new InputError(
      "TOKENIZER_ID",
      `[decode] expected ids of the vocabulary, 0..${this.vocabSize - 1}, got ${id}`,
    );
  }

  /** The id of a token's own spelling, or null. */
  tokenId(token: string): number | null {
    return this.inner.token_to_id(token) ?? null;
  }

  /** `value` is a token, or `{content}`, as tokenizer_config.json writes special tokens. */
  private specialId(value: unknown): number | null {
    const content = typeof value === "object" && value !== null && "content" in value ? value.content : value;
    return typeof content === "string" ? this.tokenId(content) : null;
  }

  private guard<T>(task: () => T): T {
    try {
      return withDeadline(task, this.deadlineMs);
    } catch (error) {
      throw invalid(this.file, error);
    }
  }
}

function invalid(file: string, cause: unknown): InputError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new InputError(
    "TOKENIZER_INVALID",
    `[${file}] expected a tokenizer in Hugging Face form, got: ${detail}. Fetch the model's tokenizer files again.`,
    { cause },
  );
}
