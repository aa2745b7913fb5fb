// The data of a run that goes on: what its checkpoint says of each source (the hub's commit, and a hash of the rows) against what was read
// now. Rows that count and stand in another place are other data. Leaves out reading: see data/source.ts.
import type { SourceReport } from "../data/source.js";
import { InputError } from "../errors.js";
import type { Resumption } from "./run.js";
import type { SourceMark } from "./run-state.js";

/** Characters of a hash that a message shows. */
const SHOWN = 12;

/** What a checkpoint keeps of a source that was read. */
export function markOf({ source, rows, sha256, commit }: SourceReport): SourceMark {
  return { source, rows, sha256, ...(commit !== undefined && { commit }) };
}

/** The commits that the sources of a run that goes on were read at, by their names. */
export function commitsOf(resume: Resumption | undefined): ReadonlyMap<string, string> {
  const marks = resume?.checkpoint?.state.data ?? [];
  return new Map(marks.flatMap(({ source, commit }) => (commit === undefined ? [] : [[source, commit] as const])));
}

/** What to say of the data that a run goes on with. Throws InputError RESUME_DATA for other data, unless they are allowed. */
export function checkData(resume: Resumption | undefined, now: readonly SourceMark[]): readonly string[] {
  const state = resume?.checkpoint?.state;
  if (state === undefined) return [];
  const { data } = state;
  if (data === undefined) {
    return now.length === 0
      ? []
      : ["the checkpoint has no hash of the data, so that nobody knows whether they changed"];
  }
  const faults = now.flatMap((mark, i) => (data[i]?.sha256 === mark.sha256 ? [] : [faultOf(data[i], mark)]));
  if (resume?.allowInexact === true) return faults.map((fault) => `not exact: ${fault}`);
  if (faults.length === 0) return [];
  const advice = "put the data back as they were, or go on with as many other rows: --allow-inexact-resume";
  throw new InputError("RESUME_DATA", faults.map((fault) => `[train --resume] ${fault}; ${advice}`).join("\n"));
}

const faultOf = (before: SourceMark | undefined, now: SourceMark): string =>
  `${now.source}: expected the rows that the run began with, ${before ? show(before) : "none"}, got ${show(now)}`;

const show = ({ rows, sha256, commit }: SourceMark): string =>
  `${rows} with SHA-256 ${sha256.slice(0, SHOWN)}...${commit === undefined ? "" : ` of commit ${commit}`}`;
