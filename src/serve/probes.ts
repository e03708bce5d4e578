import { messageOf } from "#base/errors.ts";
import type { Metrics } from "#telemetry/metrics.ts";

export interface ProbeOptions {
  /** What is still missing before requests should come, for a person; undefined: nothing. */
  readonly notReady?: () => string | undefined;
  readonly metrics?: Metrics;
}

const TEXT = { "content-type": "text/plain; charset=utf-8" };

/**
 * /healthz (the process answers), /readyz (it can do its work) and /metrics.
 * @returns undefined for any other path, so that it can stand before a handler of its own.
 */
export function createProbes(
  options: ProbeOptions,
): (method: string, path: string) => Promise<Response | undefined> {
  return async (method, path) => {
    const answer = await answerOf(options, path);
    if (answer === undefined) return undefined;
    if (method === "GET" || method === "HEAD") return answer;
    return new Response("method not allowed\n", {
      status: 405,
      headers: { ...TEXT, allow: "GET" },
    });
  };
}

/** The probes as a server of their own: every other path is 404. */
export function probesFetch(options: ProbeOptions): (request: Request) => Promise<Response> {
  const probes = createProbes(options);
  return async (request) =>
    (await probes(request.method, new URL(request.url).pathname)) ??
    new Response("not found\n", { status: 404, headers: TEXT });
}

async function answerOf(options: ProbeOptions, path: string): Promise<Response | undefined> {
  switch (path) {
    case "/healthz":
      return new Response("ok\n", { headers: TEXT });
    case "/readyz": {
      const missing = options.notReady?.();
      if (missing === undefined) return new Response("ok\n", { headers: TEXT });
      return new Response(`not ready: ${missing}\n`, { status: 503, headers: TEXT });
    }
    case "/metrics":
      return options.metrics === undefined ? undefined : metricsAnswer(options.metrics);
    default:
      return undefined;
  }
}

async function metricsAnswer(metrics: Metrics): Promise<Response> {
  try {
    const headers = { "content-type": metrics.contentType };
    return new Response(await metrics.text(), { headers });
  } catch (error) {
    return new Response(`metrics failed: ${messageOf(error)}\n`, { status: 500, headers: TEXT });
  }
}
