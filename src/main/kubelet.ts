/** The kubelet of a single machine as a process: runs the pods of an API server as local processes. */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { CONFIG_MAPS, PODS, SECRETS } from "#kube/client.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { startEventRecorder } from "#kube/events.ts";
import { startInformer } from "#kube/informer.ts";
import { createKubeClient } from "#kube/rest.ts";
import { POD_POOL } from "#local/pods/addresses.ts";
import { startKubelet } from "#local/pods/kubelet.ts";
import { createLog } from "#telemetry/log.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { runProcess } from "./process.ts";

const USAGE = `Usage: node src/main/kubelet.ts [--state-dir <folder>] [--kubeconfig <file>] [--node-name <name>]

Runs the pods of an API server as processes of this machine, each on an address of its own in 127.20.0.0/16.
`;
/** Variables of this machine that containers get too: programs must be found and have a home. */
const INHERITED = ["PATH", "HOME", "LANG", "TMPDIR", "NODE_COMPILE_CACHE"];

await runProcess("kubelet", async (signal) => {
  const { values } = parseArgs({
    options: {
      "state-dir": { type: "string", default: ".loradock" },
      kubeconfig: { type: "string" },
      "node-name": { type: "string", default: "loradock" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const stateDir = resolve(values["state-dir"]);
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const log = createLog({ format: "text", clock });
  const config = await loadKubeConfig({
    kubeconfigPath: values.kubeconfig,
    env: process.env,
    clock,
  });
  const client = createKubeClient({ config, clock, userAgent: "loradock-kubelet" });
  // The caches outlive the signal: stopping pods still reads and writes their objects.
  const caches = new AbortController();
  const pods = startInformer(client, PODS, {}, clock, log, caches.signal);
  const secrets = startInformer(client, SECRETS, {}, clock, log, caches.signal);
  const configMaps = startInformer(client, CONFIG_MAPS, {}, clock, log, caches.signal);
  const component = "kubelet";
  const instance = values["node-name"];
  const events = startEventRecorder({ client, clock, log, component, instance }, caches.signal);
  await Promise.all([pods.synced, secrets.synced, configMaps.synced]);
  const inherited = INHERITED.map((name) => [name, process.env[name]] as const);
  const kubelet = await startKubelet({
    client,
    clock,
    log,
    events,
    pods,
    secrets,
    configMaps,
    stateDir,
    nodeName: values["node-name"],
    version: "v1.34.0+loradock",
    pool: POD_POOL,
    entries: import.meta.dirname,
    node: process.execPath,
    defaults: Object.fromEntries(
      inherited.filter((entry): entry is [string, string] => !!entry[1]),
    ),
    engine: { from: "built-in", why: "no other engine was asked for" },
    podApi: undefined,
    server: { port: 0, token: randomBytes(32).toString("hex") },
  });
  log.info("The kubelet runs", { node: values["node-name"], stateDir });
  await new Promise<void>((done) => {
    signal.addEventListener("abort", () => done(), { once: true });
    if (signal.aborted) done();
  });
  await kubelet.stop();
  caches.abort();
  await client.close();
  return 0;
});
