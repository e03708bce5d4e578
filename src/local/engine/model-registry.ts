import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { messageOf } from "#base/errors.ts";
import { isObject } from "#base/json.ts";
import { Semaphore } from "#base/semaphore.ts";
import type { AdapterRef } from "./adapter-cache.ts";
import type { EngineOptions } from "./engine-args.ts";
import { ApiError, unknownModel } from "./http-errors.ts";
import { fetchAdapter, isRepositoryId } from "./hub.ts";
import { AdapterRefusedError, EngineDeadError, type Inference } from "./inference.ts";

/** An adapter that the server knows by name; `path` is what the client gave. */
type Registered = { ref: AdapterRef; path: string };

export type LoadRequest = { name: string; path: string; inPlace: boolean };

export type ModelRegistryDeps = {
  inference: Inference;
  options: Pick<EngineOptions, "servedModelNames" | "model" | "hub" | "loraResolverFolder"> & {
    isLoraEnabled: boolean;
    isLoraUpdatingAllowed: boolean;
  };
  /** The model's path as answers show it. */
  modelPath: string;
  modelLengthMax: number;
  log: (message: string) => void;
  signal: AbortSignal;
};

/** What the server answers to: the base model under its names, and the adapters loaded by name. */
export class ModelRegistry {
  readonly #deps: ModelRegistryDeps;
  readonly #adapters = new Map<string, Registered>();
  readonly #locks = new Map<string, { semaphore: Semaphore; users: number }>();
  #nextId = 1;

  constructor(deps: ModelRegistryDeps) {
    this.#deps = deps;
  }

  /** The name of a request's model in answers, and its adapter. @throws ApiError 404 */
  async find(
    model: string | undefined,
  ): Promise<{ name: string; adapter: AdapterRef | undefined }> {
    const { servedModelNames } = this.#deps.options;
    if (model === undefined || model === "" || servedModelNames.includes(model)) {
      return { name: servedModelNames[0] ?? "", adapter: undefined };
    }
    const adapter = this.#adapters.get(model)?.ref ?? (await this.#resolve(model));
    if (adapter === undefined) throw unknownModel(model, servedModelNames);
    return { name: model, adapter };
  }

  /** The body of /v1/models. */
  list(): unknown {
    const { options, modelPath, modelLengthMax } = this.#deps;
    const parent = options.servedModelNames[0] ?? "";
    const models = options.servedModelNames.map((id) =>
      modelCard({ id, root: modelPath, parent: null, max_model_len: modelLengthMax }),
    );
    const adapters = [...this.#adapters].map(([id, { path }]) =>
      modelCard({ id, root: path, parent, max_model_len: null }),
    );
    return { object: "list", data: [...models, ...adapters] };
  }

