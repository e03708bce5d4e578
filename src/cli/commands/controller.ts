import { hostname } from "node:os";
import type { SchedulerName } from "#api/model-adapter.ts";
import { CONTROLLER_NAME, SYSTEM_NAMESPACE } from "#api/names.ts";
import { UserError } from "#base/errors.ts";
import { MANAGER_DEFAULTS, type ManagerOptions, runManager } from "#controller/manager.ts";
import { answerMeter } from "#controller/metrics.ts";
import { runtimeEngine } from "#engine/runtime.ts";
import { sglangEngine } from "#engine/sglang.ts";
import { vllmEngine } from "#engine/vllm.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { parseListenAddress } from "#serve/address.ts";
import { selfSigned } from "#serve/certificate.ts";
import { createLog } from "#telemetry/log.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import { steadyClock } from "#telemetry/system-clock.ts";
import type { Command, CommandContext, CommandOption } from "../command.ts";
import { parseBoolean, parseChoice, parseDurationMs, parseInteger, parseRate } from "../parse.ts";

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
  controllers: boolean;
  debugMode: boolean;
  logFormat: "text" | "json";
}

const CONTROLLER = "model-adapter-controller";
/** The names that AIBrix's manager knows. */
const CONTROLLERS = [
  CONTROLLER,
  "pod-autoscaler-controller",
  "distributed-inference-controller",
  "model-route-controller",
  "kv-cache-controller",
  "model-claim-controller",
  "model-warmup-controller",
  "stormservice-controller",
];

/** Taken so that AIBrix's manifests start: what they turn on or off is not here. */
const WITHOUT_EFFECT: readonly CommandOption[] = [
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
      parse: parsePolicy,
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
      description: "serve /metrics over TLS, with a certificate that signs itself",
      default: "false",
      parse: parseBoolean("--metrics-secure"),
    },
    {
      flags: "--kube-api-qps <number>",
      description:
        "requests per second to the API server; 0 or less: no limit of our own, the server's priority and fairness decides",
      default: "0",
      parse: parseRate("--kube-api-qps"),
    },
    {
      flags: "--kube-api-burst <number>",
      description: "requests above --kube-api-qps at once",
      default: "100",
      parse: parseInteger("--kube-api-burst", 1),
    },
    {
      flags: "--debug-mode [boolean]",
      description: "log each decision",
      default: "false",
      parse: parseBoolean("--debug-mode"),
    },
    {
      flags: "--controllers <names>",
      description: `which of AIBrix's controllers to run: *, ${CONTROLLER}, or -${CONTROLLER} for none`,
      default: "*",
      parse: parseControllers,
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
  const metrics = createMetrics({ process: true });
  const onAnswer = answerMeter(metrics, new URL(config.server).host);
  const connection = { config, clock: steady, userAgent: CONTROLLER_NAME, onAnswer };
  const { kubeApiQps: qps, kubeApiBurst: burst } = flags;
  const client = createKubeClient(
    Number.isFinite(qps) ? { ...connection, rateLimit: { qps, burst } } : connection,
  );
  const leaseClient = createKubeClient(connection);
  const random = Math.random;
  const engines = { vllm: vllmEngine(), sglang: sglangEngine(), runtime: runtimeEngine() };
  const address = (flag: string, text: string) =>
    parseListenAddress(flag, text, env["LORADOCK_BIND_ADDRESS"]);
  const metricsAddress = address("--metrics-bind-address", flags.metricsBindAddress);
  const hosts = ["localhost", "127.0.0.1", "::1", metricsAddress?.host ?? ""];
  const options: ManagerOptions = {
    isEnabled: flags.controllers,
    pollMs: flags.pollInterval,
    schedulerPolicy: flags.modelAdapterSchedulerPolicy,
    enableRuntimeSidecar: flags.enableRuntimeSidecar,
    namespace: flags.leaderElectionNamespace,
    probeAddress: address("--health-probe-bind-address", flags.healthProbeBindAddress),
    metricsAddress,
    metricsTls: flags.metricsSecure
      ? await selfSigned(
          hosts.filter((host) => host !== ""),
          clock.now(),
        )
      : undefined,
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
    const deps = { client, leaseClient, engines, clock: steady, log, random, metrics };
    await runManager(deps, options, signal);
  } finally {
    await Promise.all([client.close(), leaseClient.close()]);
    log.info("Stopped");
  }
}

/** Whether a list of controllers, as AIBrix reads it, has the one for ModelAdapters run; the last word about it counts. */
export function parseControllers(text: string): boolean {
  let isEnabled = false;
  for (const word of text.split(",").map((part) => part.trim())) {
    const name = word.replace(/^-/, "");
    if (word === "*") isEnabled = true;
    else if (name === CONTROLLER) isEnabled = name === word;
    else if (!CONTROLLERS.includes(name)) {
      throw new UserError(
        `--controllers: '${name}' is not known; use *, ${CONTROLLERS.join(", ")}`,
      );
    }
  }
  return isEnabled;
}

/** Also in AIBrix's spelling, which it has for one of them. */
function parsePolicy(text: string): SchedulerName {
  const name = text === "leastAdapters" ? "least-adapters" : text;
  return parseChoice("--model-adapter-scheduler-policy", ["default", "least-adapters"])(name);
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
