import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { UserError } from "#base/errors.ts";
import { isNotFound, type KubeClient } from "#kube/client.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import type { Log } from "#telemetry/log.ts";
import { supervise } from "../supervise.ts";
import { forgetEarlierRun } from "./earlier-run.ts";
import {
  apiServerProcess,
  getNode,
  isApiReady,
  isNodeReadySince,
  kubeconfigFile,
  kubeletProcess,
} from "./processes.ts";
import { HOST, type UpSettings } from "./settings.ts";
import { isPassing } from "./wait-for.ts";

export interface MachineDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly env: Readonly<Record<string, string>>;
  /** The Node binary that runs our entries. */
  readonly node: string;
  /** Folder of our own entries, `src/main`. */
  readonly entries: string;
}

const POLL_MS = 50;

/** The two processes that everything else runs on. */
export interface Machine {
  /** Resolves when the API server answers. */
  readonly client: Promise<KubeClient>;
  /** Resolves when the kubelet takes pods. */
  readonly ready: Promise<void>;
  /** Settles when both have ended; rejects when one could not start. */
  readonly running: Promise<void>;
  readonly close: () => Promise<void>;
}

/** Starts the API server and the kubelet and keeps them running until `signal` is aborted. */
export function startMachine(
  settings: UpSettings,
  { clock, log, env, node, entries }: MachineDeps,
  signal: AbortSignal,
): Machine {
  const startMs = clock.now();
  const program = {
    ...{ settings, entries, node },
    // A third less work at every start but the first: all the processes are Node with our modules.
    env: { NODE_COMPILE_CACHE: join(settings.stateDir, "compile-cache"), ...env },
  };
  const client = Promise.withResolvers<KubeClient & { close(): Promise<void> }>();
  const ready = Promise.withResolvers<void>();
  client.promise.catch(() => {});
  /** Until `look` is true; that the API server is away for a moment is no failure. */
  const until = async (look: () => Promise<boolean>, waiting: AbortSignal) => {
    while (!(await look().catch(notYet))) await clock.sleep(POLL_MS, waiting);
  };
  const api = apiServerProcess(program, (waiting) =>
    until(async () => {
      const made = await connect(settings, clock, waiting);
      if (made === undefined) return false;
      await forgetEarlierRun(made, clock, waiting);
      client.resolve(made);
      return true;
    }, waiting),
  );
  const kubelet = kubeletProcess(program, (waiting) =>
    until(
      async () => isNodeReadySince(await getNode(await client.promise, waiting), startMs),
      waiting,
    ),
  );
  const running = supervise([api, kubelet], { clock, log, onReady: ready.resolve }, signal);
  return {
    client: client.promise,
    ready: ready.promise,
    running,
    close: async () => {
      client.reject(new Error("the API server was never ready"));
      const made = await client.promise.catch(() => undefined);
      await made?.close();
    },
  };
}

function notYet(error: unknown): false {
  if (isNotFound(error) || isPassing(error)) return false;
  throw error;
}

async function connect({ stateDir, apiPort }: UpSettings, clock: Clock, signal: AbortSignal) {
  try {
    const kubeconfigPath = kubeconfigFile(stateDir);
    const config = await loadKubeConfig({ kubeconfigPath, env: {}, clock });
    // The file may still be an earlier run's, with another port.
    const isOurs = config.server === `https://${HOST}:${apiPort}`;
    if (!isOurs || !(await isApiReady(config, signal))) return undefined;
    return createKubeClient({ config, clock, userAgent: "loradock-up" });
  } catch (error) {
    // Not written yet, or only in part.
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
