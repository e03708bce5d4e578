import { Counter, type Family, Histogram, Summary } from "./metric-text.ts";

/** One answered request. */
export type HttpObservation = {
  /** The route's template, `none` when there is none. */
  handler: string;
  method: string;
  status: number;
  /** From the content-length headers; 0 without one, as for streams. */
  requestBytes: number;
  responseBytes: number;
  seconds: number;
};

/** Routes with one of these texts in their path are not counted: `/v1/load_lora_adapter` is one of them. */
const EXCLUDED = ["/metrics", "/health", "/load", "/ping", "/version", "/server_info"];

const FINE_BOUNDS = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30,
  60,
];
const COARSE_BOUNDS = [0.1, 0.5, 1];

/** The metrics of the HTTP surface, in the names of vLLM's instrumentation. */
export class HttpMetrics {
  readonly #requests = new Counter(
    "http_requests",
    "Total number of requests by method, status and handler.",
  );
  readonly #requestSize = new Summary(
    "http_request_size_bytes",
    "Content length of incoming requests by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ",
  );
  readonly #responseSize = new Summary(
    "http_response_size_bytes",
    "Content length of outgoing responses by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ",
  );
  readonly #fine = new Histogram(
    "http_request_duration_highr_seconds",
    "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
    FINE_BOUNDS,
  ).declare({});
  readonly #coarse = new Histogram(
    "http_request_duration_seconds",
    "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
    COARSE_BOUNDS,
  );

  observe({
    handler,
    method,
    status,
    requestBytes,
    responseBytes,
    seconds,
  }: HttpObservation): void {
    if (EXCLUDED.some((path) => handler.includes(path))) return;
    this.#requests.add({ handler, method, status: `${Math.floor(status / 100)}xx` }, 1);
    this.#requestSize.observe({ handler }, requestBytes);
    this.#responseSize.observe({ handler }, responseBytes);
    this.#fine.observe({}, seconds);
    this.#coarse.observe({ handler, method }, seconds);
  }

  families(): Family[] {
    return [this.#requests, this.#requestSize, this.#responseSize, this.#fine, this.#coarse];
  }
}
