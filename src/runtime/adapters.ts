import { scrubberOf } from "#artifact/credentials.ts";
import type { Delivered, Delivery } from "#artifact/deliver.ts";
import { ArtifactError } from "#artifact/errors.ts";
import { hashFiles } from "#artifact/hash-files.ts";
import { isVisibleFolder } from "#artifact/path.ts";
import type { Credentials } from "#artifact/source.ts";
import { checkAdapterName } from "#artifact/store.ts";
import { validateAdapter } from "#artifact/validate.ts";
import { isAbort } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";
import { KeyedMutex } from "#base/keyed-mutex.ts";
import { describeError } from "#base/network-error.ts";
import { SharedTask } from "#base/shared-task.ts";
import type { Engine, EngineTarget } from "#engine/engine.ts";
import { EngineError } from "#engine/errors.ts";
import type { Log } from "#telemetry/log.ts";
import { type Problem, problemOf } from "./errors.ts";
import { type Progress, ProgressBoard } from "./progress.ts";

/** How long an unload waits for requests that still use the adapter. */
const IN_USE_WAIT_MAX_MS = 30_000;
const IN_USE_POLL_MS = 250;

export interface AdaptersDeps {
  readonly delivery: Delivery;
  readonly engine: Engine;
  /** The adapters that the engine has requests for; undefined when it does not tell. */
  readonly inUse: (signal: AbortSignal) => Promise<ReadonlySet<string> | undefined>;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the process' work. */
  readonly signal: AbortSignal;
}

export interface AdaptersOptions {
  readonly engineUrl: string;
  readonly downloadTimeoutMs: number;
  readonly maxRank: number | undefined;
  readonly allowPickle: boolean;
}

export interface LoadRequest {
  readonly name: string;
  /** To be fetched; or, in the direct form, told to the engine as it is. */
  readonly source:
    | {
        readonly artifactUrl: string;
        readonly credentials: Credentials | undefined;
        readonly sha256: string | undefined;
      }
    | { readonly path: string };
  readonly apiKey: string | undefined;
  readonly maxRank: number | undefined;
}

export interface LoadResult {
  /** <root>/N, or the path itself where files are used in their place. */
  readonly localPath: string;
  /** What the engine lists as the adapter's root. */
  readonly path: string;
  readonly engine: "loaded" | "replaced" | "already loaded";
}

/** A load failed; secrets are out of the text. */
export class LoadError extends Error {
  override readonly name = "LoadError";
  readonly problem: Problem;

  constructor(problem: Problem, cause: unknown) {
    super(problem.error, { cause });
    this.problem = problem;
  }
}

interface Load {
  readonly key: string;
  readonly task: SharedTask<LoadResult>;
}

/**
 * The adapters of one engine: fetched, loaded, unloaded, cleaned up. One thing at a time for each
 * adapter; callers with the same wish share one load.
 */
export class Adapters {
  readonly progress: ProgressBoard;
  readonly #deps: AdaptersDeps;
  readonly #options: AdaptersOptions;
  readonly #mutex = new KeyedMutex();
  /** The latest load of each adapter, while it is under way. */
  readonly #loads = new Map<string, Load>();
  /** Adapters with versions on disk that are not published: to be removed when no engine needs them. */
  readonly #stale = new Set<string>();
  /** Ends when the files of all adapters are shared. */
  #sharing: Promise<void> = Promise.resolve();

  constructor(deps: AdaptersDeps, options: AdaptersOptions) {
    this.#deps = deps;
    this.#options = options;
    this.progress = new ProgressBoard(deps.clock);
  }

  /** Looks for what an earlier process left behind. */
  async open(): Promise<void> {
    await this.#deps.delivery.open();
    for (const { name, isPublished } of await this.#deps.delivery.store.versions()) {
      if (isPublished) this.#shareLater(name);
      else this.#stale.add(name);
    }
  }

  /** Waits for what goes on beside the requests; their signal has been aborted. */
  async close(): Promise<void> {
    await this.#sharing;
  }

