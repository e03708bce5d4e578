import { createHash } from "node:crypto";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseArtifactUrl, redactArtifactUrl } from "#api/artifact-url.ts";
import type { Clock } from "#base/clock.ts";
import { UserError } from "#base/errors.ts";
import { Semaphore } from "#base/semaphore.ts";
import type { Log } from "#telemetry/log.ts";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from "./adapter-files.ts";
import { readCredentials } from "./credentials.ts";
import { withRetries } from "./download-file.ts";
import { ArtifactError, isNoSpace, noSpace } from "./errors.ts";
import { fetchFiles } from "./fetch-files.ts";
import type { HttpClient } from "./http-client.ts";
import { memberPath } from "./member-path.ts";
import { isVisibleFolder } from "./path.ts";
import { checkPinnedSha256 } from "./pinned-sha256.ts";
import { RangeBuffers } from "./read-ahead.ts";
import {
  type ArtifactSource,
  type Content,
  type Credentials,
  type Listing,
  type RemoteFile,
  SourceChangedError,
  type SourceSettings,
} from "./source.ts";
import { openSource } from "./sources.ts";
import { type Version, type VersionRecord, VersionStore, versionId } from "./store.ts";
import { validateAdapter, validateNames } from "./validate.ts";

/** Files that are fetched at the same time, over all adapters. */
const PARALLEL_FILES_MAX = 8;
/** How often a source may change under a download before it is given up. */
const CHANGES_MAX = 3;
/** Half downloads are worth keeping for a retry, not for ever. */
const STAGING_AGE_MAX_MS = 3_600_000;
/** Larger than any adapter, and any model. */
const BYTES_MAX: Record<Content, number> = { adapter: 64 * 2 ** 30, model: 4 * 2 ** 40 };
const MEMBERS_MAX = 10_000;
/** Left free beside what is to be written. */
const FREE_BYTES_MIN = 16 << 20;
/** Where an archive is unpacked, beside its own file. */
const UNPACKED = "unpacked";

export interface DeliveryOptions {
  readonly content: Content;
  /** The folder in which everything is published under its name. */
  readonly root: string;
  readonly credentialsFolder: string;
  readonly settings: SourceSettings;
  readonly http: HttpClient;
  readonly clock: Clock;
  readonly log: Log;
}

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

export interface Delivered {
  /** What people and dashboards see: <root>/N, or the path itself for shared storage. */
  readonly localPath: string;
  /** What the engine is given: the folder of this very version. */
  readonly path: string;
  /** False: it was here already. */
  readonly fetched: boolean;
}

/**
 * Brings artifacts to local folders. The caller sees to it that one adapter is delivered once at a time;
 * different adapters may be delivered at the same time.
 */
export interface Delivery {
  readonly store: VersionStore;
  /** Prepares the root; must be called first. */
  open(): Promise<void>;
  /** @throws ArtifactError; the signal's reason. */
  deliver(request: DeliveryRequest, signal: AbortSignal): Promise<Delivered>;
}

export function createDelivery(options: DeliveryOptions): Delivery {
  const store = new VersionStore(options.root);
  const slots = new Semaphore(PARALLEL_FILES_MAX);
  const context = { ...options, store, slots, ranges: new RangeBuffers() };
  return {
    store,
    open: () => store.open(options.clock.now(), STAGING_AGE_MAX_MS),
    deliver: async (request, signal) => {
      try {
        return await deliver(context, request, signal);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (error instanceof UserError) throw new ArtifactError("InvalidRequest", error.message);
        if (!isNoSpace(error) && !isNoSpaceError(error)) throw error;
        // What was written is of no use now, and its room is needed.
        await store.dropStaging(request.name);
        throw isNoSpaceError(error) ? error : noSpace(store.root, error);
      }
    },
  };
}

const isNoSpaceError = (error: unknown) =>
  error instanceof ArtifactError && error.code === "NoSpace";

interface Context extends DeliveryOptions {
  readonly store: VersionStore;
  readonly slots: Semaphore;
  readonly ranges: RangeBuffers;
}

