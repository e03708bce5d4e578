import { type Dispatcher, Pool } from "undici";
import type { KubeList, KubeObject } from "#api/kubernetes.ts";
import { abortReason } from "#base/abort.ts";
import { assert } from "#base/assert.ts";
import type { Clock } from "#base/clock.ts";
import { codeOf } from "#base/errors.ts";
import {
  KubeApiError,
  type KubeClient,
  type ListOptions,
  type PatchKind,
  type Resource,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from "./client.ts";
import type { KubeConfig } from "./config.ts";
import { withDeadline } from "./deadline.ts";
import { type RateLimit, tokenBucket } from "./rate-limit.ts";
import { errorOfResponse } from "./status.ts";
import { watchEvents } from "./watch-stream.ts";

/** From sending a request to the last byte of its answer; of a watch, to its headers. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Requests in flight at once; more wait inside the pool. Watches have a pool of their own. */
const CONNECTIONS_MAX = 32;
/** A list of a page of large objects stays far below. */
const RESPONSE_BYTES_MAX = 256 * 1024 * 1024;
/** How often a request is repeated because the server asked for it (429, 503 with Retry-After). */
const BUSY_RETRIES_MAX = 5;
/** The longest pause that a server may ask a request to make; a longer one is the caller's to take. */
const BUSY_WAIT_MS_MAX = 10_000;
const TCP_KEEP_ALIVE_MS = 15_000;

const PATCH_TYPE: Record<PatchKind, string> = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

export interface KubeClientOptions {
  readonly config: KubeConfig;
  readonly clock: Clock;
  /** Names us in the server's audit log. */
  readonly userAgent?: string;
  readonly requestTimeoutMs?: number;
  /** Hears of each answer of the server; of a watch, of its beginning. */
  readonly onAnswer?: (method: string, code: number) => void;
  /** Requests per second and burst (watches are free); left out: no limit of our own. */
  readonly rateLimit?: RateLimit;
}

/** A request as the methods below build it. */
interface Call {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  body?: unknown;
  contentType?: string;
  signal?: AbortSignal | undefined;
  beforeSend?: (() => void) | undefined;
}

/**
 * A client of one API server over HTTP/1.1, JSON only. What it does beyond sending: it repeats a
 * request when the server asks for that (429 or 503 with Retry-After) and a read whose connection
 * broke, once. Nothing else is retried here: every caller is level-triggered and has its own back-off.
 */
export function createKubeClient(
  options: KubeClientOptions,
): KubeClient & { close(): Promise<void> } {
  const transport = createTransport(options);
  const call = <T>(request: Call) => transport.json(request) as Promise<T>;
  return {
    get: (resource, name, signal) =>
      call({ method: "GET", path: pathOf(resource, name.namespace, name.name), signal }),
    list: async <T extends KubeObject>(
      resource: Resource<T>,
      list: ListOptions = {},
      signal?: AbortSignal,
    ) => {
      const path = pathOf(resource, list.namespace) + queryOf(listQuery(list));
      const result = await call<KubeList<T>>({ method: "GET", path, signal });
      return { ...result, items: (result.items ?? []).map((item) => typed(resource, item)) };
    },
    watch: <T extends KubeObject>(
      resource: Resource<T>,
      watch: WatchOptions,
      signal: AbortSignal,
    ): AsyncIterable<WatchEvent<T>> => {
      const path = pathOf(resource, watch.namespace) + queryOf(watchQuery(watch));
      return transport.watch<T>(path, signal);
    },
    create: (resource, object, write) =>
      call({
        method: "POST",
        path:
          pathOf(resource, namespaceOf(resource, object)) +
          queryOf({ fieldManager: write?.fieldManager }),
        body: typed(resource, object),
        ...conditionsOf(write),
      }),
    update: (resource, object, write) =>
      call({
        method: "PUT",
        path: objectPath(resource, object, write) + queryOf({ fieldManager: write?.fieldManager }),
        body: typed(resource, object),
        ...conditionsOf(write),
      }),
    patch: (resource, name, kind, patch, write) =>
      call({
        method: "PATCH",
        path:
          pathOf(resource, name.namespace, name.name, write?.subresource) +
          queryOf({ fieldManager: write?.fieldManager }),
        body: patch,
        contentType: PATCH_TYPE[kind],
        ...conditionsOf(write),
      }),
    apply: (resource, object, write) =>
      call({
        method: "PATCH",
        path:
          objectPath(resource, object, write) +
          queryOf({ fieldManager: write.fieldManager, force: "true" }),
        body: typed(resource, object),
        // The type's name says YAML, of which JSON is a subset.
        contentType: "application/apply-patch+yaml",
        ...conditionsOf(write),
      }),
    delete: async (resource, name, how = {}) => {
      const { uid, resourceVersion, gracePeriodSeconds, propagationPolicy } = how;
      const preconditions =
        uid === undefined && resourceVersion === undefined
          ? {}
          : { preconditions: { uid, resourceVersion } };
      await call({
        method: "DELETE",
        path: pathOf(resource, name.namespace, name.name),
        body: {
          ...{ kind: "DeleteOptions", apiVersion: "v1" },
          ...{ gracePeriodSeconds, propagationPolicy },
          ...preconditions,
        },
        ...conditionsOf(how),
      });
    },
    close: transport.close,
  };
}

/** When a write is not to be sent, or not to be waited for. */
const conditionsOf = (write: Pick<WriteOptions, "signal" | "beforeSend"> = {}) => ({
  signal: write.signal,
  beforeSend: write.beforeSend,
});

function createTransport(options: KubeClientOptions) {
  const { config, clock } = options;
  const timeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  const limit = options.rateLimit === undefined ? undefined : tokenBucket(clock, options.rateLimit);
  const server = new URL(config.server);
  const prefix = server.pathname.replace(/\/+$/, "");
  const connect = {
    ...config.tls,
    timeout: timeoutMs,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
  };
  // Our own timer covers whole requests through the Clock; undici's are off.
  const common = { connect, allowH2: false, headersTimeout: 0, bodyTimeout: 0 };
  const requests = new Pool(server.origin, {
    ...common,
    connections: CONNECTIONS_MAX,
    maxResponseSize: RESPONSE_BYTES_MAX,
  });
  // A watch holds its connection for minutes: in the same pool watches would starve requests.
  const watches = new Pool(server.origin, common);

  const headersFor = async (call: Call): Promise<Record<string, string>> => {
    const authorization = await config.authorization?.();
    return {
      accept: "application/json",
      "user-agent": options.userAgent ?? "loradock",
      ...(authorization === undefined ? {} : { authorization }),
      ...(call.body === undefined
        ? {}
        : { "content-type": call.contentType ?? "application/json" }),
    };
  };

  const send = async (
    pool: Pool,
    call: Call,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> => {
    const headers = await headersFor(call);
    call.beforeSend?.();
    const response = await pool.request({
      method: call.method,
      path: prefix + call.path,
      headers,
      body: call.body === undefined ? null : JSON.stringify(call.body),
      // A DELETE with a body would cost its connection, in case the server did not read it: API servers do.
      reset: false,
      signal,
    });
    options.onAnswer?.(call.method, response.statusCode);
    if (response.statusCode === 401) config.forgetAuthorization?.();
    return response;
  };

  const sendOnce = (call: Call) =>
    withDeadline(clock, timeoutMs, noAnswerTo(call), call.signal, async (signal) => {
      const response = await send(requests, call, signal);
      const text = await response.body.text();
      if (response.statusCode >= 400)
        throw errorOfResponse(response.statusCode, text, response.headers);
      return parseAnswer(text, response.statusCode);
    });

  const json = async (call: Call): Promise<unknown> => {
    let readRetried = false;
    for (let attempt = 0; ; attempt++) {
      await limit?.(call.signal);
      try {
        return await sendOnce(call);
      } catch (error) {
        const wait = busyWaitMs(error);
        if (wait !== undefined && attempt < BUSY_RETRIES_MAX) {
          await clock.sleep(wait, call.signal);
        } else if (call.method === "GET" && !readRetried && isBrokenConnection(error)) {
          readRetried = true;
        } else throw error;
      }
    }
  };

  async function* watch<T extends KubeObject>(path: string, signal: AbortSignal) {
    const call: Call = { method: "GET", path, signal };
    // The timeout ends with the headers; the caller judges silence, and its signal ends the body.
    const body = new AbortController();
    const abortBody = () => body.abort(signal.reason);
    signal.addEventListener("abort", abortBody, { once: true });
    try {
      const response = await withDeadline(clock, timeoutMs, noAnswerTo(call), signal, (start) => {
        start.addEventListener("abort", () => body.abort(start.reason), { once: true });
        return send(watches, call, body.signal);
      });
      if (response.statusCode !== 200) {
        const text = await response.body.text();
        throw errorOfResponse(response.statusCode, text, response.headers);
      }
      yield* watchEvents<T>(response.body);
    } catch (error) {
      throw signal.aborted ? abortReason(signal) : error;
    } finally {
      signal.removeEventListener("abort", abortBody);
      // A consumer that stops early leaves a live stream behind: close its connection.
      body.abort(new DOMException("the watch was closed", "AbortError"));
    }
  }

  return {
    json,
    watch,
    close: async () => {
      await Promise.all([requests.destroy(), watches.destroy()]);
    },
  };
}

const noAnswerTo = (call: Call) => `no answer to ${call.method} ${call.path}`;

/** How long to wait before repeating a request that the server was too busy for. */
function busyWaitMs(error: unknown): number | undefined {
  if (!(error instanceof KubeApiError) || (error.code !== 429 && error.code !== 503))
    return undefined;
  const wait = error.retryAfterMs;
  return wait === undefined || wait > BUSY_WAIT_MS_MAX ? undefined : wait;
}

/** The server closed a kept-alive connection under our request: nothing is wrong with either side. */
function isBrokenConnection(error: unknown): boolean {
  const code = codeOf(error);
  return code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE";
}

function parseAnswer(text: string, code: number): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`the API server answered ${code} with something that is not JSON`, {
      cause: error,
    });
  }
}

