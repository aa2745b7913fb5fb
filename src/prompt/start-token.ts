// The start token of a text that a user wrote: a tokenizer that adds one adds it also where the text spells it out already.

/** Token ids [T] of a text, which begin with one start token where they began with two. */
export function withoutDoubledStart<Ids extends Int32Array | readonly number[]>(ids: Ids, startId: number | null): Ids {
  const isDoubled = startId !== null && ids[0] === startId && ids[1] === startId;
  return isDoubled ? (ids.slice(1) as Ids) : ids;
}
