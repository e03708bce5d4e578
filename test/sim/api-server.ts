/**
 * A Kubernetes API without a network: objects with versions, conflicts, the status subresource, server-side apply, finalizers,
 * a log for watches, and a garbage collector that takes its time.
 */
import type { KubeObject } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import { isObject, type JsonObject, jsonEqual } from "#base/json.ts";
import { applyMergePatch } from "#base/merge-patch.ts";
import { KubeApiError, keyOf, type ObjectName, type Resource } from "#kube/client.ts";
import type { Dice } from "./dice.ts";
import { serverSideApply } from "./server-side-apply.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** One write that changed something, or tried to. */
export interface Change {
  readonly plural: string;
  readonly verb: "create" | "update" | "patch" | "apply" | "delete" | "collect";
  readonly subresource: string | undefined;
  readonly before: KubeObject | undefined;
  readonly after: KubeObject | undefined;
  readonly actor: string;
}

export interface LogEntry {
  readonly version: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubeObject;
}

const WITH_STATUS = ["modeladapters", "pods"];
const COLLECT_MS_MAX = 6000;
const COLLECT_LATE_MS_MAX = 30_000;

export class ApiServer {
  readonly #time: VirtualTime;
  readonly #dice: Dice;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #logs = new Map<string, LogEntry[]>();
  readonly #applied = new WeakMap<KubeObject, JsonObject>();
  readonly #listeners: ((change: Change) => void)[] = [];
  #version = 1000;
  #uids = 0;
  /** Watches from versions before this one are gone. */
  #floor = 0;

  constructor(time: VirtualTime, dice: Dice) {
    this.#time = time;
    this.#dice = dice;
  }

  get version(): number {
    return this.#version;
  }

  get floor(): number {
    return this.#floor;
  }

  /** What was before now is forgotten. */
  compact(): void {
    this.#floor = this.#version;
  }

  /** Hears of every write, those that changed nothing included. */
  onChange(listener: (change: Change) => void): void {
    this.#listeners.push(listener);
  }

  find<T extends KubeObject>({ plural }: Resource<T>, name: ObjectName): T | undefined {
    return this.#kind(plural).get(keyOf({ metadata: name })) as T | undefined;
  }

  get<T extends KubeObject>(resource: Resource<T>, name: ObjectName): T {
    const object = this.find(resource, name);
    if (object === undefined) throw notFound(resource, name);
    return object;
  }

  list<T extends KubeObject>({ plural }: Resource<T>): T[] {
    return [...this.#kind(plural).values()] as T[];
  }

  /** What happened to a kind after `version`. */
  since(plural: string, version: number): LogEntry[] {
    const log = this.#logs.get(plural) ?? [];
    let start = log.length;
    while (start > 0 && (log[start - 1]?.version ?? 0) > version) start--;
    return log.slice(start);
  }

  create<T extends KubeObject>(resource: Resource<T>, object: T, actor: string): T {
    const made = plain(object);
    if (this.find(resource, made.metadata) !== undefined) {
      const text = `${resource.plural} "${made.metadata.name}" already exists`;
      throw new KubeApiError(409, "AlreadyExists", text);
    }
    made.metadata.uid = `uid-${++this.#uids}`;
    made.metadata.generation = 1;
    made.metadata.creationTimestamp = toTimestamp(this.#time.now());
    return this.#store(resource, "create", undefined, undefined, made, actor);
  }

  update<T extends KubeObject>(resource: Resource<T>, object: T, actor: string): T {
    const before = this.get(resource, object.metadata);
    return this.#change(resource, "update", undefined, before, plain(object), actor);
  }

  patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    patch: unknown,
    subresource: string | undefined,
    actor: string,
  ): T {
    const before = this.get(resource, name);
    const after = plain(applyMergePatch(before as never, plain(patch) as never)) as unknown as T;
    return this.#change(resource, "patch", subresource, before, after, actor);
  }

  apply<T extends KubeObject>(resource: Resource<T>, object: T, actor: string): T {
    const wanted = plain(object);
    const before = this.find(resource, wanted.metadata);
    if (before === undefined) {
      const made = this.create(resource, wanted, actor);
      this.#applied.set(made, wanted as never);
      return made;
    }
    const last = this.#applied.get(before);
    const after = serverSideApply(resource.kind, before as never, last, wanted as never);
    const written = this.#change(resource, "apply", undefined, before, after as never, actor);
    this.#applied.set(written, wanted as never);
    return written;
  }

  delete<T extends KubeObject>(resource: Resource<T>, name: ObjectName, actor: string): void {
    const before = this.get(resource, name);
    if ((before.metadata.finalizers ?? []).length === 0) {
      this.#remove(resource, "delete", before, before, actor);
      return;
    }
    if (before.metadata.deletionTimestamp !== undefined) return;
    const after = plain(before);
    after.metadata.deletionTimestamp = toTimestamp(this.#time.now());
    after.metadata.generation = (before.metadata.generation ?? 0) + 1;
    this.#store(resource, "delete", undefined, before, after, actor);
  }

  #change<T extends KubeObject>(
    resource: Resource<T>,
    verb: Change["verb"],
    subresource: string | undefined,
    before: T,
    wanted: T,
    actor: string,
  ): T {
    const { uid, resourceVersion } = wanted.metadata;
    if (uid !== undefined && uid !== before.metadata.uid) throw conflict(resource, before, "UID");
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
      throw conflict(resource, before, "the object has been modified");
    }
    const after = settled(resource, subresource, before, wanted);
    if (jsonEqual(before, after)) {
      this.#tell({ plural: resource.plural, verb, subresource, before, after: before, actor });
      return before;
    }
    const doomed = after.metadata.deletionTimestamp !== undefined;
    if (doomed && (after.metadata.finalizers ?? []).length === 0) {
      return this.#remove(resource, verb, before, after, actor);
    }
    return this.#store(resource, verb, subresource, before, after, actor);
  }

