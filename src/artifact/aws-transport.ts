import type { Readable } from "node:stream";
import type { HttpClient } from "./http-client.ts";

/** Calls for which the SDK hands on no signal of ours, such as those for credentials. */
const UNATTENDED_MS = 30_000;

/** A request as AWS' SDK makes it, signed. */
export interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  /** Escaped already. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | readonly string[] | null>>;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface SdkResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: Readable;
}

/** Among the options of a call: is told what was sent in the end, after regions and endpoints were found. */
export interface Witness {
  readonly onSigned: (url: URL, headers: Readonly<Record<string, string>>) => void;
}

/**
 * The SDK's way to the network: ours, with its time limits, its proxies and its words for what goes
 * wrong. Endpoints are the operator's word, so any address will do.
 */
export function sdkTransport(http: HttpClient) {
  return {
    metadata: { handlerProtocol: "http/1.1" },
    handle: async (
      request: SdkRequest,
      options: { abortSignal?: unknown } & Partial<Witness> = {},
    ): Promise<{ response: SdkResponse }> => {
      const { abortSignal: given, onSigned } = options;
      const signal = given instanceof AbortSignal ? given : AbortSignal.timeout(UNATTENDED_MS);
      const url = urlOf(request);
      const { status, headers, body } = await http.send(url, {
        method: methodOf(request.method),
        headers: request.headers,
        ...bodyOf(request.body),
        followsRedirects: false,
        allowPrivate: true,
        signal,
      });
      onSigned?.(url, request.headers);
      const plain = Object.entries(headers).map(([name, value]) => [name, String(value ?? "")]);
      return { response: { statusCode: status, headers: Object.fromEntries(plain), body } };
    },
    updateHttpClientConfig: () => {},
    httpHandlerConfigs: () => ({}),
    destroy: () => {},
  };
}

function methodOf(name: string): "GET" | "HEAD" | "POST" {
  if (name === "GET" || name === "HEAD" || name === "POST") return name;
  throw new Error(`bug: nothing here is asked with ${name}`);
}

function bodyOf(body: unknown): { body?: string | Uint8Array } {
  return typeof body === "string" || body instanceof Uint8Array ? { body } : {};
}

function urlOf({ protocol, hostname, port, path, query = {} }: SdkRequest): URL {
  const host = hostname.includes(":") && !hostname.startsWith("[") ? `[${hostname}]` : hostname;
  const pairs = Object.entries(query).flatMap(([name, value]) => {
    const values = typeof value === "object" && value !== null ? value : [value];
    return values.map((one) => (one === null ? escaped(name) : `${escaped(name)}=${escaped(one)}`));
  });
  const search = pairs.length === 0 ? "" : `?${pairs.join("&")}`;
  return new URL(`${protocol}//${host}${port === undefined ? "" : `:${port}`}${path}${search}`);
}

/** RFC 3986's way, as the signature was made over. */
function escaped(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
