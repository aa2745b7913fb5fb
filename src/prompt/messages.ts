// A conversation as one text, for readers that take no roles. Pure.

/** The words of a single turn, else each turn after its role. */
export function messagesText(messages: readonly { readonly role: string; readonly content: string }[]): string {
  if (messages.length === 1) return messages[0]!.content;
  return messages.map(({ role, content }) => `${role}: ${content}`).join("\n\n");
}
