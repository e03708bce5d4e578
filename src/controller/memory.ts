import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { fromTimestamp } from "#base/clock.ts";
import { failureFromAnnotations } from "#core/adapter/retry.ts";
import type { Failure, PodSeen } from "#core/adapter/seen.ts";

/** What is going on with one adapter on one pod, and how the last try went. */
export interface Work {
  busy: PodSeen["busy"];
  failure: Failure | undefined;
}

/**
 * What the controller remembers between two looks. It may be lost at any time: the failures that count are also in the adapter's
 * annotations, and what engines hold is asked of them.
 */
export class Memory {
  readonly #work = new Map<string, Map<string, Work>>();

  /** The work for an adapter on a pod. A new controller goes on counting where the last one stood. */
  of(adapter: ModelAdapter, pod: Pod): Work {
    const key = keyOf(adapter);
    const pods = this.#work.get(key) ?? new Map<string, Work>();
    this.#work.set(key, pods);
    const uid = pod.metadata.uid ?? pod.metadata.name;
    const known = pods.get(uid);
    if (known !== undefined) return known;
    const fresh: Work = { busy: undefined, failure: writtenFailure(adapter, pod) };
    pods.set(uid, fresh);
    return fresh;
  }

  /** Whether anything is under way for an adapter. */
  isBusy(adapter: ModelAdapter): boolean {
    return [...(this.#work.get(keyOf(adapter))?.values() ?? [])].some((work) => work.busy);
  }

  /** All work of an adapter, for a spec that changed. */
  forgetFailures(adapter: ModelAdapter): void {
    for (const work of this.#work.get(keyOf(adapter))?.values() ?? []) work.failure = undefined;
  }

  /** An adapter that is gone. */
  forget(adapter: ModelAdapter): void {
    this.#work.delete(keyOf(adapter));
  }

  /** A pod that is gone. */
  forgetPod(pod: Pod): void {
    for (const pods of this.#work.values()) pods.delete(pod.metadata.uid ?? pod.metadata.name);
  }
}

/** An adapter that was deleted and made again under its name is another one. */
function keyOf({ metadata }: ModelAdapter): string {
  return `${metadata.namespace}/${metadata.name}/${metadata.uid}`;
}

function writtenFailure(adapter: ModelAdapter, pod: Pod): Failure | undefined {
  const written = failureFromAnnotations(adapter.metadata.annotations, pod.metadata.name);
  if (written === undefined) return undefined;
  // A container that started since has not failed yet.
  const started = (pod.status?.containerStatuses ?? []).map((status) =>
    fromTimestamp(status.state?.running?.startedAt),
  );
  if (started.some((ms) => ms !== undefined && ms > written.atMs)) return undefined;
  return { ...written, message: "failed before the controller was restarted" };
}
