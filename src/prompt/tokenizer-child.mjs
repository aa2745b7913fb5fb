// @ts-check
// The other end of tokenizer-relay.mjs, a process of its own: loads a tokenizer and answers calls one by one. What it runs comes from
// strangers' files: the relay ends a process whose call is past its deadline, and its heap has a limit. Plain JavaScript: it is started as it lies.
import vm from "node:vm";
import { Tokenizer } from "@huggingface/tokenizers";
import { byTheClock, CLOCK_FACTOR } from "../config/cpu-deadline.mjs";

/** @typedef {{ vocab: string[], tokens_to_ids: Map<unknown, unknown> }} Model */
/** @typedef {{ model: Model, encode: Function, decode: Function, token_to_id: Function, id_to_token: Function }} Inner */

const NULLABLE_PARTS = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };

/** @type {Inner} */
let inner;
let cleanUp = false;
/** @type {{ decoder: object | null, added: object[] }} */
let spelling = { decoder: null, added: [] };

/** @type {Record<string, (request: any) => unknown>} */
const calls = {
  load({ text, config }) {
    const file = JSON.parse(text);
    if (typeof file !== "object" || file === null || Array.isArray(file)) throw new Error("JSON that is no object");
    inner = /** @type {any} */ (new Tokenizer({ ...NULLABLE_PARTS, ...file }, config));
    checkVocabulary(inner.model);
    spelling = { decoder: file.decoder ?? null, added: file.added_tokens ?? [] };
    cleanUp = config.clean_up_tokenization_spaces === true;
    return {
      vocabSize: inner.model.vocab.length,
      bosId: specialId(config.bos_token),
      eosId: specialId(config.eos_token),
    };
  },

  /** Ids end to end, where each text's end, and the first text that the vocabulary cannot spell, or -1. */
  encode({ texts, addSpecialTokens }) {
    const lists = texts.map(
      (/** @type {string} */ text) => inner.encode(text, { add_special_tokens: addSpecialTokens }).ids,
    );
    const ends = new Int32Array(lists.length);
    let length = 0;
    for (const [i, list] of lists.entries()) {
      length += list.length;
      ends[i] = length;
    }
    const ids = new Int32Array(length);
    for (const [i, list] of lists.entries()) ids.set(list, (ends[i] ?? 0) - list.length);
    const unknown = lists.findIndex((/** @type {unknown[]} */ list) => !list.every(isId));
    return { ids, ends, unknown };
  },

  /** Ids without a token, as a model with a padded vocabulary may sample them, are shown by number. */
  decode({ ids, skipSpecialTokens }) {
    const options = { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: cleanUp };
    let text = "";
    for (let from = 0; from < ids.length; ) {
      const known = inner.id_to_token(ids[from]) !== undefined;
      let to = from + 1;
      while (known && to < ids.length && inner.id_to_token(ids[to]) !== undefined) to++;
      text += known ? inner.decode(ids.slice(from, to), options) : `<|token ${ids[from]}|>`;
      from = to;
    }
    return text;
  },

  spelling() {
    const tokens = Array.from({ length: inner.model.vocab.length }, (_, id) => inner.id_to_token(id) ?? null);
    return { ...spelling, tokens };
  },

  token({ id }) {
    return inner.id_to_token(id) ?? null;
  },

  tokenId({ token }) {
    return inner.token_to_id(token) ?? null;
  },
};

/** Far above any vocabulary; ids are places in a list. */
const MOST_TOKENS = 2 ** 24;

/** Ids have to be whole numbers and tokens texts: the library takes what the file has. @param {Model} model */
function checkVocabulary({ vocab, tokens_to_ids: ids }) {
  if (vocab.length > MOST_TOKENS) throw new Error(`an id of ${vocab.length - 1}, more than ${MOST_TOKENS - 1}`);
  const token = vocab.find((each) => each !== undefined && typeof each !== "string");
  if (token !== undefined) throw new Error(`a token that is no text: ${JSON.stringify(token)}`);
  for (const [text, id] of ids) {
    if (Number.isInteger(id) && Number(id) >= 0 && Number(id) < MOST_TOKENS) continue;
    throw new Error(`${JSON.stringify(id)} for the id of ${JSON.stringify(text)}`);
  }
}

/** Whether it is an id of the vocabulary: the library gives undefined, or what the file calls the unknown token. @param {unknown} id */
const isId = (id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < inner.model.vocab.length;

/** A special token is text, or `{content}`, as tokenizer_config.json writes it. @param {any} value */
function specialId(value) {
  const content = typeof value === "object" && value !== null ? value.content : value;
  return typeof content === "string" ? (inner.token_to_id(content) ?? null) : null;
}

const sandbox = vm.createContext({ task: null });
const script = new vm.Script("task()");

/**
 * What `task` returns, or its error. Ends what goes on for too long by the clock, so that a process that spins is gone even where the one that
 * would end it has been killed.
 * @param {() => unknown} task
 * @param {number} milliseconds
 */
function withinTheClock(task, milliseconds) {
  sandbox.task = task;
  try {
    return script.runInContext(sandbox, { timeout: milliseconds });
  } finally {
    sandbox.task = null;
  }
}

/** @param {any} error @param {number} deadlineMs */
function messageOf(error, deadlineMs) {
  if (error?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return `took more than ${byTheClock(deadlineMs)}`;
  return String(error?.message || error);
}

process.on("SIGINT", () => {}); // of a terminal, meant for the caller, who may still need an answer

process.on("message", (/** @type {any} */ { call, name, request, deadlineMs }) => {
  try {
    process.send?.({ call, value: withinTheClock(() => calls[name]?.(request), CLOCK_FACTOR * deadlineMs) });
  } catch (error) {
    process.send?.({ call, error: messageOf(error, deadlineMs) });
  }
});
