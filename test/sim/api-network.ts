/** What lies between a process and the API server: time, and everything that can go wrong on the way. */
import type { KubeObject } from "#api/kubernetes.ts";
import { abortReason } from "#base/abort.ts";
import {
  KubeApiError,
  type KubeClient,
  keyOf,
  type ObjectName,
  type Resource,
  type WriteOptions,
} from "#kube/client.ts";
import type { ApiServer } from "./api-server.ts";
import { ApiWatch, type WatchWeather } from "./api-watch.ts";
import type { Dice } from "./dice.ts";
import type { Edition } from "./edition.ts";
import type { Host } from "./host.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** How the network is now; changed by whoever makes the weather. */
export interface ApiWeather extends WatchWeather {
  /** One way, at most. */
  latencyMs: number;
  /** Nobody answers: connections are refused, or requests are swallowed. */
  outage: "no" | "refused" | "swallowed";
  /** Requests that the server answers with an error, 0 to 1. */
  errorShare: number;
  /** Writes that are done, but whose answer is lost. */
  lostShare: number;
  /** Initial events in watches; servers of before 1.32 have them not. */
  canWatchList: boolean;
}

export const GOOD_API_WEATHER: ApiWeather = {
  latencyMs: 4,
  outage: "no",
  errorShare: 0,
  lostShare: 0,
  lagMs: 10,
  canWatchList: true,
};

const REQUEST_TIMEOUT_MS = 30_000;
const SLOW_MS = 50;

/** A request as it leaves a process. */
export interface Sent {
  readonly host: Host;
  readonly verb: string;
  readonly plural: string;
  /** Of the object: `namespace/name`. */
  readonly key: string;
  readonly isWrite: boolean;
}

export interface ApiNetworkDeps {
  readonly time: VirtualTime;
  readonly dice: Dice;
  readonly server: ApiServer;
  readonly edition: Edition;
  readonly onSent: (sent: Sent) => void;
  /** Something went wrong that a process hears of after a while, and has to wait out. */
  readonly onTrouble: (afterMs: number) => void;
  /** A write was done, and who sent it will not hear so. */
  readonly onLost: (sent: Sent) => void;
}

export class ApiNetwork {
  readonly weather: ApiWeather = { ...GOOD_API_WEATHER };
  readonly #deps: ApiNetworkDeps;
  readonly #watches = new Set<ApiWatch>();

  constructor(deps: ApiNetworkDeps) {
    this.#deps = deps;
    deps.server.onChange(({ plural }) => {
      for (const watch of this.#watches) {
        if (watch.host.isDead) this.#watches.delete(watch);
        else if (watch.plural === plural) watch.notice();
      }
    });
  }

