/** What controllers write: nothing that is somebody else's, nothing secret, and not too often. */
import type { EndpointSlice, Service } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { keyOf } from "#kube/client.ts";
import type { Change } from "../api-server.ts";
import { isOwned } from "../facts.ts";
import { namesIn } from "../history.ts";
import { SECRET_MARK } from "../users.ts";
import type { CheckContext } from "./context.ts";
import type { PublishedChecks } from "./published.ts";

const WINDOW_MS = 5000;
/** Of one object, whatever the reason, and for each reason that somebody gave: metadata and status. */
const WRITES_MAX = 8;
const WRITES_EACH_MAX = 2;
const TROUBLED_FACTOR = 3;
/** Writes that change nothing. */
const IDLE_WRITES_MAX = 6;
const HEARD_MS = 1000;
const DELETION_MS = 10_000;

export class WriteChecks {
  readonly #context: CheckContext;
  readonly #published: PublishedChecks;
  readonly #writes = new Map<string, number[]>();
  readonly #idle = new Map<string, number[]>();
  /** When something happened that one adapter, or under the empty name each of them, has to take note of. */
  readonly #causes = new Map<string, number[]>();

  constructor(context: CheckContext, published: PublishedChecks) {
    this.#context = context;
    this.#published = published;
  }

  /** Something happened that an adapter has to take note of; all of them without a key. */
  caused(key = ""): void {
    this.#within(this.#causes, key, WINDOW_MS + HEARD_MS).push(this.#context.time.now());
  }

  written(change: Change): void {
    const { plural, before, after, actor, subresource } = change;
    if (!actor.startsWith("controller") || plural === "leases") return;
    const { report } = this.#context;
    const object = after ?? before;
    const name = object === undefined ? "" : keyOf(object);
    // A write whose answer was lost is done once more.
    const isCalm = this.#context.time.now() > this.#context.calm.sinceMs + WINDOW_MS;
    const causes = [name, ""].map((key) => this.#within(this.#causes, key, WINDOW_MS + HEARD_MS));
    const max =
      (WRITES_MAX + WRITES_EACH_MAX * causes.flat().length) * (isCalm ? 1 : TROUBLED_FACTOR);
    this.#count(this.#writes, `${plural} ${name}`, max, "writes");
    if (before === after && isCalm)
      this.#count(this.#idle, `${plural} ${name}`, IDLE_WRITES_MAX, "idle writes");
    if (JSON.stringify(after ?? {}).includes(SECRET_MARK) && plural !== "modeladapters") {
      report("secret-told", `a key is in ${plural} ${name}`);
    }
    if (plural === "modeladapters" && subresource === "status" && after !== undefined) {
      const adapter = after as ModelAdapter;
      if (JSON.stringify(adapter.status).includes(SECRET_MARK)) {
        report("secret-told", `a key is in the status of ${name}`);
      }
      this.#published.written(adapter);
    }
    if (plural === "services" || plural === "endpointslices") this.#checkOwned(change, name);
  }

  #checkOwned({ plural, before, after }: Change, name: string): void {
    const { facts, report } = this.#context;
    const adapter = facts.adapter(name);
    const object = before as Service | EndpointSlice | undefined;
    const owner = object?.metadata.ownerReferences?.find(({ controller }) => controller);
    if (object !== undefined && owner === undefined) {
      report("foreign-service", `${plural} ${name} is somebody else's, and was written`);
    }
    if (adapter === undefined || after === undefined) return;
    // Of an adapter's namesake a controller hears a little later.
    const { calm, history, time } = this.#context;
    const heardMs = Math.max(history.specChangedMs(adapter.metadata.uid), calm.sinceMs) + HEARD_MS;
    const isHeard = time.now() > heardMs;
    if (object !== undefined && !isOwned(object, adapter) && isHeard) {
      report("foreign-service", `${plural} ${name} is another adapter's, and was written`);
    }
    if (plural === "endpointslices") this.#published.wrote(adapter, namesIn(after));
  }

  /** A deletion ends in time, whatever engines do. */
  step(): void {
    const { facts, history, calm, time, report } = this.#context;
    for (const adapter of facts.adapters()) {
      const doomedMs = history.doomedMs(adapter.metadata.uid);
      if (doomedMs === undefined) continue;
      const lastedMs = time.now() - Math.max(doomedMs, calm.sinceMs);
      if (lastedMs > DELETION_MS) {
        report("deletion-stuck", `${keyOf(adapter)} is being deleted for ${lastedMs} ms`);
      }
    }
  }

  #count(counts: Map<string, number[]>, key: string, max: number, what: string): void {
    const times = this.#within(counts, key, WINDOW_MS);
    times.push(this.#context.time.now());
    if (times.length <= max) return;
    const text = `${times.length} ${what} of ${key} within ${WINDOW_MS} ms, ${max} were due`;
    this.#context.report("too-many-writes", text);
    times.length = 0;
  }

  /** What was counted of a key in the last `ms`. */
  #within(counts: Map<string, number[]>, key: string, ms: number): number[] {
    const times = counts.get(key) ?? [];
    counts.set(key, times);
    while ((times[0] ?? Number.POSITIVE_INFINITY) < this.#context.time.now() - ms) times.shift();
    return times;
  }
}
