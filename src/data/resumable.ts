// What a checkpoint keeps of everything that moves while a run trains: the place in the data, counts, the stream of random numbers.
// A loop names what moves in one list; the list is saved and restored as a whole. Leaves out weights and optimizer moments.

/** What JSON.stringify and JSON.parse give back as it was. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Something that goes on from where it stood. */
export interface Resumable {
  /** The state now, a copy. */
  save(): Json;
  /** Goes on from a state that `save` gave; throws InputError where it is not one or does not fit. */
  restore(state: Json): void;
}

/** Several as one: a state by name. */
export function resumables(parts: Readonly<Record<string, Resumable>>): Resumable {
  return {
    save: () => Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.save()])),
    restore: (state) => {
      const states = state as Readonly<Record<string, Json>>;
      for (const [name, part] of Object.entries(parts)) part.restore(states[name] ?? null);
    },
  };
}
