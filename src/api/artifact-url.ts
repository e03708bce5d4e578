import { UserError } from "#base/errors.ts";

/** Where an adapter's files come from, taken apart. */
export type ArtifactUrl =
  | { kind: "huggingface"; repo: string; revision: string | undefined }
  | { kind: "s3" | "gs" | "tos"; bucket: string; prefix: string }
  | { kind: "http"; url: string }
  | { kind: "path"; path: string };

/** The schemes that `spec.artifactURL` may begin with; an absolute path is the other possibility. */
const ARTIFACT_SCHEMES = [
  "huggingface://",
  "hf://",
  "s3://",
  "gs://",
  "gcs://",
  "tos://",
  "http://",
  "https://",
] as const;

/** Longest `artifactURL` that the schema accepts; presigned URLs run to about 2,000 characters. */
export const ARTIFACT_URL_LENGTH_MAX = 4096;

const SUPPORTED = `use ${ARTIFACT_SCHEMES.join(", ")} or an absolute path`;

/**
 * Takes an artifact URL apart.
 * @throws UserError that names what is wrong and what would be right; the URL's userinfo and query are never in it.
 */
export function parseArtifactUrl(text: string): ArtifactUrl {
  if (text.length > ARTIFACT_URL_LENGTH_MAX) {
    throw new UserError(`artifactURL is longer than ${ARTIFACT_URL_LENGTH_MAX} characters`);
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  if (/[\u0000-\u001f\u007f]/.test(text)) {
    throw new UserError("artifactURL contains a control character");
  }
  if (text.startsWith("/")) return parsePath(text);
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\/(.*)$/s.exec(text);
  if (scheme === null) throw new UserError(`artifactURL has no scheme: ${SUPPORTED}`);
  const name = (scheme[1] as string).toLowerCase();
  const rest = scheme[2] as string;
  switch (name) {
    case "huggingface":
    case "hf":
      return parseHuggingFace(rest);
    case "s3":
    case "tos":
      return parseBucket(name, rest);
    case "gs":
    case "gcs":
      return parseBucket("gs", rest);
    case "http":
    case "https":
      return parseHttp(text);
    default:
      throw new UserError(`artifactURL scheme ${name}:// is not supported: ${SUPPORTED}`);
  }
}

function parsePath(text: string): ArtifactUrl {
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new UserError("artifactURL path must not contain ..");
  if (parts.length === 0) throw new UserError("artifactURL / names no folder");
  return { kind: "path", path: `/${parts.join("/")}` };
}

function parseHuggingFace(rest: string): ArtifactUrl {
  const match = /^([^/@?#]+)\/([^/@?#]+)\/?(?:@(.+))?$/.exec(rest);
  const [, owner = "", name = "", revision] = match ?? [];
  // The hub's own rule for names (letters, digits, `-`, `_`, `.`; 96 characters).
  const isName = (part: string) => /^[\w.-]{1,96}$/.test(part) && !/^\.+$/.test(part);
  if (!isName(owner) || !isName(name)) {
    throw new UserError(
      "artifactURL must be huggingface://<organisation>/<repository>, optionally followed by @<revision>",
    );
  }
  return { kind: "huggingface", repo: `${owner}/${name}`, revision };
}

function parseBucket(kind: "s3" | "gs" | "tos", rest: string): ArtifactUrl {
  const slash = rest.indexOf("/");
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  const prefix = slash < 0 ? "" : rest.slice(slash + 1);
  if (!/^[a-zA-Z0-9][a-zA-Z0-9._-]{1,221}$/.test(bucket)) {
    throw new UserError(
      `artifactURL must be ${kind}://<bucket>/<path>; the bucket's name is not valid`,
    );
  }
  if (prefix.split("/").some((part) => part === ".." || part === ".")) {
    throw new UserError("artifactURL must not contain . or .. as a path element");
  }
  return { kind, bucket, prefix: prefix.replace(/^\/+/, "").replace(/\/+$/, "") };
}

function parseHttp(text: string): ArtifactUrl {
  if (!URL.canParse(text)) throw new UserError("artifactURL is not a valid http(s) URL");
  const url = new URL(text);
  if (url.hostname === "") throw new UserError("artifactURL names no host");
  return { kind: "http", url: text };
}

/** The URL as it may appear in logs, events and errors: without userinfo, query and fragment. */
export function redactArtifactUrl(text: string): string {
  if (text.startsWith("/")) return text;
  // Browsers' rules make a URL of what has no slashes behind its scheme, too.
  if (!/^https?:/i.test(text) || !URL.canParse(text)) {
    return text.replace(/[?#].*$/s, "").replace(/^([a-z][a-z0-9+.-]*:(?:\/\/)?)[^/]*@/i, "$1");
  }
  const url = new URL(text);
  url.username = "";
  url.password = "";
  url.search = "";
  url.hash = "";
  return url.toString();
}
