import { join } from "node:path";
import { codeOf, messageOf, UserError } from "#base/errors.ts";
import { seedHub } from "../hub/seed.ts";
import { endAllPods } from "../pods/leftovers.ts";
import { addressAdvice } from "../pods/pod-addresses.ts";
import { checkPorts, isRunNoted, takeStateDir } from "../preflight.ts";
import { LOCAL_POD_POOL } from "../run-node.ts";
import { endEarlierRun, PODS_GRACE_MS } from "./earlier-run.ts";
import { type MachineDeps, startMachine } from "./machine.ts";
import { readManifests } from "./manifests.ts";
import { runStages, type Screen } from "./progress.ts";
import { answerLines, table, tryLines, verdict } from "./report.ts";
import { neededPorts, type UpSettings } from "./settings.ts";
import { Walk } from "./walk.ts";

export interface UpDeps extends Omit<MachineDeps, "entries"> {
  readonly screen: Screen;
}

/** The package: manifests and our own entries lie below it. */
const ROOT = join(import.meta.dirname, "../../..");

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
    const ports = neededPorts(settings);
    await endEarlierRun({ stateDir: settings.stateDir, ports, wasKilled }, deps, signal);
    await checkPorts(ports);
    await seedHub(hubDir(settings));
    await runOnState(settings, deps, signal);
  } catch (error) {
    throw asUserError(error, settings);
  } finally {
    release();
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

async function runOnState(settings: UpSettings, deps: UpDeps, signal: AbortSignal): Promise<void> {
  const { screen } = deps;
  const manifests = readManifests(ROOT, {
    gatewayPort: settings.gatewayPort,
    hubPort: settings.hubPort,
    hubDir: hubDir(settings),
  });
  const say = (line: string) => void screen.stdout.write(`${line}\n`);
  const life = new AbortController();
  const machine = startMachine(settings, { ...deps, entries: join(ROOT, "src/main") }, life.signal);
  // The walk ends early when the user stops it or a process cannot start.
  const leave = new AbortController();
  machine.running.catch((error: unknown) => leave.abort(error));
  const walk = new Walk(settings, {
    clock: deps.clock,
    signal: AbortSignal.any([signal, leave.signal]),
    client: machine.client,
    nodeReady: machine.ready,
    manifests,
  });
  try {
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
    await aborted(AbortSignal.any([signal, leave.signal]));
    leave.signal.throwIfAborted();
  } catch (error) {
    // Whatever stage it was in: the process that could not start is the reason.
    leave.signal.throwIfAborted();
    throw error;
  } finally {
    say(`Stopping; the state is kept in ${settings.shownStateDir}/`);
    life.abort();
    await machine.running.catch(() => {});
    await machine.close();
    // A kubelet that was killed or had just been started again has not stopped any pod.
    await endAllPods(settings.stateDir, PODS_GRACE_MS, deps.clock);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
