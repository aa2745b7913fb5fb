// Numbers of things in messages.

/** "1 step", "2 steps"; `noun` is in the singular. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
