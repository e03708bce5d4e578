import type { ArtifactUrl } from "#api/artifact-url.ts";
import { ArtifactError } from "./errors.ts";
import type { ArtifactSource, SourceContext } from "./source.ts";

/** Absolute paths are used where they lie; everything else has a source. */
export type RemoteUrl = Exclude<ArtifactUrl, { kind: "path" }>;

/**
 * The source for each scheme. One file a source, loaded when it is first needed: the SDKs behind some
 * of them are heavier than the sidecar itself.
 * @throws ArtifactError
 */
export async function openSource(url: RemoteUrl, context: SourceContext): Promise<ArtifactSource> {
  switch (url.kind) {
    case "huggingface": {
      const { huggingFaceSource } = await import("./huggingface.ts");
      return huggingFaceSource(url.repo, url.revision, context);
    }
    case "http": {
      const { httpSource } = await import("./http.ts");
      return httpSource(url.url, context);
    }
    case "s3":
    case "gs":
    case "tos":
      throw new ArtifactError(
        "Unsupported",
        `${url.kind}:// is not supported by this sidecar yet: use huggingface://, http(s):// or an absolute path`,
      );
  }
}