  #store<T extends KubeObject>(
    resource: Resource<T>,
    verb: Change["verb"],
    subresource: string | undefined,
    before: T | undefined,
    after: T,
    actor: string,
  ): T {
    after.metadata.resourceVersion = String(++this.#version);
    freeze(after);
    const last = before === undefined ? undefined : this.#applied.get(before);
    if (last !== undefined) this.#applied.set(after, last);
    this.#kind(resource.plural).set(keyOf(after), after);
    this.#note(resource.plural, before === undefined ? "ADDED" : "MODIFIED", after);
    this.#tell({ plural: resource.plural, verb, subresource, before, after, actor });
    return after;
  }

  #remove<T extends KubeObject>(
    resource: Resource<T>,
    verb: Change["verb"],
    before: T,
    last: T,
    actor: string,
  ): T {
    const { plural } = resource;
    const gone = plain(last);
    gone.metadata.resourceVersion = String(++this.#version);
    freeze(gone);
    this.#kind(plural).delete(keyOf(before));
    this.#note(plural, "DELETED", gone);
    this.#tell({ plural, verb, subresource: undefined, before, after: undefined, actor });
    this.#collect(before.metadata.uid);
    return gone;
  }

  /** The garbage collector comes after a while. */
  #collect(owner: string | undefined): void {
    const lateMs = this.#dice.chance(0.1) ? COLLECT_LATE_MS_MAX : COLLECT_MS_MAX;
    for (const plural of ["services", "endpointslices"]) {
      this.#time.after(this.#dice.int(0, lateMs), () => {
        for (const object of [...this.#kind(plural).values()]) {
          if (!object.metadata.ownerReferences?.some(({ uid }) => uid === owner)) continue;
          this.#remove({ plural } as Resource<KubeObject>, "collect", object, object, "collector");
        }
      });
    }
  }

  #note(plural: string, type: LogEntry["type"], object: KubeObject): void {
    const log = this.#logs.get(plural) ?? [];
    this.#logs.set(plural, log);
    log.push({ version: this.#version, type, object });
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }

  #kind(plural: string): Map<string, KubeObject> {
    const known = this.#objects.get(plural);
    if (known !== undefined) return known;
    const fresh = new Map<string, KubeObject>();
    this.#objects.set(plural, fresh);
    return fresh;
  }
}

/** What a write leaves of `wanted`: the parts that it may not touch stay as they are. */
function settled<T extends KubeObject>(
  { plural }: Resource<T>,
  subresource: string | undefined,
  before: T,
  wanted: T,
): T {
  const statusOf = (object: T) => (object as { status?: unknown }).status;
  const specOf = (object: T) => (object as { spec?: unknown }).spec;
  if (subresource === "status") {
    return { ...before, metadata: { ...before.metadata }, status: statusOf(wanted) };
  }
  const { uid, generation, creationTimestamp, deletionTimestamp, resourceVersion } =
    before.metadata;
  const fixed = { uid, generation, creationTimestamp, deletionTimestamp, resourceVersion };
  const metadata = plain({ ...wanted.metadata, ...fixed });
  const after = { ...wanted, metadata } as T;
  if (WITH_STATUS.includes(plural)) {
    const status = statusOf(before);
    if (status === undefined) delete (after as { status?: unknown }).status;
    else Object.assign(after, { status });
  }
  if (!jsonEqual(specOf(before), specOf(after))) metadata.generation = (generation ?? 0) + 1;
  return after;
}

/** As it comes out of JSON: nothing shared with the caller, nothing undefined. */
function plain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value));
}

/** Objects are shared by everybody: whoever changes one throws. */
function freeze(value: unknown): void {
  if (Array.isArray(value)) for (const one of value) freeze(one);
  else if (isObject(value)) for (const one of Object.values(value)) freeze(one);
  if (typeof value === "object" && value !== null) Object.freeze(value);
}

function notFound(resource: Resource<KubeObject>, { name }: ObjectName): KubeApiError {
  return new KubeApiError(404, "NotFound", `${resource.plural} "${name}" not found`);
}

function conflict(resource: Resource<KubeObject>, { metadata }: KubeObject, why: string) {
  const text = `Operation cannot be fulfilled on ${resource.plural} "${metadata.name}": ${why}`;
  return new KubeApiError(409, "Conflict", text);
}
