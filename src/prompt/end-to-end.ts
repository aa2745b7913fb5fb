// A chat template for models that have none: the messages end to end, as plain text, between the begin token and the end token. Training on
// texts and whoever scores with the trained model later, here or in transformers, then write the same bytes.

/** Texts of the tokens around the messages; null where there is none. */
export interface EndToEndMarks {
  readonly begin: string | null;
  readonly end: string | null;
}

/** Jinja source on one line, so that no blank of it gets into the text. A text that has a mark already does not get it twice. */
export function endToEndTemplate({ begin, end }: EndToEndMarks): string {
  const begun =
    begin === null ? "" : `{% if loop.first and not ${has("startswith", begin)} %}${write(begin)}{% endif %}`;
  const ended =
    end === null
      ? ""
      : `{% if loop.last and not add_generation_prompt and not ${has("endswith", end)} %}${write(end)}{% endif %}`;
  return `{% for message in messages %}${begun}{{ message['content'] }}${ended}{% endfor %}`;
}

const write = (text: string): string => `{{ ${JSON.stringify(text)} }}`;
const has = (where: "startswith" | "endswith", text: string): string =>
  `message['content'].${where}(${JSON.stringify(text)})`;
