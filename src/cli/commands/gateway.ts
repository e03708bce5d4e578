import { gatewayDefaults, runGateway } from "#gateway/gateway.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { createLog } from "#telemetry/log.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import type { Command, CommandContext } from "../command.ts";
import { parseChoice, parseInteger, parsePort } from "../parse.ts";

interface GatewayFlags {
  kubeconfig?: string;
  host: string;
  port: number;
  maxBodyBytes: number;
  logFormat: "text" | "json";
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
  const client = createKubeClient({ config, clock, userAgent: "loradock-gateway" });
  const metrics = createMetrics({ process: true });
  const { port, maxBodyBytes } = flags;
  const host = flags.host === "" ? (env["LORADOCK_BIND_ADDRESS"] ?? "") : flags.host;
  try {
    const deps = { client, clock, log, metrics, random: Math.random };
    await runGateway(deps, { ...gatewayDefaults, host, port, maxBodyBytes }, signal);
  } finally {
    await client.close();
  }
}
