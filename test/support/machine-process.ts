/** `loradock up` as a process of its own, for end-to-end tests and figures. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { KubeClient } from "#kube/client.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "./eventually.ts";
import type { MachinePorts } from "./free-port.ts";

const ROOT = join(import.meta.dirname, "../..");
/** A start takes about 10 s on two cores; other work may go on beside it. */
const START_MS = 120_000;

export interface Machine {
  readonly child: ChildProcess;
  /** The exit code, or the signal. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
  output(): string;
  /** Resolves when everything runs; rejects with what was said when it ends instead. */
  running(): Promise<void>;
}

/** Starts `loradock up` on a state folder. */
export function startMachine(stateDir: string, ports: MachinePorts, ...args: string[]): Machine {
  const child = spawn(
    process.execPath,
    [
      ...[join(ROOT, "bin/loradock"), "up", "--state-dir", stateDir],
      ...["--api-port", String(ports.api), "--gateway-port", String(ports.gateway)],
      ...["--hub-port", String(ports.hub), ...args],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString("utf8");
    });
  }
  const exited = once(child, "close").then(([code, signal]) => code ?? signal);
  return {
    child,
    exited,
    output: () => output,
    running: async () => {
      const ended = exited.then((how) => {
        throw new Error(`up ended (${how}):\n${output}`);
      });
      ended.catch(() => {});
      const ready = eventually("up runs", () => output.includes("Ctrl-C stops"), START_MS);
      await Promise.race([ready, ended]);
    },
  };
}

/** A client of the state folder's API server. */
export async function machineClient(
  stateDir: string,
): Promise<KubeClient & { close(): Promise<void> }> {
  const kubeconfigPath = join(stateDir, "kubeconfig");
  const config = await loadKubeConfig({ kubeconfigPath, env: {}, clock });
  return createKubeClient({ config, clock });
}
