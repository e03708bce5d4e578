import { hostname } from "node:os";
import type { SchedulerName } from "#api/model-adapter.ts";
import { CONTROLLER_NAME, SYSTEM_NAMESPACE } from "#api/names.ts";
import { CONTROLLER_DEFAULTS, runController } from "#controller/controller.ts";
import { vllmEngine } from "#engine/vllm.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { LeaderElector } from "#kube/lease.ts";
import { createKubeClient } from "#kube/rest.ts";
import { parseListenAddress } from "#serve/address.ts";
import { probesFetch } from "#serve/probes.ts";
import { listen } from "#serve/server.ts";
import { createLog } from "#telemetry/log.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import type { Command, CommandContext } from "../command.ts";
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
  healthProbeBindAddress: string;
  metricsBindAddress: string;
  kubeApiQps: number;
  kubeApiBurst: number;
  logFormat: "text" | "json";
}

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
      flags: "--model-adapter-scheduler-policy <name>",
      description: "what schedulerName default means: default or least-adapters",
      default: CONTROLLER_DEFAULTS.schedulerPolicy,
      parse: parseChoice("--model-adapter-scheduler-policy", ["default", "least-adapters"]),
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
      flags: "--kube-api-qps <number>",
      description: "requests per second to the API server",
      default: "100",
      parse: parseInteger("--kube-api-qps", 1),
    },
    {
      flags: "--kube-api-burst <number>",
      description: "requests above that at once",
      default: "100",
      parse: parseInteger("--kube-api-burst", 1),
    },
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
    clock,
    write: (line) => {
      stderr.write(line);
    },
  });
  const config = await loadKubeConfig({ kubeconfigPath: flags.kubeconfig, env, clock });
  const rateLimit = { qps: flags.kubeApiQps, burst: flags.kubeApiBurst };
  const client = createKubeClient({ config, clock, userAgent: CONTROLLER_NAME, rateLimit });
  const random = Math.random;
  const metrics = createMetrics({ process: true });
  let notReady: string | undefined = flags.leaderElect ? undefined : "the caches are being filled";
  const onSynced = () => {
    notReady = undefined;
  };
  const serve = async (flag: string, text: string, fetch: ReturnType<typeof probesFetch>) => {
    const address = parseListenAddress(flag, text, env["LORADOCK_BIND_ADDRESS"]);
    if (address === undefined) return;
    const cure = `set ${flag}`;
    await listen(
      { ...address, title: "the controller", cure, handler: { fetch }, log, clock },
      signal,
    );
  };
  const probes = probesFetch({ notReady: () => notReady });
  await serve("--health-probe-bind-address", flags.healthProbeBindAddress, probes);
  await serve("--metrics-bind-address", flags.metricsBindAddress, probesFetch({ metrics }));
  const options = {
    ...CONTROLLER_DEFAULTS,
    pollMs: flags.pollInterval,
    schedulerPolicy: flags.modelAdapterSchedulerPolicy,
  };
  const deps = { client, engine: vllmEngine(), clock, log, random, metrics, onSynced };
  const lead = (leading: AbortSignal) => runController(deps, options, leading);
  log.info("Starting the controller", { server: config.server, config: config.source });
  try {
    if (!flags.leaderElect) return await lead(signal);
    const identity = `${env["POD_NAME"] ?? hostname()}_${crypto.randomUUID()}`;
    const elector = new LeaderElector(
      { client, clock, log, random },
      {
        namespace: flags.leaderElectionNamespace,
        name: flags.leaderElectionId,
        identity,
        leaseDurationMs: flags.leaderElectionLeaseDuration,
        renewDeadlineMs: flags.leaderElectionRenewDeadline,
      },
    );
    await elector.run(lead, signal);
  } finally {
    await client.close();
    log.info("Stopped");
  }
}
