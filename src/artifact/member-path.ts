import { ArtifactError } from "./errors.ts";

const PATH_LENGTH_MAX = 1024;
const DEPTH_MAX = 32;

/**
 * The name of a file inside an artifact as a path below the adapter's folder; empty for the folder itself.
 * @throws ArtifactError InvalidArtifact for a name that is absolute, climbs, or is no name at all.
 */
export function memberPath(name: string): string {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  const isBad =
    name.startsWith("/") ||
    // Drive letters, alternate streams, and separators of other systems.
    /^[a-zA-Z]:/.test(name) ||
    name.includes("\\") ||
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
    /[\u0000-\u001f\u007f]/.test(name) ||
    parts.includes("..") ||
    parts.length > DEPTH_MAX ||
    name.length > PATH_LENGTH_MAX;
  if (!isBad) return parts.join("/");
  throw new ArtifactError(
    "InvalidArtifact",
    `The artifact is refused: ${JSON.stringify(name.slice(0, 200))} is not a path inside it`,
  );
}
