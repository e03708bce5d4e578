import type { Engine, EngineTarget } from "#engine/engine.ts";
import type { KubeClient } from "#kube/client.ts";
import type { Engines } from "./places.ts";

/** An act was stopped: another controller may lead by now. */
class NotLeading extends Error {
  override readonly name = "NotLeading";

  constructor() {
    super("not leading any more: nothing is written and no engine is called");
  }
}

/** Throws unless `mayAct`. */
const fence = (mayAct: () => boolean) => () => {
  if (!mayAct()) throw new NotLeading();
};

/**
 * A client that writes only while `mayAct`, which is asked at the last moment: a write may have waited for its turn or for a busy
 * server. Losing the lease aborts everything by a timer; a process that stood still for a while acts before its timers fire, and is
 * stopped here.
 */
export function fencedClient(client: KubeClient, mayAct: () => boolean): KubeClient {
  const beforeSend = fence(mayAct);
  return {
    get: (...args) => client.get(...args),
    list: (...args) => client.list(...args),
    watch: (...args) => client.watch(...args),
    create: (resource, object, options) =>
      client.create(resource, object, { ...options, beforeSend }),
    update: (resource, object, options) =>
      client.update(resource, object, { ...options, beforeSend }),
    patch: (resource, name, kind, patch, options) =>
      client.patch(resource, name, kind, patch, { ...options, beforeSend }),
    apply: (resource, object, options) =>
      client.apply(resource, object, { ...options, beforeSend }),
    delete: (resource, name, options) => client.delete(resource, name, { ...options, beforeSend }),
  };
}

/** Engines that are changed only while `mayAct`, which is asked before each of the requests that one load may need. */
export function fencedEngines(engines: Engines, mayAct: () => boolean): Engines {
  const fenced = (target: EngineTarget) => ({ ...target, beforeChange: fence(mayAct) });
  const around = (engine: Engine): Engine => ({
    inventory: (...args) => engine.inventory(...args),
    load: (target, ...args) => engine.load(fenced(target), ...args),
    unload: (target, ...args) => engine.unload(fenced(target), ...args),
  });
  return {
    vllm: around(engines.vllm),
    sglang: around(engines.sglang),
    runtime: {
      ...around(engines.runtime),
      loadArtifact: (target, ...args) => engines.runtime.loadArtifact(fenced(target), ...args),
    },
  };
}
