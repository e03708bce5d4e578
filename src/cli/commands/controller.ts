import { hostname } from "node:os";
import type { SchedulerName } from "#api/model-adapter.ts";
import { CONTROLLER_NAME, SYSTEM_NAMESPACE } from "#api/names.ts";
import { UserError } from "#base/errors.ts";
import { MANAGER_DEFAULTS, type ManagerOptions, runManager } from "#controller/manager.ts";
import { runtimeEngine } from "#engine/runtime.ts";
import { sglangEngine } from "#engine/sglang.ts";
import { vllmEngine } from "#engine/vllm.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { parseListenAddress } from "#serve/address.ts";
import { createLog } from "#telemetry/log.ts";
import { steadyClock } from "#telemetry/system-clock.ts";
import type { Command, CommandContext, CommandOption } from "../command.ts";
import { parseBoolean, parseChoice, parseDurationMs, parseInteger } from "../parse.ts";

interface ControllerFlags {
  kubeconfig?: string;
  leaderElect: boolean;
  leaderElectionNamespace: string;
  leaderElectionId: string;
  leaderElectionLeaseDuration: number;
  leaderElectionRenewDeadline: number;
  modelAdapterSchedulerPolicy: SchedulerName;
  pollInterval: number;
  enableRuntimeSidecar: boolean;
  healthProbeBindAddress: string;
  metricsBindAddress: string;
  kubeApiQps: number;
  kubeApiBurst: number;
  metricsSecure: boolean;
  debugMode: boolean;
  logFormat: "text" | "json";
}

/** Taken so that AIBrix's manifests start: what they turn on or off is not here. */
const WITHOUT_EFFECT: readonly CommandOption[] = [
  ["--controllers <names>", "there is one controller, for ModelAdapters"],
  ["--disable-webhook [boolean]", "there is no webhook"],
  ["--enable-http2 [boolean]", "probes and metrics speak HTTP/1.1"],
].map(([flags = "", why]) => ({ flags, description: `without effect: ${why}` }));

/** `loradock controller`: the ModelAdapter controller, with AIBrix's flags. */
export const controllerCommand: Command = {
  name: "controller",
  summary: "run the ModelAdapter controller",
  description:
    "Keeps each ModelAdapter loaded on the pods that it selects, and publishes it as a Service. Talks to the API server of --kubeconfig, KUBECONFIG, the pod's service account or ~/.kube/config.",
  options: [
    { flags: "--kubeconfig <file>", description: "how to reach the API server" },
    {
      flags: "--leader-elect [boolean]",
      description: "let one of several controllers work, the others stand by",
      default: "false",
      parse: parseBoolean("--leader-elect"),
    },
    {
      flags: "--leader-election-namespace <name>",
      description: "namespace of the Lease",
      default: SYSTEM_NAMESPACE,
    },
    {
      flags: "--leader-election-id <name>",
      description: "name of the Lease",
      default: CONTROLLER_NAME,
    },
    {
      flags: "--leader-election-lease-duration <duration>",
      description: "how long others leave a lease alone that is not renewed",
      default: "15s",
      parse: parseDurationMs("--leader-election-lease-duration"),
    },
    {
      flags: "--leader-election-renew-deadline <duration>",
      description: "how long to lead without a renewal that succeeded",
      default: "10s",
      parse: parseDurationMs("--leader-election-renew-deadline"),
    },
    {
      flags: "--leader-election-resource-lock <kind>",
      description: "what candidates hold: leases",
      default: "leases",
      parse: parseChoice("--leader-election-resource-lock", ["leases"]),
    },
    {
      flags: "--model-adapter-scheduler-policy <name>",
      description: "what schedulerName default means: default or least-adapters",
      default: MANAGER_DEFAULTS.schedulerPolicy,
      parse: parseChoice("--model-adapter-scheduler-policy", ["default", "least-adapters"]),
    },
    {
      flags: "--enable-runtime-sidecar [boolean]",
      description: "load adapters through the runtime sidecar on pods that have one",
      default: "false",
      parse: parseBoolean("--enable-runtime-sidecar"),
    },
    {
      flags: "--poll-interval <duration>",
      description: "pause between two lists of an engine's adapters",
      default: "2s",
      parse: parseDurationMs("--poll-interval"),
    },
    {
      flags: "--health-probe-bind-address <address>",
      description: "where /healthz and /readyz answer; 0 turns them off",
      default: ":8081",
    },
    {
      flags: "--metrics-bind-address <address>",
      description: "where /metrics answers; 0 turns it off",
      default: ":8080",
    },
    {
      flags: "--metrics-secure [boolean]",
      description: "not there yet: /metrics is served without TLS",
      default: "false",
      parse: parseBoolean("--metrics-secure"),
    },
    {
      flags: "--kube-api-qps <number>",
      description:
        "requests per second to the API server; 0: no limit of our own, the server's priority and fairness decides",
      default: "0",
      parse: parseInteger("--kube-api-qps", 0),
    },
    {
      flags: "--kube-api-burst <number>",
      description: "requests above --kube-api-qps at once",
      default: "100",
      parse: parseInteger("--kube-api-burst", 1),
    },
    {
      flags: "--debug-mode [boolean]",
      description: "log more",
      default: "false",
      parse: parseBoolean("--debug-mode"),
    },
    ...WITHOUT_EFFECT,
    {
      flags: "--log-format <form>",
      description: "text (klog's form) or json",
      default: "text",
      parse: parseChoice("--log-format", ["text", "json"]),
    },
  ],
  run: (flags, context) => run(flags as unknown as ControllerFlags, context),
};

