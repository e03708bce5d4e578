import { ENGINE_HTTP_DEFAULTS } from "#engine/http.ts";
import { sglangEngine } from "#engine/sglang.ts";
import { vllmEngine } from "#engine/vllm.ts";
import { parseRuntimeOptions } from "#runtime/options.ts";
import { runRuntime } from "#runtime/runtime.ts";
import { createLog } from "#telemetry/log.ts";
import manifest from "../../../package.json" with { type: "json" };
import type { Command, CommandContext } from "../command.ts";
import { parseBoolean, parseChoice, parsePort } from "../parse.ts";

interface RuntimeCommandFlags {
  host?: string;
  port?: number;
  enableFastapiDocs: boolean;
  logFormat: "text" | "json";
}

/** `loradock runtime`, also `aibrix_runtime`: the sidecar, with AIBrix's flags and environment. */
export const runtimeCommand: Command = {
  name: "runtime",
  summary: "run the sidecar of an inference engine",
  description: `Fetches LoRA adapters and loads them into the engine beside it. The environment sets the rest:

  INFERENCE_ENGINE                   vllm or sglang
  INFERENCE_ENGINE_ENDPOINT          http://localhost:8000
  INFERENCE_ENGINE_VERSION
  INFERENCE_ENGINE_API_KEY
  INFERENCE_ENGINE_MAX_LORA_RANK
  AIBRIX_ADAPTER_DIR                 /tmp/aibrix/adapters
  AIBRIX_CREDENTIALS_DIR             /var/run/secrets/aibrix
  DOWNLOADER_LOCAL_DIR               /tmp/aibrix/models
  HF_ENDPOINT, HF_TOKEN
  AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION and all else that AWS' own clients know
  STORAGE_EMULATOR_HOST, GOOGLE_APPLICATION_CREDENTIALS, GCE_METADATA_HOST
  TOS_ENDPOINT, TOS_REGION, TOS_ACCESS_KEY, TOS_SECRET_KEY
  HTTP_PROXY, HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, NODE_EXTRA_CA_CERTS
  ARTIFACT_HTTP_ALLOW_PRIVATE        0
  ARTIFACT_ALLOW_PICKLE              0
  ARTIFACT_CACHE_SIZE                10Gi; files of adapters, also of those that are gone
  ARTIFACT_DOWNLOAD_TIMEOUT          in seconds
  VLLM_LORA_MODULES_LOADING_TIMEOUT  in seconds
  METRIC_SCRAPE_PATH                 /metrics
  METRICS_ENABLE_TRANSFORMATION      1
  METRICS_RAW_PASSTHROUGH_MODE       0
  LORADOCK_RUNTIME_TOKEN_FILE`,
  options: [
    {
      flags: "--host <address>",
      description: "address to listen on; all, unless given",
      env: "HOST",
    },
    {
      flags: "--port <number>",
      description: "port to listen on",
      default: "8080",
      env: "PORT",
      parse: parsePort("--port"),
    },
    {
      flags: "--enable-fastapi-docs [boolean]",
      description: "serve the API's description at /docs and /openapi.json",
      default: "false",
      parse: parseBoolean("--enable-fastapi-docs"),
    },
    {
      flags: "--log-format <form>",
      description: "text (klog's form) or json",
      default: "text",
      parse: parseChoice("--log-format", ["text", "json"]),
    },
  ],
  run: (flags, context) => run(flags as unknown as RuntimeCommandFlags, context),
};

async function run(flags: RuntimeCommandFlags, context: CommandContext): Promise<void> {
  const { clock, signal, stderr } = context;
  const log = createLog({
    format: flags.logFormat,
    clock,
    component: "runtime",
    write: (line) => {
      stderr.write(line);
    },
  });
  const options = parseRuntimeOptions(flags, context.env);
  const limits = { ...ENGINE_HTTP_DEFAULTS, changeTimeoutMs: options.engineTimeoutMs };
  const engine = options.engine === "sglang" ? sglangEngine(limits) : vllmEngine(limits);
  await runRuntime({ engine, clock, log, version: manifest.version }, options, signal);
  log.info("Stopped");
}
