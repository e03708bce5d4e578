import { ADAPTER_MOUNT_PATH, CREDENTIALS_MOUNT_PATH } from "#api/names.ts";
import type { NetworkSettings } from "#artifact/network.ts";
import type { SourceSettings } from "#artifact/source.ts";
import { UserError } from "#base/errors.ts";
import type { EngineKind } from "#engine/engine.ts";

/** The engines that the sidecar speaks to. */
export const ENGINES: readonly EngineKind[] = ["vllm", "sglang"];

export interface RuntimeOptions {
  /** Empty: all interfaces. */
  readonly host: string;
  readonly port: number;
  /** Serve /docs and /openapi.json. */
  readonly docs: boolean;
  readonly engine: EngineKind;
  /** Only told in aibrix:info. */
  readonly engineVersion: string;
  /** Base URL of the engine, without a slash at its end. */
  readonly engineUrl: string;
  /** Serves when a request brings no Authorization. */
  readonly engineApiKey: string | undefined;
  /** How long the engine may take for a load or unload. */
  readonly engineTimeoutMs: number;
  /** The engine's --max-lora-rank; undefined: not known. */
  readonly maxRank: number | undefined;
  readonly adapterRoot: string;
  /** Of the files of all adapters, those that are kept for the next one among them. */
  readonly cacheBytesMax: number;
  readonly modelRoot: string;
  readonly credentialsFolder: string;
  /** A delivery that takes longer is given up, and continued by the next try. */
  readonly downloadTimeoutMs: number;
  /** File with the token that callers of changing routes must bring; undefined: none needed. */
  readonly tokenFile: string | undefined;
  readonly metrics: { readonly path: string; readonly isRaw: boolean };
  readonly sources: SourceSettings;
  readonly network: NetworkSettings;
}

/** What the command line may set; everything else comes from the environment. */
export interface RuntimeFlags {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly enableFastapiDocs?: boolean | undefined;
}

type Env = Readonly<Record<string, string | undefined>>;

const DEFAULT_PORT = 8080;
const ENGINE_TIMEOUT_S = 300;
const DOWNLOAD_TIMEOUT_S = 3600;
/** AIBrix's own default for whole models. */
const MODEL_ROOT = "/tmp/aibrix/models";
/** Of a node's disk, which others need too: dozens of adapters. */
const CACHE_SIZE = "10Gi";
const HUB = "https://huggingface.co";
const GCE_METADATA = "metadata.google.internal";

/**
 * The sidecar's settings: flags first, then the environment, by AIBrix's names where it has some.
 * @throws UserError naming the variable and the cure.
 */
export function parseRuntimeOptions(flags: RuntimeFlags, env: Env): RuntimeOptions {
  const get = (name: string) => {
    const value = env[name]?.trim();
    return value === "" ? undefined : value;
  };
  const transforms = isTrue(get("METRICS_ENABLE_TRANSFORMATION") ?? "1");
  const passesRaw = isTrue(get("METRICS_RAW_PASSTHROUGH_MODE"));
  // On a single machine each pod has an address of its own: "everywhere" and "localhost" mean that one.
  const podAddress = get("LORADOCK_BIND_ADDRESS");
  return {
    host: flags.host || get("HOST") || (podAddress ?? ""),
    port: flags.port ?? integer("PORT", get("PORT"), 0, 65_535) ?? DEFAULT_PORT,
    docs: flags.enableFastapiDocs ?? false,
    engine: engineName(get("INFERENCE_ENGINE")),
    engineVersion: get("INFERENCE_ENGINE_VERSION") ?? "unknown",
    engineUrl: httpUrl(
      "INFERENCE_ENGINE_ENDPOINT",
      get("INFERENCE_ENGINE_ENDPOINT") ?? `http://${podAddress ?? "localhost"}:8000`,
    ),
    engineApiKey: get("INFERENCE_ENGINE_API_KEY"),
    engineTimeoutMs: seconds(env, "VLLM_LORA_MODULES_LOADING_TIMEOUT") ?? ENGINE_TIMEOUT_S * 1000,
    maxRank: integer("INFERENCE_ENGINE_MAX_LORA_RANK", get("INFERENCE_ENGINE_MAX_LORA_RANK"), 1),
    adapterRoot: absolute("AIBRIX_ADAPTER_DIR", get("AIBRIX_ADAPTER_DIR") ?? ADAPTER_MOUNT_PATH),
    cacheBytesMax: bytes("ARTIFACT_CACHE_SIZE", get("ARTIFACT_CACHE_SIZE") ?? CACHE_SIZE),
    modelRoot: absolute("DOWNLOADER_LOCAL_DIR", get("DOWNLOADER_LOCAL_DIR") ?? MODEL_ROOT),
    credentialsFolder: absolute(
      "AIBRIX_CREDENTIALS_DIR",
      get("AIBRIX_CREDENTIALS_DIR") ?? CREDENTIALS_MOUNT_PATH,
    ),
    downloadTimeoutMs: seconds(env, "ARTIFACT_DOWNLOAD_TIMEOUT") ?? DOWNLOAD_TIMEOUT_S * 1000,
    tokenFile: get("LORADOCK_RUNTIME_TOKEN_FILE"),
    metrics: {
      path: get("METRIC_SCRAPE_PATH") ?? "/metrics",
      // Turning the transformation off is the stronger word of the two.
      isRaw: !transforms || passesRaw,
    },
    sources: sourceSettings(get),
    network: {
      // Programs look for the small letters first.
      httpProxy: proxy(get, "HTTP_PROXY"),
      httpsProxy: proxy(get, "HTTPS_PROXY"),
      noProxy: get("no_proxy") ?? get("NO_PROXY"),
      caFile: get("SSL_CERT_FILE"),
    },
  };
}

