import type { Clock } from "#base/clock.ts";
import type { Log } from "#telemetry/log.ts";
import type { Digest } from "./digest.ts";
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
  readonly digest: Digest | undefined;
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

/** Which bytes of a file: from one, up to another that is not among them; undefined: to the end. */
export interface ByteRange {
  readonly from: number;
  readonly to?: number | undefined;
}

/** The bytes of a file from `startsAt` on: where asked, or 0 when the store had to begin anew. */
export interface FileBytes {
  readonly startsAt: number;
  /** Where they end, when the store answers with a part; undefined: at the end of the file. */
  readonly endsAt: number | undefined;
  /** Of the whole file, when the answer tells. */
  readonly sizeBytes: number | undefined;
  readonly digest: Digest | undefined;
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
   * What the store tells of a listed file only when it is asked for it; called before the file is fetched.
   * @throws ArtifactError; SourceChangedError
   */
  describe?(file: RemoteFile, signal: AbortSignal): Promise<RemoteFile>;
  /**
   * Opens a listed file. A range that does not begin at 0 continues a half download.
   * @throws ArtifactError; SourceChangedError when the content is no longer what was listed.
   */
  read(file: RemoteFile, range: ByteRange, signal: AbortSignal): Promise<FileBytes>;
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
  readonly s3: S3Settings;
  readonly gcs: GcsSettings;
  readonly tos: TosSettings;
  /** Allows http(s) artifacts at loopback, link-local and metadata addresses. */
  readonly allowPrivateAddresses: boolean;
  /** Accepts weights as pickle, which can run code when an engine loads them. */
  readonly allowPickle: boolean;
}

export interface S3Settings {
  /** Of a store that is not AWS. */
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
}

export interface GcsSettings {
  /** Base URL of the JSON API; an emulator's is asked without credentials when there are none. */
  readonly endpoint: string | undefined;
  /** Base URL of the metadata server, which has the tokens of workload identity. */
  readonly metadataUrl: string;
  /** File with a service account's key, the platform's own way to name one. */
  readonly keyFile: string | undefined;
}

export interface TosSettings {
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
  readonly accessKey: string | undefined;
  readonly secretKey: string | undefined;
}

/** `adapter`: a LoRA adapter, its own files only, validated. `model`: everything that is there, as it is. */
export type Content = "adapter" | "model";

/** What a source may use. */
export interface SourceContext {
  readonly content: Content;
  readonly credentials: Credentials;
  /** They came with the request: then keys that are missing among them are a mistake. */
  readonly areCredentialsGiven: boolean;
  readonly settings: SourceSettings;
  readonly http: HttpClient;
  readonly clock: Clock;
  readonly log: Log;
}
