// Measured cases and their peers joined into one report: rates, shares of what the machine can do, and which targets they meet.
// Plain functions of what the programs wrote, so that tests give them made-up timings.

/**
 * What a case must reach: a share of the copy bandwidth, of cuBLASLt's fastest algorithm or of the fastest SDPA backend, or so
 * many times the speed of a peer.
 */
export const TARGETS = [
  {
    cases: ["logprob gather", "policy loss", "group advantages"],
    reach: { shareOfCopy: 0.85, timesEager: 3, timesCompile: 1.1 },
  },
  { cases: ["matmul, exact"], reach: { shareOfLibrary: 0.85 } },
  { cases: ["matmul, skinny"], reach: { shareOfCopy: 0.75 } },
  { cases: ["attention forward and backward"], reach: { shareOfSdpa: 0.6 } },
  {
    cases: ["rmsnorm forward", "rmsnorm backward of the input", "rope", "swiglu forward", "swiglu backward", "adamw"],
    reach: { shareOfCopy: 0.8 },
  },
];

/**
 * @typedef {{ case: string, shape: string, dtype: string, seconds: number, bytes: number, flops: number, error: number, right:
 * boolean, best_library_seconds?: number }} Case
 * @typedef {{ case: string, shape: string, dtype: string, peer: string, seconds: number }} Peer
 * @typedef {{ device: object } | { copy_gb_per_s: number } | { cublasLt: number, file: string } | Case} Fact
 */

/**
 * The last line of a program's output, which is a JSON document; throws when it is none.
 * @param {string} output
 * @param {string} where
 */
export function lastDocument(output, where) {
  const line = output.trim().split("\n").at(-1) ?? "";
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`[${where}] expected a JSON document as the last line, got "${line.slice(0, 80)}"`);
  }
}

/**
 * @param {readonly Fact[]} facts of the program
 * @param {readonly Peer[]} peers
 */
export function assemble(facts, peers) {
  const device = facts.find((fact) => "device" in fact)?.device;
  const copy = facts.find((fact) => "copy_gb_per_s" in fact)?.copy_gb_per_s;
  if (device === undefined || copy === undefined)
    throw new Error(
      "[gpu-kernels] expected a device and its copy bandwidth, got none: the program did not run on a GPU",
    );
  const cases = facts.filter((fact) => "case" in fact);
  return {
    device,
    copyGigabytesPerSecond: copy,
    library: facts.find((fact) => "cublasLt" in fact) ?? null,
    wrong: cases.filter((each) => !each.right).map(({ case: name, shape, error }) => ({ case: name, shape, error })),
    results: cases.map((each) => resultOf(each, copy, peers)),
  };
}

/**
 * @param {Case} measured
 * @param {number} copy gigabytes a second
 * @param {readonly Peer[]} peers
 */
function resultOf(measured, copy, peers) {
  const { seconds, bytes, flops } = measured;
  const own = peers.filter(
    (peer) => peer.case === measured.case && peer.shape === measured.shape && peer.dtype === measured.dtype,
  );
  const ratioTo = (/** @type {readonly number[]} */ times) =>
    times.length === 0 || seconds <= 0 ? null : Math.min(...times) / seconds;
  const timesOf = (/** @type {(peer: Peer) => boolean} */ wanted) => own.filter(wanted).map((peer) => peer.seconds);
  const library = measured.best_library_seconds ?? 0;
  const figures = {
    gigabytesPerSecond: bytes / seconds / 1e9,
    shareOfCopy: bytes / seconds / 1e9 / copy,
    teraflops: flops / seconds / 1e12,
    timesEager: ratioTo(timesOf((peer) => peer.peer === "eager")),
    timesCompile: ratioTo(timesOf((peer) => peer.peer === "compile")),
    shareOfLibrary: ratioTo(library > 0 ? [library] : []),
    shareOfSdpa: ratioTo(timesOf((peer) => peer.peer.startsWith("sdpa"))),
  };
  const peersOf = Object.fromEntries(own.map((peer) => [peer.peer, peer.seconds]));
  return { ...measured, ...figures, peers: peersOf, targets: targetsOf(measured.case, figures) };
}

/** Of each target of a case: what it wants, what came, and whether that is enough; null where it was not measured. */
function targetsOf(/** @type {string} */ name, /** @type {Record<string, number | null>} */ figures) {
  const reach = TARGETS.find((target) => target.cases.includes(name))?.reach ?? {};
  return Object.entries(reach).map(([figure, wanted]) => {
    const got = figures[figure] ?? null;
    return { figure, wanted, got, met: got === null ? null : got >= wanted };
  });
}

/** The rows of the table: case, shape, what was reached, and targets with a mark. */
export function tableRows(/** @type {ReturnType<typeof assemble>} */ report) {
  const mark = (/** @type {boolean | null} */ met) => (met === null ? "not measured" : met ? "met" : "MISSED");
  return report.results.map((each) => [
    each.case,
    `${each.shape} ${each.dtype}`,
    (each.seconds * 1e6).toFixed(0),
    each.gigabytesPerSecond.toFixed(0),
    each.flops > 0 ? each.teraflops.toFixed(0) : "",
    each.right ? "right" : "WRONG",
    each.targets
      .map(({ figure, wanted, got, met }) => `${figure} ${got === null ? "-" : got.toFixed(2)}/${wanted} ${mark(met)}`)
      .join("; "),
  ]);
}
