// How deep values from files may be nested: what follows a value into its parts (JSON.stringify, a schema, a clone) runs out of stack on one
// that JSON.parse still reads.

/** Levels of lists and objects; far above any data of use. */
export const MOST_LEVELS = 128;

/** What a reader says that it expected of a value that is too deep. */
export const SHALLOW = `values nested at most ${MOST_LEVELS} levels deep`;

export function isTooDeep(value: unknown, levels: number = MOST_LEVELS): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isTooDeep(inner, levels - 1));
}
