import type { Engine } from "#engine/engine.ts";
import type { KubeClient } from "#kube/client.ts";
import type { Engines } from "./places.ts";

/** An act was stopped: another controller may lead by now. */
class NotLeading extends Error {
  override readonly name = "NotLeading";

  constructor() {
    super("not leading any more: nothing is written and no engine is called");
  }
}

/**
 * A client that writes only while `mayAct`. Losing the lease aborts everything by a timer; a process that stood still for
 * a while acts before its timers fire, and is stopped here.
 */
export function fencedClient(client: KubeClient, mayAct: () => boolean): KubeClient {
  const check = () => {
    if (!mayAct()) throw new NotLeading();
  };
  return {
    get: (...args) => client.get(...args),
    list: (...args) => client.list(...args),
    watch: (...args) => client.watch(...args),
    create: async (...args) => {
      check();
      return client.create(...args);
    },
    update: async (...args) => {
      check();
      return client.update(...args);
    },
    patch: async (...args) => {
      check();
      return client.patch(...args);
    },
    apply: async (...args) => {
      check();
      return client.apply(...args);
    },
    delete: async (...args) => {
      check();
      return client.delete(...args);
    },
  };
}

/** Engines that are changed only while `mayAct`. */
export function fencedEngines(engines: Engines, mayAct: () => boolean): Engines {
  const check = () => {
    if (!mayAct()) throw new NotLeading();
  };
  const fence = (engine: Engine): Engine => ({
    inventory: (...args) => engine.inventory(...args),
    load: async (...args) => {
      check();
      return engine.load(...args);
    },
    unload: async (...args) => {
      check();
      return engine.unload(...args);
    },
  });
  return {
    vllm: fence(engines.vllm),
    sglang: fence(engines.sglang),
    runtime: {
      ...fence(engines.runtime),
      loadArtifact: async (...args) => {
        check();
        return engines.runtime.loadArtifact(...args);
      },
    },
  };
}
