import { codeOf, messageOf } from "./errors.ts";

/**
 * What went wrong between two machines, in the words that Kubernetes' users know and search for; Node
 * and undici have codes instead.
 */
const WORDS: Record<string, string> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EPIPE: "connection reset",
  UND_ERR_SOCKET: "connection reset",
  ETIMEDOUT: "timeout",
  UND_ERR_CONNECT_TIMEOUT: "timeout",
  UND_ERR_HEADERS_TIMEOUT: "timeout",
  UND_ERR_BODY_TIMEOUT: "timeout",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
  EAI_AGAIN: "temporary failure in name resolution",
  ENOTFOUND: "no such host",
};

/** The words for a failed connection; undefined when the error is something else. */
export function networkWords(error: unknown): string | undefined {
  const code = codeOf(error);
  if (code !== undefined && WORDS[code] !== undefined) return WORDS[code];
  return error instanceof Error && error.name === "TimeoutError" ? "timeout" : undefined;
}

/** The text of anything thrown; a failed connection in the words above, with the address where known. */
export function describeError(error: unknown): string {
  const words = networkWords(error);
  if (words === undefined) return messageOf(error);
  const message = messageOf(error);
  if (message.startsWith(words)) return message;
  const address = addressOf(error);
  return address === undefined ? words : `${words} (${address})`;
}

/** `address:port` of the first cause that has them. */
function addressOf(error: unknown): string | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < 5 && current instanceof Error; depth++) {
    const { address, hostname, port } = current as {
      address?: unknown;
      hostname?: unknown;
      port?: unknown;
    };
    if (typeof address === "string") {
      const host = address.includes(":") ? `[${address}]` : address;
      return typeof port === "number" ? `${host}:${port}` : host;
    }
    if (typeof hostname === "string") return hostname;
    current = current instanceof AggregateError ? current.errors[0] : current.cause;
  }
  return undefined;
}
