import { gatewayDefaults, runGateway } from "#gateway/gateway.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { createLog } from "#telemetry/log.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import { steadyClock } from "#telemetry/system-clock.ts";
import type { Command, CommandContext, CommandOption } from "../command.ts";
import { parseChoice, parseDurationMs, parseInteger, parsePort } from "../parse.ts";

interface GatewayFlags {
  kubeconfig?: string;
  host: string;
  port: number;
  adminBindAddress?: string;
  defaultNamespace: string;
  maxTries: number;
  maxBodyBytes: number;
  connectTimeout: number;
  firstByteTimeout: number;
  idleTimeout: number;
  drainTimeout: number;
  logFormat: "text" | "json";
}

function duration(flag: string, description: string, defaultMs: number): CommandOption {
  const fallback = `${defaultMs / 1000}s`;
  return {
    flags: `${flag} <duration>`,
    description,
    default: fallback,
    parse: parseDurationMs(flag),
  };
}

/** `loradock gateway`: OpenAI's API over all models of the cluster. */
export const gatewayCommand: Command = {
  name: "gateway",
  summary: "run the OpenAI-compatible gateway",
  description:
    "Sends each request under /v1 to a pod that holds the model it names: base models and ModelAdapters.",
  options: [
    { flags: "--kubeconfig <file>", description: "how to reach the API server" },
    {
      flags: "--mode <mode>",
      description: "proxy: this process forwards the requests itself",
      default: "proxy",
      parse: parseChoice("--mode", ["proxy"]),
    },
    { flags: "--host <address>", description: "where to listen; empty: everywhere", default: "" },
    {
      flags: "--port <port>",
      description: "where to listen",
      default: "8888",
      parse: parsePort("--port"),
    },
    {
      flags: "--max-body-bytes <number>",
      description: "longer requests are refused with 413",
      default: String(gatewayDefaults.maxBodyBytes),
      parse: parseInteger("--max-body-bytes", 1),
    },
    {
      flags: "--admin-bind-address <address>",
      description:
        "where /healthz, /readyz and /metrics answer; left out: on the gateway's own port",
    },
    {
      flags: "--default-namespace <name>",
      description:
        "whose models answer to their bare name when several namespaces have one of that name",
      default: gatewayDefaults.defaultNamespace,
    },
    {
      flags: "--max-tries <number>",
      description: "pods that one request is tried on at most",
      default: String(gatewayDefaults.maxTries),
      parse: parseInteger("--max-tries", 1),
    },
    duration(
      "--connect-timeout",
      "how long a pod may take to accept a connection",
      gatewayDefaults.connectTimeoutMs,
    ),
    duration(
      "--first-byte-timeout",
      "how long an engine may take to begin its answer; without streaming that is the whole generation",
      gatewayDefaults.firstByteTimeoutMs,
    ),
    duration("--idle-timeout", "how long an answer may pause", gatewayDefaults.idleTimeoutMs),
    duration(
      "--drain-timeout",
      "how long requests in flight may go on after a stop",
      gatewayDefaults.drainMs,
    ),
    {
      flags: "--log-format <form>",
      description: "text (klog's form) or json",
      default: "text",
      parse: parseChoice("--log-format", ["text", "json"]),
    },
  ],
  run: (flags, context) => run(flags as unknown as GatewayFlags, context),
};

async function run(flags: GatewayFlags, context: CommandContext): Promise<void> {
  const { clock, env, signal, stderr } = context;
  const write = (line: string) => void stderr.write(line);
  const log = createLog({ format: flags.logFormat, clock, write });
  const config = await loadKubeConfig({ kubeconfigPath: flags.kubeconfig, env, clock });
  const steady = steadyClock(clock);
  const client = createKubeClient({ config, clock: steady, userAgent: "loradock-gateway" });
  const metrics = createMetrics({ process: true });
  const emptyHost = env["LORADOCK_BIND_ADDRESS"] ?? "";
  const options = {
    ...gatewayDefaults,
    host: flags.host === "" ? emptyHost : flags.host,
    port: flags.port,
    emptyHost,
    adminBindAddress: flags.adminBindAddress,
    defaultNamespace: flags.defaultNamespace,
    maxBodyBytes: flags.maxBodyBytes,
    maxTries: flags.maxTries,
    connectTimeoutMs: flags.connectTimeout,
    firstByteTimeoutMs: flags.firstByteTimeout,
    idleTimeoutMs: flags.idleTimeout,
    drainMs: flags.drainTimeout,
  };
  try {
    const deps = { client, clock: steady, log, metrics, random: Math.random };
    await runGateway(deps, options, signal);
  } finally {
    await client.close();
  }
}
