// Work on a list, some of it at once, whose results come in the list's order. What is begun is bounded: nothing is taken from the list while
// as many results as the window holds are under way or wait for an earlier one.

/**
 * Yields `work(item, index)` for each item, in order. A failure is thrown where its result would have come; work that is under way then, or
 * when the consumer leaves, is waited for, and its results are lost to the consumer.
 */
export async function* inOrder<T, R>(
  items: Iterable<T>,
  window: number,
  work: (item: T, index: number) => Promise<R>,
): AsyncGenerator<R, void, void> {
  const under: Promise<R>[] = [];
  let index = 0;
  try {
    for (const item of items) {
      const begun = work(item, index++);
      begun.catch(() => {}); // thrown to the consumer at its turn
      under.push(begun);
      if (under.length >= window) yield await under[0]!.finally(() => under.shift());
    }
    while (under.length > 0) yield await under[0]!.finally(() => under.shift());
  } finally {
    await Promise.allSettled(under);
  }
}
