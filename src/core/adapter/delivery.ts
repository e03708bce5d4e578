/** The way of an adapter's files to the engine of one pod. */
import { parseArtifactUrl } from "#api/artifact-url.ts";
import type { ModelAdapterSpec } from "#api/model-adapter.ts";
import { ADAPTER_VOLUME } from "#api/names.ts";
import { UserError } from "#base/errors.ts";

/** What a pod offers for the delivery. */
export interface DeliveryPlace {
  /** The runtime sidecar is there and is to be used. */
  readonly hasRuntime: boolean;
  /** Sidecar and engine see the same adapters' folder. */
  readonly sharesFolder: boolean;
}

export type Delivery =
  /** The engine is told what to load, by us or by the sidecar. */
  | { readonly form: "direct"; readonly via: "engine" | "runtime"; readonly path: string }
  /** The sidecar fetches the artifact. `directPath`: for a sidecar too old to do so. */
  | { readonly form: "artifact"; readonly directPath: string | undefined };

/**
 * How an adapter gets on a pod.
 * @throws UserError when there is no way, naming what is missing.
 */
export function deliveryOf(spec: ModelAdapterSpec, place: DeliveryPlace): Delivery {
  const path = directPath(spec);
  const isPath = spec.artifactURL.startsWith("/");
  if (!place.hasRuntime) {
    if (path !== undefined) return { form: "direct", via: "engine", path };
    throw new UserError(
      `${whatNeedsRuntime(spec)} needs the runtime sidecar: add a container named aibrix-runtime to the pods and start the controller with --enable-runtime-sidecar`,
    );
  }
  if (isPath && path !== undefined) return { form: "direct", via: "runtime", path };
  if (place.sharesFolder) return { form: "artifact", directPath: path };
  // Engines read the hub themselves; every other source comes as files that they would not see.
  const isHub = parseArtifactUrl(spec.artifactURL).kind === "huggingface";
  if (isHub && path !== undefined) return { form: "direct", via: "runtime", path };
  throw new UserError(
    `no shared volume ${ADAPTER_VOLUME}: mount one volume at the same path in the engine's container and in aibrix-runtime`,
  );
}

/** What an engine is given to load the adapter by itself: a hub id, a path, a URL. Undefined when it cannot. */
export function directPath(spec: ModelAdapterSpec): string | undefined {
  if (spec.credentialsSecretRef !== undefined) return undefined;
  let url: ReturnType<typeof parseArtifactUrl>;
  try {
    url = parseArtifactUrl(spec.artifactURL);
  } catch (error) {
    // Admission refuses such a URL; one that came in all the same is told of by whoever loads it.
    if (error instanceof UserError) return undefined;
    throw error;
  }
  switch (url.kind) {
    case "huggingface":
      // Engines take the newest revision, whatever they are told.
      return url.revision === undefined ? url.repo : undefined;
    case "path":
      return url.path;
    case "http":
      return url.url;
    default:
      return undefined;
  }
}

function whatNeedsRuntime(spec: ModelAdapterSpec): string {
  const url = parseArtifactUrl(spec.artifactURL);
  if (spec.credentialsSecretRef !== undefined) return "credentialsSecretRef";
  return url.kind === "huggingface" ? "a revision of a repository" : `${url.kind}://`;
}