async function run(flags: ControllerFlags, context: CommandContext): Promise<void> {
  const { clock, env, signal, stderr } = context;
  if (flags.metricsSecure) {
    throw new UserError(
      "--metrics-secure: /metrics has no TLS yet; leave the flag out, or turn /metrics off with --metrics-bind-address=0",
    );
  }
  const log = createLog({
    format: flags.logFormat,
    level: flags.debugMode ? "debug" : "info",
    clock,
    write: (line) => {
      stderr.write(line);
    },
  });
  const config = await loadKubeConfig({ kubeconfigPath: flags.kubeconfig, env, clock });
  const steady = steadyClock(clock);
  const connection = { config, clock: steady, userAgent: CONTROLLER_NAME };
  const { kubeApiQps: qps, kubeApiBurst: burst } = flags;
  const client = createKubeClient(
    qps === 0 ? connection : { ...connection, rateLimit: { qps, burst } },
  );
  const leaseClient = createKubeClient(connection);
  const random = Math.random;
  const engines = { vllm: vllmEngine(), sglang: sglangEngine(), runtime: runtimeEngine() };
  const address = (flag: string, text: string) =>
    parseListenAddress(flag, text, env["LORADOCK_BIND_ADDRESS"]);
  const options: ManagerOptions = {
    pollMs: flags.pollInterval,
    schedulerPolicy: flags.modelAdapterSchedulerPolicy,
    enableRuntimeSidecar: flags.enableRuntimeSidecar,
    namespace: flags.leaderElectionNamespace,
    probeAddress: address("--health-probe-bind-address", flags.healthProbeBindAddress),
    metricsAddress: address("--metrics-bind-address", flags.metricsBindAddress),
    leaderElection: flags.leaderElect
      ? {
          namespace: flags.leaderElectionNamespace,
          name: flags.leaderElectionId,
          identity: leaderIdentity(env),
          leaseDurationMs: flags.leaderElectionLeaseDuration,
          renewDeadlineMs: flags.leaderElectionRenewDeadline,
        }
      : undefined,
  };
  log.info("Starting the controller", { server: config.server, config: config.source });
  try {
    const deps = { client, leaseClient, engines, clock: steady, log, random };
    await runManager(deps, options, signal);
  } finally {
    await Promise.all([client.close(), leaseClient.close()]);
    log.info("Stopped");
  }
}

/**
 * Who we are among all candidates. In a pod that tells its uid, all processes of its life are one
 * candidate: it has one at a time, so a container that is started again takes up the lease of the one
 * that was killed, instead of waiting for its end.
 */
export function leaderIdentity(env: Readonly<Record<string, string | undefined>>): string {
  const { POD_NAME: name, POD_UID: uid, HOSTNAME: host } = env;
  return name && uid ? `${name}_${uid}` : `${name || host || hostname()}_${crypto.randomUUID()}`;
}
