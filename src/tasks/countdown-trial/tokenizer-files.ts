// The trial's tokenizer in Hugging Face form, so that a saved model folder loads with this project, @huggingface/tokenizers and
// transformers alike: one word of text, one token. A WordPiece model without continuation pieces is a plain word list; the type made for
// that, WordLevel, is not known to @huggingface/tokenizers.
import { SPECIAL_SYMBOLS, symbolId, TRIAL_TOKENS } from "./vocabulary.js";

function addedToken(content: (typeof SPECIAL_SYMBOLS)[number]): Readonly<Record<string, unknown>> {
  return { content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

function tokenizerJson(): unknown {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_SYMBOLS.map((symbol) => ({ id: symbolId(symbol), ...addedToken(symbol) })),
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: {
      type: "WordPiece",
      unk_token: "<unk>",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(TRIAL_TOKENS.map((token, id) => [token, id])),
    },
  };
}

function tokenizerConfig(maxTokens: number): unknown {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    added_tokens_decoder: Object.fromEntries(
      SPECIAL_SYMBOLS.map((symbol) => [String(symbolId(symbol)), addedToken(symbol)]),
    ),
    bos_token: "<bos>",
    eos_token: "<eos>",
    pad_token: "<pad>",
    unk_token: "<unk>",
    clean_up_tokenization_spaces: false,
    model_max_length: maxTokens,
  };
}

/** Contents of the tokenizer files of a model folder, by file name. `maxTokens`: positions of the model. */
export function trialTokenizerFiles(maxTokens: number): Readonly<Record<string, string>> {
  return {
    "tokenizer.json": `${JSON.stringify(tokenizerJson(), null, 1)}\n`,
    "tokenizer_config.json": `${JSON.stringify(tokenizerConfig(maxTokens), null, 1)}\n`,
  };
}

/**
 * The trial as a chat: `<q> 9 6 6 -> 45 <answer> ( 6 * 6 ) + 9 <eos>`. The assistant's turn is as it was written, a thought in its marks
 * included. Not among the tokenizer files: the models of the quickstart have none.
 */
export function trialChatTemplate(): string {
  return (
    "{% for message in messages %}{% if message['role'] == 'user' %}<q> {{ message['content'] }} " +
    "{% else %}<answer> {{ message['content'] }} <eos> {% endif %}{% endfor %}" +
    "{% if add_generation_prompt %}<answer> {% endif %}\n"
  );
}
