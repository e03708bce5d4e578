import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { codeOf, messageOf, UserError } from "#base/errors.ts";
import { isNotFound, type KubeClient } from "#kube/client.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import type { Log } from "#telemetry/log.ts";
import { seedHub } from "../hub/seed.ts";
import { endAllPods } from "../pods/leftovers.ts";
import { addressAdvice } from "../pods/pod-addresses.ts";
import { isStateLocked } from "../pods/state-lock.ts";
import { checkPorts, isRunNoted, takeStateDir } from "../preflight.ts";
import { LOCAL_POD_POOL } from "../run-node.ts";
import { supervise } from "../supervise.ts";
import { forgetEarlierRun } from "./earlier-run.ts";
import { readManifests } from "./manifests.ts";
import {
  apiServerProcess,
  getNode,
  isApiReady,
  isNodeReadySince,
  kubeconfigFile,
  kubeletProcess,
} from "./processes.ts";
import { runStages, type Screen } from "./progress.ts";
import { answerLines, table, tryLines, verdict } from "./report.ts";
import { HOST, type UpSettings } from "./settings.ts";
import { Walk } from "./walk.ts";

export interface UpDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly screen: Screen;
  readonly env: Readonly<Record<string, string>>;
  readonly node: string;
}

const ROOT = join(import.meta.dirname, "../../..");
const POLL_MS = 50;
/** Killed processes see their stdin end and then stop their pods. */
const EARLIER_RUN_MAX_MS = 30_000;
const EARLIER_RUN_POLL_MS = 200;
/** For pods that lost their kubelet; others get what their manifest says. */
const PODS_GRACE_MS = 5_000;

/**
 * The single machine: a Kubernetes API, a kubelet, and on them, as pods, everything else. Runs until
 * `signal` is aborted, with `once` only until the models have answered; then stops all processes and
 * keeps the state.
 * @throws UserError in one sentence when a stage fails.
 */
export async function runUp(
  settings: UpSettings,
  deps: UpDeps,
  signal: AbortSignal,
): Promise<void> {
  const advice = await addressAdvice(LOCAL_POD_POOL);
  if (advice !== undefined) throw new UserError(advice);
  const wasKilled = isRunNoted(settings.stateDir);
  const release = takeStateDir(settings.stateDir);
  try {
    await endEarlierRun(settings, deps, wasKilled, signal);
    await checkPorts(neededPorts(settings));
    await seedHub(hubDir(settings));
    await runOnState(settings, deps, signal);
  } catch (error) {
    throw asUserError(error, settings);
  } finally {
    release();
  }
}

/**
 * After a kill of `loradock up` its processes still take a moment to stop; what their kubelet could
 * not stop is stopped here. Then their ports are free.
 */
async function endEarlierRun(
  settings: UpSettings,
  { clock, screen }: UpDeps,
  wasKilled: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { stateDir } = settings;
  const endMs = clock.now() + EARLIER_RUN_MAX_MS;
  const until = async (isOver: () => boolean | Promise<boolean>) => {
    while (!(await isOver()) && clock.now() < endMs) await clock.sleep(EARLIER_RUN_POLL_MS, signal);
  };
  if (wasKilled) screen.stdout.write("An earlier run was killed; ending what is left of it\n");
  await until(() => !isStateLocked(stateDir));
  // A kubelet that does not end is told by the next one, with its process.
  if (isStateLocked(stateDir)) return;
  await endAllPods(stateDir, PODS_GRACE_MS, clock);
  if (wasKilled) await until(() => arePortsFree(settings));
}

