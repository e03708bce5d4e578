import { parseArtifactUrl } from "#api/artifact-url.ts";
import { UserError } from "#base/errors.ts";

/**
 * What an engine without a sidecar is told to load: a hub id that it downloads itself, a path or URL as it is.
 * @throws UserError for a store that only the sidecar can read.
 */
export function directPath(artifactUrl: string): string {
  const url = parseArtifactUrl(artifactUrl);
  switch (url.kind) {
    case "huggingface":
      return url.repo;
    case "path":
      return url.path;
    case "http":
      return url.url;
    default:
      throw new UserError(
        `${url.kind}:// needs the runtime sidecar: add a container named aibrix-runtime to the pods and start the controller with --enable-runtime-sidecar`,
      );
  }
}
