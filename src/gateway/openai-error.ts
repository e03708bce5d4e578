/** Errors in the shape that OpenAI's clients take apart. */
export interface ApiError {
  readonly status: number;
  readonly message: string;
  readonly type: "invalid_request_error" | "server_error" | "service_unavailable_error";
  readonly code: string | null;
  readonly param?: string;
  /** Seconds; clients wait as long before they try again. */
  readonly retryAfterS?: number;
}

/** How long a model that is not there yet or just went away is worth waiting for before the next try. */
const RETRY_AFTER_S = 2;

/** The body of an error answer, or the data of an error event in a stream. */
export function errorBody(error: ApiError): string {
  const { message, type, code, param = null } = error;
  return JSON.stringify({ error: { message, type, param, code } });
}

export const badRequest = (message: string): ApiError => ({
  status: 400,
  message,
  type: "invalid_request_error",
  code: null,
});

export const tooLarge = (limitBytes: number): ApiError => ({
  status: 413,
  message: `the request body is longer than ${limitBytes} bytes, the limit of this gateway`,
  type: "invalid_request_error",
  code: "request_too_large",
});

export const unknownUrl = (method: string, path: string): ApiError => ({
  status: 404,
  message: `Unknown request URL: ${method} ${path}`,
  type: "invalid_request_error",
  code: "unknown_url",
});

export const methodNotAllowed = (method: string, path: string): ApiError => ({
  status: 405,
  message: `${method} is not allowed on ${path}`,
  type: "invalid_request_error",
  code: "method_not_supported",
});

export const modelNotFound = (model: string): ApiError => ({
  status: 404,
  message: `The model \`${model}\` does not exist`,
  type: "invalid_request_error",
  code: "model_not_found",
  param: "model",
});

/** The gateway has just started: which models there are is not read yet. */
export const gatewayNotReady = (why: string): ApiError => ({
  status: 503,
  message: `The gateway has just started and does not know the models yet (${why}); try again in a moment`,
  type: "service_unavailable_error",
  code: "gateway_not_ready",
  retryAfterS: RETRY_AFTER_S,
});

/** The model is known, but no pod serves it now. */
export const modelNotReady = (model: string, phase: string | undefined): ApiError => ({
  status: 503,
  message: `The model \`${model}\` is not ready yet${phase === undefined ? "" : ` (phase ${phase})`}; try again in a moment`,
  type: "service_unavailable_error",
  code: "model_not_ready",
  retryAfterS: RETRY_AFTER_S,
});

export const upstreamFailed = (model: string, why: string): ApiError => ({
  status: 502,
  message: `The pods that serve \`${model}\` cannot be reached: ${why}`,
  type: "server_error",
  code: "upstream_unavailable",
});

export const upstreamTimedOut = (model: string): ApiError => ({
  status: 504,
  message: `The pod that serves \`${model}\` did not answer in time`,
  type: "server_error",
  code: "upstream_timeout",
});
