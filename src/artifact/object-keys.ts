import { isAdapterFile } from "./adapter-files.ts";
import { ArtifactError } from "./errors.ts";
import { memberPath } from "./member-path.ts";
import type { SourceContext } from "./source.ts";

/** More objects than any adapter has, and any model. */
export const LISTED_KEYS_MAX = 10_000;

/** The prefix of all keys in a folder: with its slash, so that `sql` does not mean `sql-old` too. */
export const folderPrefix = (prefix: string): string => (prefix === "" ? "" : `${prefix}/`);

/** An adapter's files lie directly in their folder; what lies deeper belongs to its training. */
export const delimiterFor = (content: SourceContext["content"]): "/" | undefined =>
  content === "adapter" ? "/" : undefined;

/**
 * Picks the files to be fetched out of a store's listing, and refuses the whole of it for one key that
 * could not lie in a folder: somebody who can write such a key means harm, or the artifact is not whole.
 * @param keys names below the folder; those of deeper folders end in a slash.
 * @returns path and object of each wanted file.
 * @throws ArtifactError InvalidArtifact
 */
export function pickObjects<T>(
  keys: readonly (readonly [string, T])[],
  { content, settings }: Pick<SourceContext, "content" | "settings">,
): (readonly [string, T])[] {
  const taken = new Map<string, { readonly path: string; readonly isFolder: boolean }>();
  const take = (path: string, isFolder: boolean) => {
    const folded = path.normalize("NFC").toLowerCase();
    const before = taken.get(folded);
    if (before !== undefined && before.path !== path) {
      const other = JSON.stringify(before.path.slice(0, 200));
      throw refused(path, `and ${other} are one name where case does not count`);
    }
    if (before !== undefined && before.isFolder !== isFolder) {
      throw refused(path, "is a file and a folder at once");
    }
    taken.set(folded, { path, isFolder });
  };
  return keys.filter(([key]) => {
    // Consoles mark a folder by an empty object of its name.
    if (key === "") return false;
    const isFolder = key.endsWith("/");
    const path = isFolder ? key.slice(0, -1) : key;
    if (path === "" || memberPath(path) !== path) throw refused(key, "is not a path inside it");
    for (let end = path.indexOf("/"); end >= 0; end = path.indexOf("/", end + 1)) {
      take(path.slice(0, end), true);
    }
    take(path, isFolder);
    if (isFolder) return false;
    return content === "model" || isAdapterFile(path, settings.allowPickle);
  });
}

function refused(key: string, why: string): ArtifactError {
  return new ArtifactError(
    "InvalidArtifact",
    `The artifact is refused: its object ${JSON.stringify(key.slice(0, 200))} ${why}; remove or rename it`,
  );
}

export function tooManyKeys(what: string): ArtifactError {
  return new ArtifactError(
    "InvalidArtifact",
    `${what} holds more than ${LISTED_KEYS_MAX} objects: name the folder of one adapter`,
  );
}

export const nothingIn = (what: string): ArtifactError =>
  new ArtifactError("NotFound", `Not found: nothing lies in ${what}; check the artifact URL`);
