import type { Log } from "#telemetry/log.ts";
import type { HttpClient } from "./http-client.ts";

/** Keys and values as in the user's Secret. Held for one delivery, never logged. */
export type Credentials = Readonly<Record<string, string>>;

/** One file that a source offers. */
export interface RemoteFile {
  /** Where it belongs below the adapter's folder: `/`-separated, confined. */
  readonly path: string;
  /** Undefined when the store does not tell in advance. */
  readonly sizeBytes: number | undefined;
  /** What the store says that the content hashes to. */
  readonly sha256: string | undefined;
  /** Strong enough to continue a half download with; undefined: start anew each time. */
  readonly validator: string | undefined;
}

/** What a source holds now. */
export interface Listing {
  /**
   * Names the content: as long as it is the same, so are the bytes. Undefined when the store tells
   * nothing to know them by; then each delivery downloads, and the content itself decides.
   */
  readonly identity: string | undefined;
  readonly files: readonly RemoteFile[];
  /** The one file is a tar or zip to be unpacked. */
  readonly archive: boolean;
}

/** The bytes of a file from `startsAt` on: where asked, or 0 when the store had to begin anew. */
export interface FileBytes {
  readonly startsAt: number;
  /** Of the whole file, when the answer tells. */
  readonly sizeBytes: number | undefined;
  readonly sha256: string | undefined;
  readonly stream: AsyncIterable<Uint8Array>;
}

/** An artifact that has to be fetched. Each kind of store is one file that makes one of these. */
export interface ArtifactSource {
  /** The URL as far as it names the content: without userinfo, query and revision. */
  readonly location: string;
  /** The listing's identity when it is known without asking, such as a full commit hash. */
  readonly pinned: string | undefined;
  /** @throws ArtifactError */
  list(signal: AbortSignal): Promise<Listing>;
  /**
   * Opens a listed file. `fromByte` above 0 continues a half download.
   * @throws ArtifactError; SourceChangedError when the content is no longer what was listed.
   */
  read(file: RemoteFile, fromByte: number, signal: AbortSignal): Promise<FileBytes>;
}

/** What changed under a download: list again. */
export class SourceChangedError extends Error {
  override readonly name = "SourceChangedError";
}

/** Settings of the stores, from the environment by their conventional names. */
export interface SourceSettings {
  /** Base URL of the Hugging Face hub. */
  readonly huggingFaceEndpoint: string;
  /** Serves when neither the request nor the mounted credentials bring one. */
  readonly huggingFaceToken: string | undefined;
  /** Allows http(s) artifacts at loopback, link-local and metadata addresses. */
  readonly allowPrivateAddresses: boolean;
  /** Accepts weights as pickle, which can run code when an engine loads them. */
  readonly allowPickle: boolean;
}

/** `adapter`: a LoRA adapter, its own files only, validated. `model`: everything that is there, as it is. */
export type Content = "adapter" | "model";

/** What a source may use. */
export interface SourceContext {
  readonly content: Content;
  readonly credentials: Credentials;
  readonly settings: SourceSettings;
  readonly http: HttpClient;
  readonly log: Log;
}