  /** Loads an adapter; returns the sentence that says so. @throws ApiError with vLLM's words */
  load({ name, path, inPlace }: LoadRequest): Promise<string> {
    return this.#alone(name, async () => {
      if (name === "" || path === "") {
        throw invalidInput("Both 'lora_name' and 'lora_path' must be provided.");
      }
      if (this.#deps.options.servedModelNames.includes(name)) {
        throw invalidInput(`The lora adapter '${name}' conflicts with a served base model.`);
      }
      const known = this.#adapters.get(name);
      if (known !== undefined && !inPlace) {
        throw invalidInput(
          `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
        );
      }
      await this.#read({ id: known?.ref.id ?? this.#nextId++, name, path });
      this.#deps.log(`Loaded new LoRA adapter: name '${name}', path '${path}'`);
      return `Success: LoRA adapter '${name}' added successfully.`;
    });
  }

  /** Takes an adapter off the list; its running requests finish. @throws ApiError */
  unload(name: string): Promise<string> {
    return this.#alone(name, async () => {
      if (name === "")
        throw invalidInput("'lora_name' needs to be provided to unload a LoRA adapter.");
      const known = this.#adapters.get(name);
      if (known === undefined) {
        throw new ApiError(404, "NotFoundError", `The lora adapter '${name}' cannot be found.`);
      }
      this.#adapters.delete(name);
      this.#deps.inference.unload(known.ref.id);
      this.#deps.log(`Removed LoRA adapter: name '${name}'`);
      return `Success: LoRA adapter '${name}' removed successfully.`;
    });
  }

  /** One change of a name at a time; changes of other names go on meanwhile. */
  async #alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    const lock = this.#locks.get(name) ?? { semaphore: new Semaphore(1), users: 0 };
    this.#locks.set(name, lock);
    lock.users++;
    try {
      return await lock.semaphore.run(work, this.#deps.signal);
    } finally {
      lock.users--;
      if (lock.users === 0) this.#locks.delete(name);
    }
  }

  async #read({ id, name, path }: { id: number; name: string; path: string }): Promise<AdapterRef> {
    if (!this.#deps.options.isLoraEnabled) {
      throw workerError("LoRA is not enabled. Use --enable-lora to enable LoRA.");
    }
    const folder = await this.#folderOf(path);
    const ref = { id, name, folder };
    try {
      await this.#deps.inference.load(ref);
    } catch (error) {
      throw loadError(error, name, path);
    }
    this.#adapters.set(name, { ref, path });
    return ref;
  }

  /**
   * An absolute path as it is; `~` is the home folder; an existing relative path from the working
   * folder; anything else may be a repository of the hub. What cannot be fetched stays as it is:
   * reading it then fails as not found.
   */
  async #folderOf(path: string): Promise<string> {
    if (path.startsWith("/")) return path;
    if (path.startsWith("~/")) return join(homedir(), path.slice(2));
    if (existsSync(path) || !isRepositoryId(path)) return resolve(path);
    try {
      return await fetchAdapter(path, this.#deps.options.hub, this.#deps.signal);
    } catch (error) {
      this.#deps.log(`Error downloading the HuggingFace model: ${path}: ${messageOf(error)}`);
      return resolve(path);
    }
  }

  /** Looks an unknown name up in the resolver's folder, where the adapter must name this very model. */
  async #resolve(name: string): Promise<AdapterRef | undefined> {
    const { loraResolverFolder, isLoraUpdatingAllowed, model } = this.#deps.options;
    if (!isLoraUpdatingAllowed || loraResolverFolder === undefined || !isRepositoryId(name))
      return undefined;
    return this.#alone(name, async () => {
      const known = this.#adapters.get(name);
      if (known !== undefined) return known.ref;
      const path = join(loraResolverFolder, name);
      const config = await readFile(join(path, "adapter_config.json"), "utf8")
        .then((text): unknown => JSON.parse(text))
        .catch(() => undefined);
      if (!isObject(config) || config["peft_type"] !== "LORA") return undefined;
      if (config["base_model_name_or_path"] !== model) return undefined;
      try {
        return await this.#read({ id: this.#nextId++, name, path });
      } catch (error) {
        this.#deps.log(
          `Failed to load LoRA '${name}' resolved by Filesystem Resolver: ${messageOf(error)}`,
        );
        const message = `LoRA adapter '${name}' was found but could not be loaded.`;
        throw new ApiError(400, "BadRequestError", message);
      }
    });
  }
}

const invalidInput = (message: string) => new ApiError(400, "InvalidUserInput", message);
const serverError = (message: string) => new ApiError(500, "InternalServerError", message);

function loadError(error: unknown, name: string, path: string): Error {
  if (error instanceof EngineDeadError) return serverError(error.message);
  if (!(error instanceof AdapterRefusedError)) return error as Error;
  if (error.isNotFound) {
    return new ApiError(
      404,
      "NotFoundError",
      `Loading lora ${name} failed: No adapter found for ${path}`,
    );
  }
  return workerError(error.message);
}

const workerError = (reason: string) =>
  serverError(
    `Call to add_lora method failed: Worker failed with error '${reason}', please check the stack trace above for the root cause`,
  );

type ModelFields = {
  id: string;
  root: string;
  parent: string | null;
  max_model_len: number | null;
};

function modelCard({ id, root, parent, max_model_len }: ModelFields): unknown {
  const created = Math.floor(Date.now() / 1000);
  const permission = {
    id: `modelperm-${randomBytes(8).toString("hex")}`,
    object: "model_permission",
    created,
    allow_create_engine: false,
    allow_sampling: true,
    allow_logprobs: true,
    allow_search_indices: false,
    allow_view: true,
    allow_fine_tuning: false,
    organization: "*",
    group: null,
    is_blocking: false,
  };
  return {
    id,
    object: "model",
    created,
    owned_by: "vllm",
    root,
    parent,
    max_model_len,
    permission: [permission],
  };
}