  /**
   * Loads an adapter: a success at once when the engine has it from the wanted place already, replaced
   * when it has it from another.
   * @throws LoadError; the reason of `signal` when this caller leaves. The last one to leave cancels the download.
   */
  async load(request: LoadRequest, signal?: AbortSignal): Promise<LoadResult> {
    checkAdapterName(request.name);
    const key = JSON.stringify(request);
    const running = this.#loads.get(request.name);
    if (running?.key === key && running.task.isJoinable) return running.task.join(signal);
    const stop = new AbortController();
    const task = new SharedTask(stop, async (stopped) => {
      try {
        return await this.#run(request, stopped);
      } finally {
        // The key holds the caller's credentials: they go with the load.
        if (this.#loads.get(request.name)?.key === key) this.#loads.delete(request.name);
      }
    });
    this.#loads.set(request.name, { key, task });
    return task.join(signal);
  }

  async #run(request: LoadRequest, stopped: AbortSignal): Promise<LoadResult> {
    const { name } = request;
    const { log, signal } = this.#deps;
    const progress = this.progress.begin(name);
    try {
      const load = () => this.#loadNow(request, progress, stopped);
      const result = await this.#mutex.run(name, load, stopped);
      const { localPath: local_path, path: loaded_path } = result;
      progress.finish({ state: "loaded", local_path, loaded_path });
      return result;
    } catch (error) {
      const isLeft = stopped.aborted && isAbort(error) && !signal.aborted;
      const reason = isLeft
        ? new ArtifactError("Cancelled", `The load of ${name} was cancelled: its caller left`)
        : error;
      const failure = this.#failure(request, reason);
      progress.fail(failure.problem);
      const { code, retriable, error: text } = failure.problem;
      log.error("Loading adapter failed", { adapter: name, error: text, code, retriable });
      throw failure;
    }
  }

