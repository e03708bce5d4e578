/**
 * What makes a container's words true on one machine: its file system and its loopback are the
 * machine's, so folders and loopback addresses in `command`, `args` and env values are rewritten.
 */

/** Where a volume is mounted in the container, and the folder that stands for it on this machine. */
export interface MountedFolder {
  readonly mountPath: string;
  readonly folder: string;
}

/**
 * A loopback word stands alone: no letter, digit, `_`, `-` or `.`+letter touches it, so that
 * `my-localhost`, `localhost.example`, `10.0.0.0` and `127.0.0.10` keep their meaning. A single `/`
 * before it makes it part of a path (`/etc/localhost`), `//` makes it the host of a URL. A `/` and
 * digits after a bare address make it a network (`127.0.0.1/8`).
 */
const LOOPBACK =
  /(?<![\w.-]|(?<!\/)\/)(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?![\w-]|\.\w)(?!(?<!\/\/(?:localhost|127\.0\.0\.1|0\.0\.0\.0))\/\d)/g;

/**
 * Replaces `localhost`, `127.0.0.1` and `0.0.0.0` by the pod's own address. They count as whole
 * words only, in lower case; other spellings of loopback (`::1`, `[::]`, `127.0.0.2`) are left alone.
 *
 * @example substituteLoopback("http://localhost:8000/v1", "127.20.0.5") // "http://127.20.0.5:8000/v1"
 */
export function substituteLoopback(text: string, podAddress: string): string {
  return text.replace(LOOPBACK, podAddress);
}

const escapeForRegExp = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const withoutTrailingSlash = (path: string) => (path.length > 1 ? path.replace(/\/+$/, "") : path);

/**
 * Replaces each mount path by its folder where it stands as a whole path or as the beginning of
 * one: `/data`, `/data/x`, `--dir=/data`, `a:/data`, `file:///data`; not in `/var/data`,
 * `/database`, `http://host/data`. Of nested mounts the longest wins; nothing is replaced twice.
 */
export function substitutePaths(text: string, mounts: readonly MountedFolder[]): string {
  const folders = new Map(
    mounts
      .map((mount) => [withoutTrailingSlash(mount.mountPath), mount.folder] as const)
      .filter(([path]) => path.length > 1),
  );
  if (folders.size === 0) return text;
  const paths = [...folders.keys()].sort((a, b) => b.length - a.length).map(escapeForRegExp);
  const pattern = new RegExp(
    `(?:(?<![\\w./-])|(?<=://))(?:${paths.join("|")})(?![\\w-]|\\.\\w)`,
    "g",
  );
  return text.replace(pattern, (path) => folders.get(path) ?? path);
}

/** Both substitutions; folders first, because a folder never contains a loopback word of its own. */
export function substitute(
  text: string,
  context: { podAddress: string; mounts: readonly MountedFolder[] },
): string {
  return substitutePaths(substituteLoopback(text, context.podAddress), context.mounts);
}

/**
 * Kubernetes' `$(NAME)` references: a known name is replaced, an unknown one stays as it is, `$$`
 * is one `$`, so `$$(NAME)` stays literal.
 */
export function expandReferences(text: string, values: ReadonlyMap<string, string>): string {
  return text.replace(/\$\$|\$\(([^()]*)\)/g, (match, name: string | undefined) => {
    if (name === undefined) return "$";
    return values.get(name) ?? match;
  });
}
