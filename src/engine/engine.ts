/** The edge to one inference engine: what it holds, and how that is changed. One file an engine. */

/** Where an engine listens and what it asks of callers. */
export interface EngineTarget {
  /** `http://<pod address>:<port>`. */
  readonly url: string;
  /** Sent as a bearer token; never logged. */
  readonly apiKey: string | undefined;
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

/** Every method rejects with an EngineError. */
export interface Engine {
  inventory(target: EngineTarget, signal: AbortSignal): Promise<HeldAdapter[]>;
  load(target: EngineTarget, request: LoadRequest, signal: AbortSignal): Promise<void>;
  /** Succeeds also when the engine does not know the adapter. */
  unload(target: EngineTarget, name: string, signal: AbortSignal): Promise<void>;
}
