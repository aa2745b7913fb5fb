// The error codes that a source file can give, read from the file itself, so that a code without a fuzz case is noticed. Every literal in
// capitals counts, unless it is named here as something else.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));

/** Literals in capitals that are no error codes. */
export const NOT_CODES: ReadonlySet<string> = new Set([
  ...["CAUSAL_LM", "SEQ_CLS", "LORA", "LORA_DROPOUT"], // fields of adapter_config.json, and a warning
  "LABEL_0", // of config.json
  ...["BF16", "BOOL"], // dtypes of safetensors
  ...["ENOENT", "ENOTDIR", "ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EINVAL", "ENOTSUP", "EEXIST", "EPIPE"], // of the system
  ...["SIGKILL", "SIGINT", "JSON", "YAML"],
  ...["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"], // of the environment
  "ERR_SCRIPT_EXECUTION_TIMEOUT", // of Node's vm
]);

const LITERAL = /"([A-Z][A-Z0-9]{3,}(?:_[A-Z0-9]+)*|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"/g;

function literals(source: string): string[] {
  const code = source.replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, ""); // comments stand on lines of their own
  return [...code.matchAll(LITERAL)].map((match) => match[1]!);
}

export const codesIn = (source: string): Set<string> =>
  new Set(literals(source).filter((literal) => !NOT_CODES.has(literal)));

/** The codes of source files, by their paths in the repository. */
export function codesOf(files: readonly string[]): Set<string> {
  return new Set(files.flatMap((file) => [...codesIn(readFileSync(join(root, file), "utf8"))]));
}

/** Files of a folder with a code in them. */
export function filesWithCodes(folder: string): string[] {
  const names = readdirSync(join(root, folder), { recursive: true }).map(String);
  const files = names.filter((name) => /\.(ts|mjs|cc|h)$/.test(name)).map((name) => join(folder, name));
  return files.filter((file) => codesOf([file]).size > 0).sort();
}

/** The named literals that no file under these folders has. */
export function staleLiterals(folders: readonly string[]): string[] {
  const all = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true })
      .map(String)
      .filter((name) => /\.(ts|mjs|cc|h)$/.test(name))
      .flatMap((name) => literals(readFileSync(join(root, folder, name), "utf8"))),
  );
  const found = new Set(all);
  return [...NOT_CODES].filter((literal) => !found.has(literal));
}
