import type { KubeList, KubeObject } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import { applyMergePatch } from "#base/merge-patch.ts";
import {
  KubeApiError,
  type KubeClient,
  type ListOptions,
  type ObjectName,
  type Resource,
  type WatchEvent,
} from "#kube/client.ts";

/**
 * A Kubernetes API in memory, for tests of what is above the client: objects with versions, conflicts, finalizers and watches.
 * It knows no schema, and its apply overwrites; what depends on those is tested against a real API server.
 */
export class MemoryKube implements KubeClient {
  /** Requests that changed something, as `verb plural[/subresource]`. */
  readonly writes: string[] = [];
  readonly #objects = new Map<string, KubeObject>();
  readonly #watchers = new Set<(plural: string, event: WatchEvent<KubeObject>) => void>();
  #version = 0;

  async get<T extends KubeObject>(resource: Resource<T>, name: ObjectName): Promise<T> {
    const object = this.#objects.get(idOf(resource, name));
    if (object === undefined) {
      throw new KubeApiError(404, "NotFound", `${resource.plural} "${name.name}" not found`);
    }
    return structuredClone(object) as T;
  }

  async list<T extends KubeObject>(
    resource: Resource<T>,
    options: ListOptions = {},
  ): Promise<KubeList<T>> {
    const items = [...this.#objects]
      .filter(([id]) => id.startsWith(`${resource.plural}/`))
      .map(([, object]) => structuredClone(object) as T)
      .filter((object) => [undefined, object.metadata.namespace].includes(options.namespace));
    return { metadata: { resourceVersion: String(this.#version) }, items };
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    options: { resourceVersion?: string | undefined; sendInitialEvents?: boolean },
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>> {
    // This server is of before WatchList: clients fall back to list and watch.
    if (options.sendInitialEvents === true) {
      throw new KubeApiError(422, "Invalid", "sendInitialEvents is forbidden");
    }
    const pending: WatchEvent<T>[] = [];
    let wake = () => {};
    const hear = (plural: string, event: WatchEvent<KubeObject>) => {
      if (plural !== resource.plural) return;
      pending.push(structuredClone(event) as WatchEvent<T>);
      wake();
    };
    this.#watchers.add(hear);
    const stop = () => wake();
    signal.addEventListener("abort", stop, { once: true });
    try {
      const since = Number(options.resourceVersion ?? "0");
      for (const [id, object] of this.#objects) {
        const newer = Number(object.metadata.resourceVersion) > since;
        if (id.startsWith(`${resource.plural}/`) && newer)
          hear(resource.plural, { type: "MODIFIED", object });
      }
      while (!signal.aborted) {
        const event = pending.shift();
        if (event !== undefined) yield event;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#watchers.delete(hear);
    }
  }

  async create<T extends KubeObject>(resource: Resource<T>, object: T): Promise<T> {
    const id = idOf(resource, object.metadata);
    if (this.#objects.has(id)) throw new KubeApiError(409, "AlreadyExists", `${id} already exists`);
    this.writes.push(`create ${resource.plural}`);
    const made = structuredClone(object);
    made.metadata.uid ??= `uid-${id}-${this.#version}`;
    made.metadata.generation = 1;
    return this.#store(resource, made, "ADDED");
  }

  async update<T extends KubeObject>(resource: Resource<T>, object: T): Promise<T> {
    return this.#change(resource, object.metadata, undefined, () => structuredClone(object));
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    _kind: "merge",
    patch: unknown,
    options: { subresource?: string | undefined } = {},
  ): Promise<T> {
    return this.#change(resource, name, options.subresource, (before) => {
      const after = applyMergePatch(before as never, patch as never) as unknown as T;
      if (options.subresource !== "status") return after;
      return { ...before, status: (after as { status?: unknown }).status } as T;
    });
  }

  async apply<T extends KubeObject>(resource: Resource<T>, object: T): Promise<T> {
    if (!this.#objects.has(idOf(resource, object.metadata))) return this.create(resource, object);
    return this.#change(resource, object.metadata, undefined, (before) => {
      const { uid, generation } = before.metadata;
      const metadata = { ...object.metadata, ...(uid === undefined ? {} : { uid }) };
      return { ...structuredClone(object), metadata: { ...metadata, generation: generation ?? 1 } };
    });
  }

  async delete<T extends KubeObject>(resource: Resource<T>, name: ObjectName): Promise<void> {
    const object = await this.get(resource, name);
    this.writes.push(`delete ${resource.plural}`);
    if ((object.metadata.finalizers ?? []).length === 0) return this.#remove(resource, object);
    object.metadata.deletionTimestamp ??= toTimestamp(Date.now());
    this.#store(resource, object, "MODIFIED");
  }

  #change<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    subresource: string | undefined,
    change: (before: T) => T,
  ): T {
    const id = idOf(resource, name);
    const before = this.#objects.get(id) as T | undefined;
    if (before === undefined) throw new KubeApiError(404, "NotFound", `${id} not found`);
    const after = change(structuredClone(before));
    const { resourceVersion } = after.metadata;
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
      throw new KubeApiError(409, "Conflict", `${id} has been modified`);
    }
    const path = subresource === undefined ? resource.plural : `${resource.plural}/${subresource}`;
    this.writes.push(`write ${path}`);
    const specOf = (object: T) => JSON.stringify((object as { spec?: unknown }).spec);
    if (specOf(after) !== specOf(before)) {
      after.metadata.generation = (before.metadata.generation ?? 0) + 1;
    }
    const doomed = after.metadata.deletionTimestamp !== undefined;
    if (doomed && (after.metadata.finalizers ?? []).length === 0) {
      this.#remove(resource, after);
      return after;
    }
    return this.#store(resource, after, "MODIFIED");
  }

  #store<T extends KubeObject>(resource: Resource<T>, object: T, type: "ADDED" | "MODIFIED"): T {
    object.metadata.resourceVersion = String(++this.#version);
    this.#objects.set(idOf(resource, object.metadata), structuredClone(object));
    this.#tell(resource.plural, { type, object });
    return object;
  }

  #remove(resource: Resource<KubeObject>, object: KubeObject): void {
    this.#objects.delete(idOf(resource, object.metadata));
    object.metadata.resourceVersion = String(++this.#version);
    this.#tell(resource.plural, { type: "DELETED", object });
    const owned = [...this.#objects].filter(([, one]) =>
      one.metadata.ownerReferences?.some((owner) => owner.uid === object.metadata.uid),
    );
    for (const [id, one] of owned) {
      this.#objects.delete(id);
      one.metadata.resourceVersion = String(++this.#version);
      this.#tell(id.split("/")[0] ?? "", { type: "DELETED", object: one });
    }
  }

  #tell(plural: string, event: WatchEvent<KubeObject>): void {
    for (const hear of this.#watchers) hear(plural, event);
  }
}

function idOf(resource: Resource<KubeObject>, name: ObjectName): string {
  return `${resource.plural}/${name.namespace ?? ""}/${name.name}`;
}