function pathOf(
  resource: Resource<KubeObject>,
  namespace: string | undefined,
  name?: string,
  subresource?: string,
): string {
  const root = resource.group === "" ? "/api" : `/apis/${resource.group}`;
  let path = `${root}/${resource.version}`;
  if (namespace !== undefined && resource.namespaced) {
    path += `/namespaces/${encodeURIComponent(namespace)}`;
  }
  path += `/${resource.plural}`;
  if (name !== undefined) {
    assert(name !== "", `a ${resource.kind} without a name`);
    assert(
      namespace !== undefined || !resource.namespaced,
      `${resource.kind} ${name} without a namespace`,
    );
    path += `/${encodeURIComponent(name)}`;
  }
  return subresource === undefined ? path : `${path}/${subresource}`;
}

function objectPath(
  resource: Resource<KubeObject>,
  object: KubeObject,
  write: WriteOptions | undefined,
): string {
  return pathOf(resource, object.metadata.namespace, object.metadata.name, write?.subresource);
}

function namespaceOf(resource: Resource<KubeObject>, object: KubeObject): string | undefined {
  const { namespace } = object.metadata;
  assert(namespace !== undefined || !resource.namespaced, `a ${resource.kind} without a namespace`);
  return namespace;
}

/** Items of a list come without their type; outside of it they would be nameless. */
function typed<T extends KubeObject>(resource: Resource<T>, object: T): T {
  const apiVersion =
    resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
  return { apiVersion, kind: resource.kind, ...object };
}

function listQuery(options: ListOptions): Record<string, string | undefined> {
  return {
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    limit: options.limit === undefined ? undefined : String(options.limit),
    continue: options.continue,
    resourceVersion: options.resourceVersion,
  };
}

function watchQuery(options: WatchOptions): Record<string, string | undefined> {
  const initial = options.sendInitialEvents === true;
  return {
    ...listQuery(options),
    watch: "1",
    allowWatchBookmarks: options.allowWatchBookmarks === true ? "true" : undefined,
    sendInitialEvents: initial ? "true" : undefined,
    // The server insists on it beside sendInitialEvents.
    resourceVersionMatch: initial ? "NotOlderThan" : undefined,
    timeoutSeconds:
      options.timeoutSeconds === undefined ? undefined : String(options.timeoutSeconds),
  };
}

function queryOf(values: Record<string, string | undefined>): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (value !== undefined) query.set(key, value);
  const text = query.toString();
  return text === "" ? "" : `?${text}`;
}