type Get = (name: string) => string | undefined;

function sourceSettings(get: Get): SourceSettings {
  const url = (name: string) => {
    const text = get(name);
    return text === undefined ? undefined : httpUrl(name, text);
  };
  /** Some of Google's variables leave the scheme out. */
  const hostUrl = (name: string, text: string) =>
    httpUrl(name, /^https?:\/\//i.test(text) ? text : `http://${text}`);
  const emulator = get("STORAGE_EMULATOR_HOST");
  return {
    huggingFaceEndpoint: url("HF_ENDPOINT") ?? HUB,
    huggingFaceToken: get("HF_TOKEN"),
    s3: {
      endpoint: url("AWS_ENDPOINT_URL_S3") ?? url("AWS_ENDPOINT_URL"),
      region: get("AWS_REGION") ?? get("AWS_DEFAULT_REGION"),
    },
    gcs: {
      endpoint: emulator === undefined ? undefined : hostUrl("STORAGE_EMULATOR_HOST", emulator),
      metadataUrl: hostUrl("GCE_METADATA_HOST", get("GCE_METADATA_HOST") ?? GCE_METADATA),
      keyFile: get("GOOGLE_APPLICATION_CREDENTIALS"),
    },
    tos: {
      endpoint: get("TOS_ENDPOINT"),
      region: get("TOS_REGION"),
      accessKey: get("TOS_ACCESS_KEY"),
      secretKey: get("TOS_SECRET_KEY"),
    },
    allowPrivateAddresses: isTrue(get("ARTIFACT_HTTP_ALLOW_PRIVATE")),
    allowPickle: isTrue(get("ARTIFACT_ALLOW_PICKLE")),
  };
}

function proxy(get: Get, name: string): string | undefined {
  const text = get(name.toLowerCase()) ?? get(name);
  if (text === undefined) return undefined;
  const full = /^[a-z0-9]+:\/\//i.test(text) ? text : `http://${text}`;
  if (URL.canParse(full)) return full;
  throw new UserError(`${name} is not a URL such as http://proxy:3128`);
}

/** AIBrix's idea of a switch: 1, on, yes and true in any case; everything else is off. */
export function isTrue(text: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(text ?? "");
}

function engineName(text = "vllm"): EngineKind {
  const found = ENGINES.find((name) => name === text.toLowerCase());
  if (found !== undefined) return found;
  throw new UserError(`INFERENCE_ENGINE is '${text}': use ${ENGINES.join(" or ")}`);
}

function httpUrl(name: string, text: string): string {
  const isUrl = URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
  if (!isUrl) throw new UserError(`${name} is not an http(s) URL such as http://localhost:8000`);
  return text.replace(/\/+$/, "");
}

function absolute(name: string, path: string): string {
  if (path.startsWith("/")) return path.replace(/(?<=.)\/+$/, "");
  throw new UserError(`${name} is '${path}': use an absolute path`);
}

function integer(
  name: string,
  text: string | undefined,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d{1,15}$/.test(text) && value >= min && value <= max) return value;
  throw new UserError(`${name} is '${text}': use a whole number of at least ${min}`);
}

const UNITS = ["", "k", "M", "G", "T"];

/** A size as Kubernetes writes it: 500M, 10Gi, or a plain number. */
function bytes(name: string, text: string): number {
  const [, digits = "", unit = "", binary] = /^(\d{1,15})([kKMGT]?)(i?)$/.exec(text) ?? [];
  const value =
    Number(digits) * (binary === "i" ? 1024 : 1000) ** UNITS.indexOf(unit.replace("K", "k"));
  if (digits !== "" && Number.isSafeInteger(value)) return value;
  throw new UserError(`${name} is '${text}': use a size such as 500M, 10Gi or 0`);
}

function seconds(env: Env, name: string): number | undefined {
  const text = env[name]?.trim();
  if (text === undefined || text === "") return undefined;
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value * 1000;
  throw new UserError(`${name} is '${text}': use a number of seconds above 0`);
}
