import type { Credentials } from "#artifact/source.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { BodyTooLarge, readBody } from "#serve/body.ts";
import type { LoadRequest } from "./adapters.ts";
import { badRequest } from "./errors.ts";

/** A Secret's megabyte as JSON, with room to spare. */
const BODY_BYTES_MAX = 4 << 20;
const TEXT_LENGTH_MAX = 4096;

/** The JSON object of a request. @throws ArtifactError InvalidRequest; values are never in its text. */
export async function readJson(request: Request): Promise<JsonObject> {
  let value: unknown;
  try {
    value = JSON.parse((await readBody(request.body, BODY_BYTES_MAX)).toString("utf8"));
  } catch (error) {
    if (error instanceof BodyTooLarge) throw badRequest(error.message);
    throw badRequest("the body is not valid JSON");
  }
  if (!isObject(value)) throw badRequest("the body must be a JSON object");
  return value;
}

/** `{lora_name, artifact_url, credentials?, additional_config?}` or `{lora_name, lora_path}`. */
export function parseLoad(body: JsonObject, authorization: string | undefined): LoadRequest {
  const name = text(body, "lora_name");
  const config = textMap(body, "additional_config") ?? {};
  const url = optionalText(body, "artifact_url");
  const path = optionalText(body, "lora_path");
  if (url === undefined && path === undefined) {
    throw badRequest("one of artifact_url and lora_path must be given");
  }
  if (url !== undefined && path !== undefined) {
    throw badRequest("artifact_url and lora_path must not both be given");
  }
  return {
    name,
    source:
      url === undefined
        ? { path: path as string }
        : {
            artifactUrl: url,
            credentials: textMap(body, "credentials"),
            sha256: sha256(config["sha256"]),
          },
    apiKey: bearer(authorization) ?? config["api-key"],
    maxRank: rank(config["max_lora_rank"]),
  };
}

/** `{lora_name, cleanup_local?}`; files go with the adapter unless told otherwise. */
export function parseUnload(body: JsonObject, authorization: string | undefined) {
  const cleanup = body["cleanup_local"] ?? true;
  if (typeof cleanup !== "boolean") throw badRequest("cleanup_local must be true or false");
  return { name: text(body, "lora_name"), cleanupLocal: cleanup, apiKey: bearer(authorization) };
}

/** `{model_uri, model_name?, local_dir?, download_extra_config?}` */
export function parseModelDownload(body: JsonObject) {
  const extra = isObject(body["download_extra_config"]) ? body["download_extra_config"] : {};
  const token = extra["hf_token"];
  return {
    uri: text(body, "model_uri"),
    name: optionalText(body, "model_name"),
    localDir: optionalText(body, "local_dir"),
    credentials: typeof token === "string" ? { huggingface_token: token } : undefined,
  };
}

/** The key in an Authorization header; the scheme is the engines' own, Bearer. */
export function bearer(authorization: string | undefined): string | undefined {
  return /^bearer +(.+)$/i.exec(authorization ?? "")?.[1]?.trim();
}

function text(body: JsonObject, key: string): string {
  const value = optionalText(body, key);
  if (value === undefined) throw badRequest(`${key} must be given`);
  return value;
}

function optionalText(body: JsonObject, key: string): string | undefined {
  const value = body[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string" && value !== "" && value.length <= TEXT_LENGTH_MAX) return value;
  throw badRequest(`${key} must be a text of 1 to ${TEXT_LENGTH_MAX} characters`);
}

function textMap(body: JsonObject, key: string): Credentials | undefined {
  const value = body[key];
  if (value === undefined || value === null) return undefined;
  const isMap = isObject(value) && Object.values(value).every((item) => typeof item === "string");
  if (!isMap) throw badRequest(`${key} must be an object whose values are texts`);
  return value as Record<string, string>;
}

function sha256(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const hex = /^(?:sha256:)?([0-9a-f]{64})$/.exec(text.trim().toLowerCase())?.[1];
  if (hex !== undefined) return hex;
  throw badRequest("additional_config.sha256 must be 64 hexadecimal digits");
}

function rank(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw badRequest("additional_config.max_lora_rank must be a positive whole number");
}