  #failure(request: LoadRequest, error: unknown): LoadError {
    const { source, apiKey = "" } = request;
    const scrub =
      "path" in source
        ? scrubberOf({}, source.path, apiKey)
        : scrubberOf(source.credentials ?? {}, source.artifactUrl, apiKey);
    const problem = problemOf(error);
    return new LoadError({ ...problem, error: scrub(problem.error) }, error);
  }

  async #loadNow(
    request: LoadRequest,
    progress: Progress,
    stopped: AbortSignal,
  ): Promise<LoadResult> {
    const { log, signal } = this.#deps;
    const { name } = request;
    const { localPath, path } = await this.#deliver(request, progress, stopped);
    if (stopped.aborted) throw stopped.reason;
    progress.note({ state: "loading" });
    // From here on nobody's leaving stops it: an engine that was asked may have done it.
    const target = { url: this.#options.engineUrl, apiKey: request.apiKey };
    const engine = await this.#loadInto(target, name, path, signal);
    log.info("Successfully loaded adapter", { adapter: name, path, engine });
    await this.#removeStale(target, name);
    this.#shareLater(name);
    return { localPath, path, engine };
  }

  /** One after the other, and not before an adapter is loaded: hashing takes as long as half a download. */
  #shareLater(name: string): void {
    this.#sharing = this.#sharing.then(async () => {
      try {
        await this.#share(name);
      } catch (error) {
        if (this.#deps.signal.aborted) return;
        // Gone meanwhile, or a file system without hard links: each adapter has its own files then.
        this.#deps.log.warn("Files are not shared", { adapter: name, error: describeError(error) });
      }
    });
  }

  async #share(name: string): Promise<void> {
    const { delivery, clock, signal } = this.#deps;
    const { store } = delivery;
    const version = await store.current(name);
    if (version === undefined || (await store.cache.recall(version.id)) !== undefined) return;
    const hashes = await hashFiles(version, signal);
    const link = () => store.share(name, version.id, hashes, clock.now());
    await this.#mutex.run(name, link, signal);
  }

  async #deliver(
    request: LoadRequest,
    progress: Progress,
    stopped: AbortSignal,
  ): Promise<Delivered> {
    const { name, source } = request;
    const { allowPickle, downloadTimeoutMs } = this.#options;
    const maxRank = request.maxRank ?? this.#options.maxRank;
    if ("path" in source) {
      const isLocal = source.path.startsWith("/") && (await isVisibleFolder(source.path));
      if (isLocal) await validateAdapter(source.path, { allowPickle, maxRank });
      return { localPath: source.path, path: source.path, fetched: false };
    }
    progress.note({ state: "downloading" });
    const onProgress = (at: { bytesDone: number; bytesTotal: number | undefined }) =>
      progress.note({ bytes_done: at.bytesDone, bytes_total: at.bytesTotal ?? null });
    const limited = AbortSignal.any([
      stopped,
      this.#deps.signal,
      AbortSignal.timeout(downloadTimeoutMs),
    ]);
    return this.#deps.delivery.deliver({ name, ...source, maxRank, onProgress }, limited);
  }

  async #loadInto(target: EngineTarget, name: string, path: string, signal: AbortSignal) {
    const { engine, log } = this.#deps;
    const held = (await engine.inventory(target, signal)).find((one) => one.name === name);
    if (held?.root === path) return "already loaded";
    log.info("Forwarding load request to engine with local path", { adapter: name, path });
    try {
      await engine.load(target, { name, path, replace: held !== undefined }, signal);
    } catch (error) {
      throw withHint(error, path);
    }
    // What was replaced may be a version of ours.
    this.#stale.add(name);
    return held === undefined ? "loaded" : "replaced";
  }

  /**
   * Unloads an adapter from the engine, then removes its files, unless told to keep them.
   * Goes on when its caller leaves. @throws LoadError; the files stay then.
   */
  async unload(request: {
    name: string;
    cleanupLocal: boolean;
    apiKey: string | undefined;
  }): Promise<void> {
    const { name, apiKey } = request;
    checkAdapterName(name);
    const { engine, log, signal } = this.#deps;
    this.#loads
      .get(name)
      ?.task.cancel(
        new ArtifactError("Cancelled", `The load of ${name} was cancelled by an unload`),
      );
    await this.#mutex.run(name, async () => {
      try {
        const target = { url: this.#options.engineUrl, apiKey };
        await engine.unload(target, name, signal);
        if (request.cleanupLocal) await this.#cleanUp(target, name);
      } catch (error) {
        const { error: text, ...rest } = problemOf(error);
        const problem = { ...rest, error: scrubberOf({}, "", apiKey ?? "")(text) };
        log.error("Unloading adapter failed", { adapter: name, error: problem.error });
        throw new LoadError(problem, error);
      }
      this.progress.forget(name);
      log.info("Successfully unloaded adapter", { adapter: name });
    });
  }

  /** The name goes at once, the files when no request needs them. */
  async #cleanUp(target: EngineTarget, name: string): Promise<void> {
    const { store } = this.#deps.delivery;
    await store.unpublish(name);
    await store.dropStaging(name);
    this.#stale.add(name);
    const { clock, signal } = this.#deps;
    const deadline = clock.now() + IN_USE_WAIT_MAX_MS;
    // An engine may read the files again for a request that began before: it would not survive their loss.
    while ((await this.#isInUse(name)) && clock.now() < deadline) {
      await clock.sleep(IN_USE_POLL_MS, signal);
    }
    await this.#removeStale(target, name);
  }

  async #isInUse(name: string): Promise<boolean> {
    return (await this.#deps.inUse(this.#deps.signal))?.has(name) === true;
  }

  /** Removes an adapter's unpublished versions that no engine can need. Call while holding its mutex. */
  async #removeStale(target: EngineTarget, name: string): Promise<void> {
    if (!this.#stale.has(name)) return;
    const { delivery, engine, clock, log, signal } = this.#deps;
    try {
      const versions = await delivery.store.versions(name);
      const unpublished = versions.filter((version) => !version.isPublished);
      if (unpublished.length > 0) {
        const held = await engine.inventory(target, signal);
        if (await this.#isInUse(name)) return;
        const isHeld = (path: string) => held.some(({ root }) => root === path);
        for (const { id, path } of unpublished.filter((version) => !isHeld(version.path))) {
          await delivery.store.removeVersion(name, id, clock.now());
          log.info("Removed files of an earlier version", { adapter: name, path });
        }
        if (unpublished.some((version) => isHeld(version.path))) return;
      }
      this.#stale.delete(name);
    } catch (error) {
      // Files that stay a little longer harm nobody: the next occasion removes them.
      log.warn("Old versions stay for now", { adapter: name, error: describeError(error) });
    }
  }

  /**
   * An occasion to remove what could not be removed when its time came; does nothing, and asks nobody,
   * when there is no such thing.
   */
  async tidy(apiKey: string | undefined): Promise<void> {
    const target = { url: this.#options.engineUrl, apiKey };
    for (const name of [...this.#stale].filter((one) => !this.#mutex.isHeld(one))) {
      await this.#mutex.run(name, () => this.#removeStale(target, name), this.#deps.signal);
    }
  }
}

/** An engine that does not find what was delivered does not see the same files. */
function withHint(error: unknown, path: string): unknown {
  if (!(error instanceof EngineError) || error.code !== "NotFound" || !path.startsWith("/")) {
    return error;
  }
  return new EngineError(
    "NotFound",
    false,
    `${error.message}: the engine does not see ${path}; mount the volume adapter-storage in both containers`,
  );
}
