/**
 * The edges to what serves adapters: an inference engine itself (`Engine`, one file each), or the runtime sidecar beside it (`Runtime`),
 * which fetches the files first. Every method rejects with an EngineError, or with the signal's reason.
 */

/** Where an engine or a sidecar listens and what it asks of callers. */
export interface EngineTarget {
  /** `http://<pod address>:<port>`. */
  readonly url: string;
  /** Sent as a bearer token; never logged. */
  readonly apiKey: string | undefined;
  /** Called right before each request that changes something, of which one load may need several; throws when it must not be sent. */
  readonly beforeChange?: () => void;
}

/** An adapter that an engine lists. */
export interface HeldAdapter {
  readonly name: string;
  /** The path or hub id that it was loaded from, as the engine tells it. */
  readonly root: string | undefined;
}

export interface LoadRequest {
  readonly name: string;
  /** A path that the engine can read, or a hub id that it can download. */
  readonly path: string;
  /** The engine lists the name from another path: it is to be replaced. */
  readonly replace: boolean;
}

export interface Engine {
  inventory(target: EngineTarget, signal: AbortSignal): Promise<HeldAdapter[]>;
  load(target: EngineTarget, request: LoadRequest, signal: AbortSignal): Promise<void>;
  /** Succeeds also when the engine does not know the adapter. */
  unload(target: EngineTarget, name: string, signal: AbortSignal): Promise<void>;
}

/** The engines that the label `model.aibrix.ai/engine` can name. */
export type EngineKind = "vllm" | "sglang";

/** What the sidecar is asked to fetch and load. */
export interface ArtifactRequest {
  readonly name: string;
  readonly artifactUrl: string;
  readonly credentials: Readonly<Record<string, string>> | undefined;
  readonly additionalConfig: Readonly<Record<string, string>> | undefined;
  /** What an engine could load without our files; for sidecars of before artifact URLs. Undefined: nothing. */
  readonly directPath: string | undefined;
  /** Hears how far a download is, where the sidecar tells. */
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** How far a download is. */
export interface LoadProgress {
  readonly bytesDone: number;
  /** Undefined: the source does not tell. */
  readonly bytesTotal: number | undefined;
}

export interface Runtime extends Engine {
  /** Resolves to the path from which the engine loaded it, when the sidecar tells. */
  loadArtifact(
    target: EngineTarget,
    request: ArtifactRequest,
    signal: AbortSignal,
  ): Promise<string | undefined>;
}
