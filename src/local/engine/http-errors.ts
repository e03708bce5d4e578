/** An answer with an error: vLLM's status and body. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly type: string;
  readonly param: string | null;

  constructor(status: number, type: string, message: string, param: string | null = null) {
    super(message);
    this.status = status;
    this.type = type;
    this.param = param;
  }
}

/** A parameter has a value that the engine refuses; the message ends with it, as in vLLM. */
export function parameterError(message: string, parameter?: string, value?: unknown): ApiError {
  const extras = [
    ...(parameter === undefined ? [] : [`parameter=${parameter}`]),
    ...(value === undefined || value === null ? [] : [`value=${value}`]),
  ];
  const suffix = extras.length === 0 ? "" : ` (${extras.join(", ")})`;
  return new ApiError(400, "BadRequestError", `${message}${suffix}`, parameter ?? null);
}

/** No such model, as in an OpenAI client's `NotFoundError`. */
export function unknownModel(model: string, servedNames: readonly string[]): ApiError {
  const message = `The model \`${model}\` does not exist. Valid aliases: ${servedNames.join(", ")}.`;
  return new ApiError(404, "NotFoundError", message, "model");
}

/** The body of an error's answer. */
export function errorBody(error: ApiError): unknown {
  const { type, param, status } = error;
  return { error: { message: withoutPaths(error.message), type, param, code: status } };
}

/** Errors show no paths of the machine: what looks like one of its folders, or like a file, is masked. */
const MACHINE_FOLDER = /\/(?:home|usr|opt|var|tmp|root|lib|mnt|srv)(?:\/[\w.-]+)+/g;
const FILE_PATH = /(?:\/[\w-]+)+\/[\w-]+\.\w+/g;

/** Masks paths in an error message, by vLLM's rule. */
export function withoutPaths(message: string): string {
  return message.replace(MACHINE_FOLDER, "<path>").replace(FILE_PATH, "<path>").trim();
}