/** @throws ArtifactError InvalidArtifact when the folder is no adapter that an engine could load. */
async function validate(context: Context, folder: string, request: DeliveryRequest): Promise<void> {
  if (context.content === "model") return;
  const { allowPickle } = context.settings;
  await validateAdapter(folder, { allowPickle, maxRank: request.maxRank });
}

async function deliver(
  context: Context,
  request: DeliveryRequest,
  signal: AbortSignal,
): Promise<Delivered> {
  const { settings, store, log, http } = context;
  const localPath = store.linkPath(request.name);
  const url = parseArtifactUrl(request.artifactUrl);
  if (url.kind === "path") {
    if (await isVisibleFolder(url.path)) {
      await validate(context, url.path, request);
      await checkPinnedSha256(url.path, undefined, request.sha256);
    }
    return { localPath: url.path, path: url.path, fetched: false };
  }
  const credentials = await readCredentials(request.credentials, context.credentialsFolder);
  const source = await openSource(url, {
    content: context.content,
    credentials,
    areCredentialsGiven: credentials === request.credentials,
    settings,
    http,
    clock: context.clock,
    log,
  });
  const state = await look(context, source, request.name, signal);
  if (state.version !== undefined) {
    const { path, record } = state.version;
    await validate(context, path, request);
    await checkPinnedSha256(path, record.sha256, request.sha256);
    if (!state.isPublished) await store.point(request.name, state.version.id);
    return { localPath, path: state.version.path, fetched: false };
  }
  const shown = redactArtifactUrl(request.artifactUrl);
  log.info(`Downloading artifact from ${shown} to ${localPath}`, { adapter: request.name });
  const startedAt = context.clock.now();
  const version = await fetchVersion(context, source, state.listing, request, signal);
  log.info(`Successfully downloaded artifact for ${request.name}`, {
    adapter: request.name,
    seconds: (context.clock.now() - startedAt) / 1000,
    bytes: version.record.files.reduce((sum, file) => sum + file.sizeBytes, 0),
    path: version.path,
  });
  return { localPath, path: version.path, fetched: true };
}

type Look = { version: Version; isPublished: boolean } | { version: undefined; listing: Listing };

/** What the source holds now, and whether it is here already. */
async function look(
  context: Context,
  source: ArtifactSource,
  name: string,
  signal: AbortSignal,
): Promise<Look> {
  const { store, clock } = context;
  const current = await store.current(name);
  const isHere = async (identity: string | undefined): Promise<Look | undefined> => {
    if (identity === undefined) return undefined;
    const id = versionId(source.location, identity);
    if (current?.id === id) return { version: current, isPublished: true };
    const version = await store.find(name, id);
    return version === undefined ? undefined : { version, isPublished: false };
  };
  const pinned = await isHere(source.pinned);
  if (pinned !== undefined) return pinned;
  const fallback = current?.record.location === source.location ? current : undefined;
  let listing: Listing;
  try {
    const tries = fallback === undefined ? {} : { tries: 2 };
    listing = await withRetries(() => source.list(signal), { ...tries, clock, signal });
  } catch (error) {
    const isDown = error instanceof ArtifactError && error.code === "Unreachable";
    if (fallback === undefined || !isDown) throw error;
    // An engine that restarts while the store is away gets back what it had.
    context.log.warn("Source is unreachable, using the version that is here", {
      adapter: name,
      error: error.message,
    });
    return { version: fallback, isPublished: true };
  }
  return (await isHere(listing.identity)) ?? { version: undefined, listing };
}

