/** What the path of a request names, below the API's roots. */
export interface RequestInfo {
  readonly group: string;
  readonly version: string;
  /** Undefined when the request is about all namespaces or about a cluster-scoped kind. */
  readonly namespace: string | undefined;
  /** Plural of the kind; empty when only group and version are named. */
  readonly resource: string;
  /** Empty for a collection. */
  readonly name: string;
  /** Empty for the object itself. */
  readonly subresource: string;
  /** The old form of a watch: `/api/v1/watch/...`. */
  readonly isWatch: boolean;
}

/** Subresources of namespaces, whose paths look like those of objects in a namespace. */
const OF_NAMESPACES = ["status", "finalize"];

/** Reads `/api/v1/...` and `/apis/{group}/{version}/...`; undefined for any other path. */
export function requestInfo(path: string): RequestInfo | undefined {
  let parts: string[];
  try {
    parts = path
      .split("/")
      .filter((part) => part !== "")
      .map(decodeURIComponent);
  } catch {
    return undefined;
  }
  const root = parts.shift();
  const group = root === "apis" ? parts.shift() : root === "api" ? "" : undefined;
  const version = parts.shift();
  if (group === undefined || version === undefined) return undefined;
  const isWatch = parts[0] === "watch";
  if (isWatch) parts.shift();
  let namespace: string | undefined;
  const isInNamespace =
    parts[0] === "namespaces" && parts.length > 2 && !OF_NAMESPACES.includes(parts[2] ?? "");
  if (isInNamespace) {
    namespace = parts[1];
    parts.splice(0, 2);
  }
  const [resource = "", name = "", subresource = "", ...rest] = parts;
  if (rest.length > 0) return undefined;
  return { group, version, namespace, resource, name, subresource, isWatch };
}
