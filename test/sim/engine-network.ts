/** What lies between controllers and pods. */
import { abortReason } from "#base/abort.ts";
import { isObject } from "#base/json.ts";
import type { EngineAnswer, EngineRequest, Exchange } from "#engine/http.ts";
import type { Dice } from "./dice.ts";
import type { Host } from "./host.ts";
import type { SimPod } from "./sim-pod.ts";
import type { Incoming } from "./sim-sidecar.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** A call as it leaves a controller. */
export interface Call {
  readonly host: Host;
  /** The pod that has the address now; the one that was meant may be gone. */
  readonly pod: SimPod | undefined;
  readonly ip: string;
  readonly path: string;
  readonly kind: "list" | "load" | "unload";
  /** The adapter that it is about. */
  readonly name: string;
  /** The engine's key, as it was sent. */
  readonly key: string;
}

export interface EngineNetworkDeps {
  readonly time: VirtualTime;
  readonly dice: Dice;
  readonly podAt: (ip: string) => SimPod | undefined;
  readonly onCall: (call: Call) => void;
}

const LATENCY_MS = 4;
/** Packets that go nowhere are sent again for about this long. */
const GIVE_UP_MS = 130_000;
const ABANDONED_MS = 10_000;

export class EngineNetwork {
  readonly #deps: EngineNetworkDeps;

  constructor(deps: EngineNetworkDeps) {
    this.#deps = deps;
  }

  /** The way to engines of one process. */
  exchange(host: Host): Exchange {
    return (request, signal) => this.#exchange(host, request, signal);
  }

  #exchange(host: Host, request: EngineRequest, signal: AbortSignal): Promise<EngineAnswer> {
    const { time, dice, podAt, onCall } = this.#deps;
    const url = new URL(request.url);
    const body: unknown = request.body === null ? undefined : JSON.parse(request.body);
    const name = isObject(body) ? String(body["lora_name"]) : "";
    const path = url.pathname;
    const kind = body === undefined ? "list" : path.includes("unload") ? "unload" : "load";
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(abortReason(signal));
        return;
      }
      let isWanted = true;
      const leave = () => settle(() => reject(abortReason(signal)));
      const settle = (how: () => void) => {
        if (!isWanted) return;
        isWanted = false;
        signal.removeEventListener("abort", leave);
        how();
      };
      signal.addEventListener("abort", leave, { once: true });
      const pod = podAt(url.hostname);
      const { authorization: key = "" } = request.headers;
      onCall({ host, pod, ip: url.hostname, path, kind, name, key });
      const back = (how: () => void) =>
        time.after(dice.int(1, LATENCY_MS), () => host.deliver(() => settle(how)));
      const fail = (code: string) => back(() => reject(broken(code)));
      const isLost = pod !== undefined && kind !== "list" && dice.chance(pod.lostShare);
      const incoming: Incoming = {
        path,
        body: isObject(body) ? body : undefined,
        authorization: request.headers["authorization"],
        by: host.name,
        isWanted: () => isWanted && !host.isDead,
        reply: (said) => (isLost ? fail("ECONNRESET") : back(() => resolve(said))),
      };
      const port = url.port;
      time.after(dice.int(1, LATENCY_MS), () => this.#arrive(pod, port, incoming, fail));
    });
  }

  #arrive(
    pod: SimPod | undefined,
    port: string,
    incoming: Incoming,
    fail: (code: string) => void,
  ): void {
    const { time, dice } = this.#deps;
    if (pod === undefined || pod.isGone) {
      fail(dice.pick(["EHOSTUNREACH", "ETIMEDOUT"]));
      return;
    }
    if (pod.reach === "partitioned" || pod.reach === "hung") {
      const sinceMs = time.now();
      pod.onReachable(() => {
        const waitedMs = time.now() - sinceMs;
        // Nobody answers a caller that has been gone for long.
        if (waitedMs > ABANDONED_MS && !incoming.isWanted()) return;
        const isLate = waitedMs > GIVE_UP_MS;
        if (isLate || (pod.wasPartitioned && dice.chance(0.5))) fail("ECONNRESET");
        else this.#arrive(pod, port, incoming, fail);
      });
      return;
    }
    if (pod.reach === "refused") {
      fail("ECONNREFUSED");
      return;
    }
    if (pod.reach === "unroutable") {
      fail("EHOSTUNREACH");
      return;
    }
    if (incoming.body === undefined && dice.chance(pod.listErrorShare)) {
      incoming.reply({ status: 503, text: "upstream connect error" });
      return;
    }
    pod.handle(port, incoming, fail);
  }
}

function broken(code: string): Error {
  return Object.assign(new Error(`${code} engine`), { code });
}
