import type { ArtifactUrl } from "#api/artifact-url.ts";
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
    case "s3": {
      const { s3Source } = await import("./s3.ts");
      return s3Source(url, context);
    }
    case "gs": {
      const { gcsSource } = await import("./gcs.ts");
      return gcsSource(url, context);
    }
    case "tos": {
      const { tosSource } = await import("./tos.ts");
      return tosSource(url, context);
    }
  }
}
