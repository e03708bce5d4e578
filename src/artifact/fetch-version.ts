import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import type { Semaphore } from "#base/semaphore.ts";
import type { Log } from "#telemetry/log.ts";
import { ADAPTER_WEIGHTS } from "./adapter-files.ts";
import { checkReadable, withRetries } from "./download-file.ts";
import { ArtifactError, noSpace } from "./errors.ts";
import { fetchFiles } from "./fetch-files.ts";
import { memberPath } from "./member-path.ts";
import { checkPinnedSha256 } from "./pinned-sha256.ts";
import type { RangeBuffers } from "./read-ahead.ts";
import {
  type ArtifactSource,
  type Content,
  type Credentials,
  type Listing,
  type RemoteFile,
  SourceChangedError,
  type SourceSettings,
} from "./source.ts";
import { type Version, type VersionRecord, type VersionStore, versionId } from "./store.ts";
import { unpack } from "./unpack.ts";
import { validateAdapter, validateNames } from "./validate.ts";

/** How often a source may change under a download before it is given up. */
const CHANGES_MAX = 3;
/** Larger than any adapter, and any model. */
const BYTES_MAX: Record<Content, number> = { adapter: 64 * 2 ** 30, model: 4 * 2 ** 40 };
const MEMBERS_MAX = 10_000;
/** Left free beside what is to be written. */
const FREE_BYTES_MIN = 16 << 20;
/** How often a long download says in the log how far it is. */
const PROGRESS_LOG_MS = 10_000;

export interface DeliveryRequest {
  readonly name: string;
  readonly artifactUrl: string;
  readonly credentials?: Credentials | undefined;
  /** The engine's --max-lora-rank, when it is known. */
  readonly maxRank?: number | undefined;
  /** What the archive, or the weights in the folder, must hash to; lower case. */
  readonly sha256?: string | undefined;
  readonly onProgress?: (progress: DeliveryProgress) => void;
}

export interface DeliveryProgress {
  readonly bytesDone: number;
  /** Undefined when the source does not tell. */
  readonly bytesTotal: number | undefined;
}

/** What one root shares between its deliveries. */
export interface FetchContext {
  readonly content: Content;
  readonly settings: SourceSettings;
  readonly store: VersionStore;
  /** Files that are fetched at the same time, over all adapters. */
  readonly slots: Semaphore;
  readonly ranges: RangeBuffers;
  readonly clock: Clock;
  readonly log: Log;
}

/** @throws ArtifactError InvalidArtifact when the folder is no adapter that an engine could load. */
export async function validate(
  context: FetchContext,
  folder: string,
  request: DeliveryRequest,
): Promise<void> {
  if (context.content === "model") return;
  const { allowPickle } = context.settings;
  await validateAdapter(folder, { allowPickle, maxRank: request.maxRank });
}

/** Downloads, checks and publishes; lists again when the source changes meanwhile. */
export async function fetchVersion(
  context: FetchContext,
  source: ArtifactSource,
  first: Listing,
  request: DeliveryRequest,
  signal: AbortSignal,
): Promise<Version> {
  let listing = first;
  for (let changes = 0; ; changes++) {
    try {
      return await fetchListed(context, source, listing, request, signal);
    } catch (error) {
      if (!(error instanceof SourceChangedError)) throw error;
      if (changes >= CHANGES_MAX) {
        throw new ArtifactError(
          "Unreachable",
          `${error.message} again and again while it was read`,
        );
      }
      listing = await withRetries(() => source.list(signal), { clock: context.clock, signal });
    }
  }
}

async function fetchListed(
  context: FetchContext,
  source: ArtifactSource,
  listing: Listing,
  request: DeliveryRequest,
  signal: AbortSignal,
): Promise<Version> {
  const { store, settings } = context;
  const { name } = request;
  for (const file of listing.files) memberPath(file.path);
  if (!listing.archive && context.content === "adapter") {
    validateNames(
      listing.files.map((file) => file.path),
      settings,
    );
  }
  // Without an identity a half download could belong to other content: it gets a key of its own.
  const known = listing.identity ?? `${context.clock.now()}`;
  const staged = await store.stage(name, versionId(source.location, known));
  const got =
    (await takeShared(context, source, listing, { request, staged }, signal)) ??
    (await download(context, source, listing, { request, staged }, signal));
  try {
    await validate(context, got.folder, request);
    await checkPinnedSha256(got.folder, got.sha256, request.sha256);
  } catch (error) {
    // Continuing it would only end here again.
    await store.dropStaging(name);
    throw error;
  }
  if (signal.aborted) throw signal.reason;
  const id = versionId(source.location, got.identity);
  const before = await store.find(name, id);
  const record: VersionRecord = {
    location: source.location,
    identity: got.identity,
    ...(got.sha256 === undefined ? {} : { sha256: got.sha256 }),
    files: (await listTree(got.folder)).map((file) => {
      const sha256 = got.hashes.get(file.path);
      return sha256 === undefined ? file : { ...file, sha256 };
    }),
  };
  if (before !== undefined) await store.point(name, id);
  const version = before ?? (await store.publish(name, id, got.folder, record));
  await store.dropStaging(name);
  return version;
}

