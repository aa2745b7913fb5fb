// @ts-check
// The other end of chat.ts, a process of its own: renders conversations by a chat template, one after another, and sends each text. It
// disconnects only after the last message is written: what is still waiting then, since the reader is slow, would be lost.
import { Template } from "@huggingface/jinja";

/** Templates may ask for the date; it is the run's, not the clock's. @param {number} now */
function pinDate(now) {
  globalThis.Date = /** @type {any} */ (
    class extends Date {
      /** @param {[]} given */
      constructor(...given) {
        if (given.length === 0) super(now);
        else super(...given);
      }

      /** @override */
      static now() {
        return now;
      }
    }
  );
}

/** Far above the longest context of a model, and far below what fills the memory of whom it is sent to. */
const MOST_CHARACTERS = 2 ** 24;

/** @param {Template} template @param {Record<string, unknown>} variables */
function render(template, variables) {
  const text = String(template.render(variables));
  if (text.length > MOST_CHARACTERS)
    throw new Error(`a text of ${text.length} characters, more than ${MOST_CHARACTERS}`);
  return text;
}

/** @typedef {{ messages: unknown, addGenerationPrompt: boolean }} Conversation */

process.on("SIGINT", () => {}); // of a terminal, meant for the caller

process.once(
  "message",
  (/** @type {{ source: string, variables: object, conversations: Conversation[], now: number }} */ job) => {
    let waiting = 1;
    const written = () => {
      if (--waiting === 0) process.disconnect();
    };
    const send = (/** @type {object} */ message) => {
      waiting++;
      process.send?.(message, written);
    };
    try {
      pinDate(job.now);
      const template = new Template(job.source);
      for (const { messages, addGenerationPrompt } of job.conversations) {
        const variables = { ...job.variables, messages, add_generation_prompt: addGenerationPrompt };
        send({ text: render(template, variables) });
      }
    } catch (error) {
      send({ error: String(/** @type {any} */ (error)?.message || error) });
    }
    written();
  },
);
