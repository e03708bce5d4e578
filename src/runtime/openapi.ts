/** The sidecar's API for people and generators, served on request at /openapi.json and /docs. */

const text = (description: string) => ({ type: "string", description });
const texts = (description: string) => ({
  type: "object",
  additionalProperties: { type: "string" },
  description,
});

const answer = (description: string, properties: Record<string, object>) => ({
  description,
  content: { "application/json": { schema: { type: "object", properties } } },
});

const failure = answer("What went wrong, and whether trying again can help", {
  error: text("A sentence that says what to do"),
  code: text(
    "InvalidRequest, NotFound, AccessDenied, InvalidCredentials, InvalidArtifact, Unreachable, NoSpace, " +
      "Cancelled, Unsupported, EngineRejected, EngineUnavailable or Internal",
  ),
  retriable: { type: "boolean" },
});

const body = (required: string[], properties: Record<string, object>) => ({
  required: true,
  content: { "application/json": { schema: { type: "object", required, properties } } },
});

interface Operation {
  readonly summary: string;
  readonly requestBody?: object;
  readonly parameters?: readonly object[];
  readonly responses: Record<string, object>;
}

const PATHS: Record<string, Record<string, Operation>> = {
  "/v1/lora_adapter/load": {
    post: {
      summary: "Fetch an adapter and load it into the engine; or load a path or hub id as it is",
      requestBody: body(["lora_name"], {
        lora_name: text("Name under which the engine serves the adapter"),
        artifact_url: text("huggingface://, hf://, http://, https:// or an absolute path"),
        lora_path: text("Instead of artifact_url: told to the engine as it is"),
        credentials: texts("Keys as in the Secret, such as huggingface_token or headers"),
        additional_config: texts("api-key of the engine, max_lora_rank of the engine"),
      }),
      responses: {
        "200": answer("Loaded", {
          status: text("success"),
          message: text("For people"),
          local_path: text("Where the files are under the adapter's name"),
          loaded_path: text("The version's folder, which the engine lists as root"),
          engine_response: { type: "object" },
        }),
        "202": answer(
          "Accepted, with Prefer: respond-async; wait=5 answers with 200 what takes no longer, follow=30 gives up what nobody asks for",
          { status_url: text("Where to ask") },
        ),
        default: failure,
      },
    },
  },
  "/v1/lora_adapter/unload": {
    post: {
      summary: "Unload an adapter from the engine and remove its files",
      requestBody: body(["lora_name"], {
        lora_name: text("Name of the adapter"),
        cleanup_local: { type: "boolean", default: true },
      }),
      responses: {
        "200": answer("Unloaded", { status: text("success"), message: text("For people") }),
        default: failure,
      },
    },
  },
  "/v1/lora_adapter/status": {
    get: {
      summary: "Where the last load of each adapter stands",
      parameters: [{ name: "lora_name", in: "query", schema: { type: "string" } }],
      responses: {
        "200": answer("One load, or all as `adapters`", {
          lora_name: text("Name of the adapter"),
          state: text("queued, downloading, loading, loaded or failed"),
          bytes_done: { type: "integer" },
          bytes_total: { type: "integer", nullable: true },
        }),
        default: failure,
      },
    },
  },
  "/v1/models": {
    get: {
      summary: "The engine's model list, never cached",
      responses: { "200": answer("As the engine answers", {}), default: failure },
    },
  },
  "/v1/model/download": {
    post: {
      summary: "Download a whole model in the background",
      requestBody: body(["model_uri"], {
        model_uri: text("org/repo, huggingface://org/repo or the http(s) URL of an archive"),
        model_name: text("Folder below DOWNLOADER_LOCAL_DIR; by default the last part of the URI"),
        local_dir: text("If given, DOWNLOADER_LOCAL_DIR"),
        download_extra_config: { type: "object", description: "hf_token" },
      }),
      responses: {
        "200": answer("The model's card", {
          model_name: text("Name"),
          model_root_path: text("Folder"),
          source: text("Where it comes from"),
          model_status: text("downloading, downloaded or no_operation"),
        }),
        default: failure,
      },
    },
  },
  "/v1/model/list": {
    get: {
      summary: "Models that are here or on their way",
      responses: { "200": answer("Cards", { data: { type: "array", items: { type: "object" } } }) },
    },
  },
  "/healthz": {
    get: { summary: "The sidecar runs", responses: { "200": answer("Yes", {}) } },
  },
  "/ready": {
    get: {
      summary: "The engine answers",
      responses: { "200": answer("Yes", {}), "503": answer("No, and why", {}) },
    },
  },
  "/metrics": {
    get: {
      summary: "The engine's metrics under common names, and the sidecar's own",
      responses: {
        "200": { description: "Prometheus text" },
        "502": { description: "The engine cannot be scraped" },
        "504": { description: "The engine is too slow" },
      },
    },
  },
};

export const OPENAPI = {
  openapi: "3.0.3",
  info: { title: "Loradock runtime sidecar", version: "1" },
  paths: PATHS,
};

/** The API on one page, without anything from elsewhere. */
export function docsPage(): string {
  const sections = Object.entries(PATHS).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const { summary, ...rest } = operation;
      const details = escaped(JSON.stringify(rest, null, 2));
      return `<h2>${method.toUpperCase()} ${path}</h2><p>${escaped(summary)}</p><details><pre>${details}</pre></details>`;
    }),
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${OPENAPI.info.title}</title><h1>${OPENAPI.info.title}</h1><p><a href="/openapi.json">openapi.json</a></p>${sections.join("")}</html>`;
}

const escaped = (html: string) => html.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