/** A staged artifact, whole. */
interface Staged {
  readonly folder: string;
  readonly identity: string;
  /** Of what the owner of the adapter can write down: the archive, or the weights. */
  readonly sha256: string | undefined;
  /** Of the files, as far as they are known. */
  readonly hashes: ReadonlyMap<string, string>;
}

/**
 * What another adapter has from the same source, or the cache has kept. Nobody gets there what he may
 * not read at the source, which is asked for the first byte of each file.
 */
async function takeShared(
  { store, log }: FetchContext,
  source: ArtifactSource,
  { identity, files }: Listing,
  { request, staged }: { request: DeliveryRequest; staged: string },
  signal: AbortSignal,
): Promise<Staged | undefined> {
  if (identity === undefined) return undefined;
  const record = await store.stageShared(versionId(source.location, identity), staged);
  if (record === undefined) return undefined;
  try {
    await Promise.all(files.map((file) => checkReadable(source, file, signal)));
  } catch (error) {
    await store.dropStaging(request.name);
    throw error;
  }
  const bytes = record.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  request.onProgress?.({ bytesDone: bytes, bytesTotal: bytes });
  log.info("Artifact is here already", { adapter: request.name, location: source.location });
  const hashes = record.files.flatMap(({ path, sha256 }) =>
    sha256 === undefined ? [] : [[path, sha256] as const],
  );
  return { folder: staged, identity, sha256: record.sha256, hashes: new Map(hashes) };
}

async function download(
  context: FetchContext,
  source: ArtifactSource,
  listing: Listing,
  { request, staged }: { request: DeliveryRequest; staged: string },
  signal: AbortSignal,
): Promise<Staged> {
  const { slots, ranges, clock, content, store } = context;
  const { files } = listing;
  await checkSpace(context, files, staged);
  const wantsSha256 =
    listing.identity === undefined || listing.archive || request.sha256 !== undefined;
  const limits = { bytesMax: BYTES_MAX[content], tooLarge: () => tooLarge(content), slots, ranges };
  const onProgress = progressOf(context, request);
  const { cache } = store;
  const found = await fetchFiles(
    { source, files, folder: staged, wantsSha256, limits, cache, clock, onProgress },
    signal,
  );
  const main = listing.archive ? 0 : files.findIndex(({ path }) => path === ADAPTER_WEIGHTS);
  const hashes = files.flatMap(({ path }, i) => {
    const sha256 = found[i];
    return sha256 === undefined || listing.archive ? [] : [[path, sha256] as const];
  });
  const unpackLimits = { unpackedBytesMax: BYTES_MAX[content], membersMax: MEMBERS_MAX };
  return {
    folder: listing.archive
      ? await unpack(staged, files[0]?.path ?? "", content, unpackLimits, signal)
      : staged,
    // The bytes stand for a source that has no name for its content.
    identity: listing.identity ?? createHash("sha256").update(found.join()).digest("hex"),
    sha256: found[main],
    hashes: new Map(hashes),
  };
}

/** Tells whoever asked for the artifact, and from time to time the log. */
function progressOf({ clock, log }: FetchContext, request: DeliveryRequest) {
  let saidAt = clock.now();
  return (at: DeliveryProgress) => {
    request.onProgress?.(at);
    if (clock.now() - saidAt < PROGRESS_LOG_MS) return;
    saidAt = clock.now();
    const { bytesDone: bytes, bytesTotal: of = "unknown" } = at;
    log.info("Downloading artifact", { adapter: request.name, bytes, of });
  };
}

/** Before the first byte; what a broken download left in `staged` has its room already. */
async function checkSpace(
  context: FetchContext,
  files: readonly RemoteFile[],
  staged: string,
): Promise<void> {
  const { store, content } = context;
  const needed = files.reduce((sum, file) => sum + (file.sizeBytes ?? 0), 0);
  if (needed > BYTES_MAX[content]) throw tooLarge(content);
  const here = (await listTree(staged)).reduce((sum, file) => sum + file.sizeBytes, 0);
  const missing = Math.max(0, needed - here);
  const lacking = missing + FREE_BYTES_MIN - (await store.freeBytes());
  // Files that no adapter has are worth less than one that is wanted.
  if (lacking > 0 && (await store.cache.evict(lacking)) < lacking) throw noSpace(store.root);
}

const tooLarge = (content: Content) =>
  new ArtifactError(
    "InvalidArtifact",
    `The artifact is larger than the ${BYTES_MAX[content]} bytes allowed for one ${content}`,
  );

async function listTree(folder: string, prefix = ""): Promise<VersionRecord["files"]> {
  const files: { path: string; sizeBytes: number }[] = [];
  for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
    const path = join(prefix, entry.name);
    if (entry.isDirectory()) files.push(...(await listTree(folder, path)));
    else files.push({ path, sizeBytes: (await stat(join(folder, path))).size });
  }
  return files;
}