/** Downloads, checks and publishes; lists again when the source changes meanwhile. */
async function fetchVersion(
  context: Context,
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
  context: Context,
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
  await checkSpace(context, listing.files, staged);
  const wantsSha256 =
    listing.identity === undefined || listing.archive || request.sha256 !== undefined;
  const { slots, ranges, clock, content } = context;
  const limits = { bytesMax: BYTES_MAX[content], tooLarge: () => tooLarge(content), slots, ranges };
  const onProgress = (at: DeliveryProgress) => request.onProgress?.(at);
  const { files } = listing;
  const hashes = await fetchFiles(
    { source, files, folder: staged, wantsSha256, limits, clock, onProgress },
    signal,
  );
  // Of what the owner of the adapter can write down: the archive, or the weights.
  const main = listing.archive ? 0 : files.findIndex(({ path }) => path === ADAPTER_WEIGHTS);
  const sha256 = hashes[main];
  // The bytes stand for a source that has no name for its content.
  const identity = listing.identity ?? createHash("sha256").update(hashes.join()).digest("hex");
  const folder = listing.archive ? await unpack(context, staged, listing, signal) : staged;
  try {
    await validate(context, folder, request);
    await checkPinnedSha256(folder, sha256, request.sha256);
  } catch (error) {
    // Continuing it would only end here again.
    await store.dropStaging(name);
    throw error;
  }
  if (signal.aborted) throw signal.reason;
  const id = versionId(source.location, identity);
  const before = await store.find(name, id);
  const record: VersionRecord = {
    location: source.location,
    identity,
    ...(sha256 === undefined ? {} : { sha256 }),
    files: await listTree(folder),
  };
  if (before !== undefined) await store.point(name, id);
  const version = before ?? (await store.publish(name, id, folder, record));
  await store.dropStaging(name);
  return version;
}

/** Before the first byte; what a broken download left in `staged` has its room already. */
async function checkSpace(
  context: Context,
  files: readonly RemoteFile[],
  staged: string,
): Promise<void> {
  const { store, content } = context;
  const needed = files.reduce((sum, file) => sum + (file.sizeBytes ?? 0), 0);
  if (needed > BYTES_MAX[content]) throw tooLarge(content);
  const here = (await listTree(staged)).reduce((sum, file) => sum + file.sizeBytes, 0);
  const missing = Math.max(0, needed - here);
  if (missing + FREE_BYTES_MIN > (await store.freeBytes())) throw noSpace(store.root);
}

const tooLarge = (content: Content) =>
  new ArtifactError(
    "InvalidArtifact",
    `The artifact is larger than the ${BYTES_MAX[content]} bytes allowed for one ${content}`,
  );

/** Unpacks the staged archive; returns the folder in it that is the adapter. */
async function unpack(
  context: Context,
  staged: string,
  listing: Listing,
  signal: AbortSignal,
): Promise<string> {
  const archive = join(staged, listing.files[0]?.path ?? "");
  const into = join(staged, UNPACKED);
  await rm(into, { recursive: true, force: true });
  await mkdir(into);
  const limits = { unpackedBytesMax: BYTES_MAX[context.content], membersMax: MEMBERS_MAX };
  try {
    // Loaded when the first archive comes: most adapters are folders.
    const { unpackArchive } = await import("./archive.ts");
    await unpackArchive(archive, into, limits, signal);
    const folder = context.content === "adapter" ? await adapterFolder(into) : into;
    await rm(archive);
    return folder;
  } catch (error) {
    if (!signal.aborted) await rm(staged, { recursive: true, force: true });
    throw error;
  }
}

/** People pack a folder or what is in it. */
const SEARCH_DEPTH_MAX = 3;

async function adapterFolder(top: string): Promise<string> {
  let level = [top];
  for (let depth = 0; depth <= SEARCH_DEPTH_MAX; depth++) {
    const below: string[] = [];
    const found: string[] = [];
    for (const folder of level) {
      const entries = await readdir(folder, { withFileTypes: true });
      if (entries.some((entry) => entry.isFile() && entry.name === ADAPTER_CONFIG)) {
        found.push(folder);
      }
      below.push(...entries.filter((e) => e.isDirectory()).map((e) => join(folder, e.name)));
    }
    if (found.length > 1) {
      throw new ArtifactError(
        "InvalidArtifact",
        `The archive holds ${found.length} adapters: pack one adapter's folder alone`,
      );
    }
    if (found[0] !== undefined) return found[0];
    level = below;
  }
  return top;
}

async function listTree(folder: string, prefix = ""): Promise<VersionRecord["files"]> {
  const files: { path: string; sizeBytes: number }[] = [];
  for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
    const path = join(prefix, entry.name);
    if (entry.isDirectory()) files.push(...(await listTree(folder, path)));
    else files.push({ path, sizeBytes: (await stat(join(folder, path))).size });
  }
  return files;
}
