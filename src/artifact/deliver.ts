import { parseArtifactUrl, redactArtifactUrl } from "#api/artifact-url.ts";
import type { Clock } from "#base/clock.ts";
import { UserError } from "#base/errors.ts";
import { KeyedMutex } from "#base/keyed-mutex.ts";
import { Semaphore } from "#base/semaphore.ts";
import type { Log } from "#telemetry/log.ts";
import { readCredentials } from "./credentials.ts";
import { withRetries } from "./download-file.ts";
import { ArtifactError, isNoSpace, noSpace } from "./errors.ts";
import {
  type DeliveryRequest,
  type FetchContext,
  fetchVersion,
  validate,
} from "./fetch-version.ts";
import type { HttpClient } from "./http-client.ts";
import { isVisibleFolder } from "./path.ts";
import { checkPinnedSha256 } from "./pinned-sha256.ts";
import { RangeBuffers } from "./read-ahead.ts";
import type { ArtifactSource, Content, Listing, SourceSettings } from "./source.ts";
import { openSource } from "./sources.ts";
import { type Version, VersionStore, versionId } from "./store.ts";

/** Files that are fetched at the same time, over all adapters. */
const PARALLEL_FILES_MAX = 8;
/** Half downloads are worth keeping for a retry, not for ever. */
const STAGING_AGE_MAX_MS = 3_600_000;

export interface DeliveryOptions {
  readonly content: Content;
  /** The folder in which everything is published under its name. */
  readonly root: string;
  /** Of files that are kept by their content, those of adapters among them. */
  readonly cacheBytesMax: number;
  readonly credentialsFolder: string;
  readonly settings: SourceSettings;
  readonly http: HttpClient;
  readonly clock: Clock;
  readonly log: Log;
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
  const store = new VersionStore(options.root, options.cacheBytesMax);
  const context = {
    ...options,
    store,
    slots: new Semaphore(PARALLEL_FILES_MAX),
    ranges: new RangeBuffers(),
    flights: new KeyedMutex(),
  };
  return {
    store,
    open: () => store.open(options.clock.now(), STAGING_AGE_MAX_MS),
    deliver: async (request, signal) => {
      for (;;) {
        try {
          return await deliver(context, request, signal);
        } catch (error) {
          if (signal.aborted) throw signal.reason;
          await makeRoom(store, request.name, error);
        }
      }
    },
  };
}

/** Makes another try possible, or throws what there is to say. */
async function makeRoom(store: VersionStore, name: string, error: unknown): Promise<void> {
  if (error instanceof UserError) throw new ArtifactError("InvalidRequest", error.message);
  if (!isNoSpace(error) && !isNoSpaceError(error)) throw error;
  // What was written is of no use now, and its room is needed.
  await store.dropStaging(name);
  const freed = await store.cache.evict(Number.POSITIVE_INFINITY);
  if (freed === 0) throw isNoSpaceError(error) ? error : noSpace(store.root, error);
}

const isNoSpaceError = (error: unknown) =>
  error instanceof ArtifactError && error.code === "NoSpace";

interface Context extends FetchContext, Pick<DeliveryOptions, "credentialsFolder" | "http"> {
  /** Who has what the next one wants, too, is waited for. */
  readonly flights: KeyedMutex;
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
  const { identity } = state.listing;
  const flight = identity === undefined ? request.name : versionId(source.location, identity);
  const version = await context.flights.run(
    flight,
    () => fetchVersion(context, source, state.listing, request, signal),
    signal,
  );
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