async function arePortsFree(settings: UpSettings): Promise<boolean> {
  try {
    await checkPorts(neededPorts(settings));
    return true;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

/** What the system refuses is something that the user can mend; everything else is our fault. */
function asUserError(error: unknown, { stateDir }: UpSettings): unknown {
  const code = codeOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new UserError(
      `the disk of ${stateDir} is full; free some space or choose another folder with --state-dir`,
    );
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    return new UserError(
      `not allowed: ${messageOf(error)}; choose another folder with --state-dir`,
    );
  }
  return error;
}

const hubDir = (settings: UpSettings) => join(settings.stateDir, "hub");

const neededPorts = ({ apiPort, gatewayPort, hubPort }: UpSettings) => [
  { host: HOST, port: apiPort, what: "the Kubernetes API", flag: "--api-port" },
  { host: HOST, port: gatewayPort, what: "the gateway", flag: "--gateway-port" },
  { host: HOST, port: hubPort, what: "the model hub", flag: "--hub-port" },
];

async function runOnState(settings: UpSettings, deps: UpDeps, signal: AbortSignal): Promise<void> {
  const { screen } = deps;
  const say = (line: string) => void screen.stdout.write(`${line}\n`);
  const life = new AbortController();
  const machine = startMachine(settings, deps, life.signal);
  // The walk ends early when the user stops it or a process cannot start.
  const leave = new AbortController();
  const isOver = machine.running.then(
    () => new Promise<never>(() => {}),
    (error: unknown) => {
      leave.abort(error);
      throw error;
    },
  );
  isOver.catch(() => {});
  const walk = new Walk(settings, {
    clock: deps.clock,
    signal: AbortSignal.any([signal, leave.signal]),
    client: machine.client,
    nodeReady: machine.ready,
    manifests: readManifests(ROOT, {
      gatewayPort: settings.gatewayPort,
      hubPort: settings.hubPort,
      hubDir: hubDir(settings),
    }),
  });
  try {
    // Not raced with `isOver`: its failure ends the stages, and the terminal is left in order.
    await runStages(walk.stages(), screen);
    for (const note of walk.notes) say(`  ${note}`);
    if (settings.once) {
      for (const line of table(walk.results)) say(line);
      const wrong = verdict(walk.results);
      if (wrong.length > 0) throw new UserError(`the answers are not right: ${wrong.join("; ")}`);
      return;
    }
    for (const line of answerLines(walk.results)) say(`  ${line}`);
    for (const line of tryLines(walk.tryPlace())) say(`  ${line}`);
    await Promise.race([aborted(signal), isOver]);
  } catch (error) {
    throw leave.signal.aborted ? leave.signal.reason : error;
  } finally {
    say(`Stopping; the state is kept in ${settings.shownStateDir}/`);
    life.abort();
    await machine.running.catch(() => {});
    await machine.close();
    // A kubelet that was killed or had just been started again has not stopped any pod.
    await endAllPods(settings.stateDir, PODS_GRACE_MS, deps.clock);
  }
}

/** The two processes that everything else runs on, kept running until `signal` is aborted. */
function startMachine(settings: UpSettings, deps: UpDeps, signal: AbortSignal) {
  const { clock, log, env, node } = deps;
  const { stateDir } = settings;
  const startMs = clock.now();
  // One of an earlier run must not be taken for the one that is about to be written.
  rmSync(kubeconfigFile(stateDir), { force: true });
  const program = {
    settings,
    entries: join(ROOT, "src", "main"),
    node,
    // A third less work at every start but the first: nine of the processes are Node with our modules.
    env: { NODE_COMPILE_CACHE: join(stateDir, "compile-cache"), ...env },
  };
  const client = Promise.withResolvers<KubeClient & { close(): Promise<void> }>();
  const ready = Promise.withResolvers<void>();
  client.promise.catch(() => {});
  const api = apiServerProcess(program, async (waiting) => {
    for (;;) {
      const made = await connect(stateDir, clock, waiting);
      if (made !== undefined) {
        await forgetEarlierRun(made, clock, waiting);
        client.resolve(made);
        return;
      }
      await clock.sleep(POLL_MS, waiting);
    }
  });
  const kubelet = kubeletProcess(program, async (waiting) => {
    const made = await client.promise;
    for (;;) {
      const isReady = await getNode(made, waiting).then(
        (found) => isNodeReadySince(found, startMs),
        (error: unknown) => {
          if (isNotFound(error)) return false;
          throw error;
        },
      );
      if (isReady) return;
      await clock.sleep(POLL_MS, waiting);
    }
  });
  const running = supervise([api, kubelet], { clock, log, onReady: () => ready.resolve() }, signal);
  return {
    client: client.promise,
    ready: ready.promise,
    running,
    close: async () => {
      client.reject(new Error("never started"));
      const made = await client.promise.catch(() => undefined);
      await made?.close();
    },
  };
}

async function connect(stateDir: string, clock: Clock, signal: AbortSignal) {
  try {
    const path = kubeconfigFile(stateDir);
    const config = await loadKubeConfig({ kubeconfigPath: path, env: {}, clock });
    if (!(await isApiReady(config, signal))) return undefined;
    return createKubeClient({ config, clock, userAgent: "loradock-up" });
  } catch (error) {
    // Not written yet, or only in part.
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