  /** Some of the watches; all of them without a choice. */
  watches(): ApiWatch[] {
    return [...this.#watches];
  }

  /** The client of one process. */
  client(host: Host): KubeClient {
    const { server } = this.#deps;
    const actor = host.name;
    const write = async <T>(
      verb: string,
      { plural }: Resource<KubeObject>,
      name: ObjectName,
      options: Pick<WriteOptions, "signal" | "beforeSend"> = {},
      run: () => T,
    ) => {
      options.beforeSend?.();
      const sent = { host, verb, plural, key: keyOf({ metadata: name }), isWrite: true };
      return this.#request(sent, options.signal, run);
    };
    const path = (resource: Resource<KubeObject>, options: WriteOptions | undefined) =>
      options?.subresource === undefined
        ? resource
        : { ...resource, plural: `${resource.plural}/${options.subresource}` };
    return {
      get: (resource, name, signal) =>
        this.#request(
          {
            ...{ host, verb: "get", plural: resource.plural, isWrite: false },
            key: keyOf({ metadata: name }),
          },
          signal,
          () => server.get(resource, name),
        ),
      list: (resource, _options, signal) =>
        this.#request(
          { host, verb: "list", plural: resource.plural, key: "", isWrite: false },
          signal,
          () => ({
            metadata: { resourceVersion: String(server.version) },
            items: server.list(resource),
          }),
        ),
      watch: (resource, options, signal) => this.#watch(host, resource, options, signal),
      create: (resource, object, options) =>
        write("create", resource, object.metadata, options, () =>
          server.create(resource, object, actor),
        ),
      update: (resource, object, options) =>
        write("update", resource, object.metadata, options, () =>
          server.update(resource, object, actor),
        ),
      patch: (resource, name, _kind, patch, options) =>
        write("patch", path(resource, options), name, options, () =>
          server.patch(resource, name, patch, options?.subresource, actor),
        ),
      apply: (resource, object, options) =>
        write("apply", resource, object.metadata, options, () =>
          server.apply(resource, object, actor),
        ),
      delete: async (resource, name, options) =>
        write("delete", resource, name, options, () => server.delete(resource, name, actor)),
    };
  }

  #watch<T extends KubeObject>(
    host: Host,
    resource: Resource<T>,
    options: { resourceVersion?: string | undefined; sendInitialEvents?: boolean },
    signal: AbortSignal,
  ) {
    const { time, dice, server } = this.#deps;
    const open = () =>
      this.#request(
        { host, verb: "watch", plural: resource.plural, key: "", isWrite: false },
        signal,
        () => {
          const isInitial = options.sendInitialEvents === true;
          if (isInitial && !this.weather.canWatchList) {
            throw new KubeApiError(422, "Invalid", "sendInitialEvents: Forbidden");
          }
          const since = isInitial ? server.version : Number(options.resourceVersion ?? "0");
          if (since < server.floor) {
            throw new KubeApiError(410, "Expired", "too old resource version");
          }
          const deps = { time, dice, server, host, weather: this.weather };
          const watch = new ApiWatch(deps, resource.plural, since, isInitial);
          this.#watches.add(watch);
          return watch;
        },
      );
    const close = (watch: ApiWatch) => {
      watch.close();
      this.#watches.delete(watch);
    };
    return (async function* () {
      const watch = await open();
      try {
        yield* watch.events<T>(signal);
      } finally {
        close(watch);
      }
    })();
  }

  #request<T>(sent: Sent, signal: AbortSignal | undefined, run: () => T): Promise<T> {
    const { time, dice, onSent, onTrouble, onLost } = this.#deps;
    const { host, isWrite } = sent;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(abortReason(signal));
        return;
      }
      onSent(sent);
      const leave = () => settle(() => reject(abortReason(signal as AbortSignal)));
      const timeout = host.clock.after(REQUEST_TIMEOUT_MS, () =>
        settle(() => reject(new DOMException("timeout: no answer", "TimeoutError"))),
      );
      let isSettled = false;
      const settle = (how: () => void) => {
        if (isSettled) return;
        isSettled = true;
        timeout();
        signal?.removeEventListener("abort", leave);
        how();
      };
      signal?.addEventListener("abort", leave, { once: true });
      const delay = () => {
        const ms = dice.int(1, this.weather.latencyMs);
        if (ms > SLOW_MS) onTrouble(ms);
        return ms;
      };
      const answer = (how: () => void) =>
        time.after(delay(), () => host.deliver(() => settle(how)));
      time.after(delay(), () => {
        // Who hung up before it came there may have been in time or not.
        if (isSettled && dice.chance(0.5)) return;
        const failure = this.#failure();
        if (failure !== undefined) {
          onTrouble(failure === "none" ? REQUEST_TIMEOUT_MS : 0);
          if (failure !== "none") answer(() => reject(failure));
          return;
        }
        let outcome: () => void;
        try {
          const value = run();
          outcome = () => resolve(value);
        } catch (error) {
          outcome = () => reject(error);
        }
        if (isWrite && dice.chance(this.weather.lostShare)) {
          onTrouble(0);
          onLost(sent);
          outcome = () => reject(broken("ECONNRESET"));
        }
        answer(outcome);
      });
    });
  }

  /** What stands in the way of a request; `none`: it is swallowed. */
  #failure(): Error | "none" | undefined {
    const { dice, edition } = this.#deps;
    const { outage, errorShare } = this.weather;
    if (outage === "swallowed") return "none";
    if (outage === "refused") return broken("ECONNREFUSED");
    if (!dice.chance(errorShare)) return undefined;
    return dice.pick([
      new KubeApiError(500, "InternalError", "etcdserver: leader changed"),
      new KubeApiError(503, "ServiceUnavailable", "the server is currently unable"),
      new KubeApiError(504, "Timeout", "request did not complete within the allotted timeout"),
      broken("ECONNRESET"),
      ...(edition > 1 ? [new KubeApiError(429, "TooManyRequests", "the server is busy")] : []),
    ]);
  }
}

function broken(code: string): Error {
  return Object.assign(new Error(`${code} api`), { code });
}
