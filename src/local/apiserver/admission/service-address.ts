import type { JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import type { ObjectApi } from "../registry/object-api.ts";
import type { ServiceReference } from "./webhook-call.ts";

const SERVICE_LABEL = "kubernetes.io/service-name";

/**
 * Where a Service can be reached now: one of its ready endpoints, which is what its own address would
 * lead to; undefined when there is no such Service.
 * @throws Error in the API server's words when nobody serves it.
 */
export function serviceAddress(api: ObjectApi, reference: ServiceReference): string | undefined {
  const { namespace, name, port } = reference;
  const services = api.kindNamed("v1", "Service");
  const slices = api.kindNamed("discovery.k8s.io/v1", "EndpointSlice");
  if (services === undefined || slices === undefined) return undefined;
  const service = api.get(services, { namespace, name });
  if (service === undefined) return undefined;
  const wanted = objectsAt(objectAt(service, "spec"), "ports").find(
    (candidate) => numberAt(candidate, "port") === port,
  );
  if (wanted === undefined) {
    throw new Error(`no service port ${port} found for service ${JSON.stringify(name)}`);
  }
  const portName = stringAt(wanted, "name");
  for (const slice of api.list(slices, namespace)) {
    const labels = objectAt(objectAt(slice, "metadata"), "labels");
    if (labels[SERVICE_LABEL] !== name) continue;
    const target = objectsAt(slice, "ports").find(
      (candidate) => stringAt(candidate, "name") === portName,
    );
    const address = readyAddress(slice);
    if (target === undefined || address === undefined) continue;
    const host = address.includes(":") ? `[${address}]` : address;
    return `${host}:${numberAt(target, "port")}`;
  }
  throw new Error(`no endpoints available for service ${JSON.stringify(name)}`);
}

function readyAddress(slice: JsonObject): string | undefined {
  const endpoint = objectsAt(slice, "endpoints").find(
    (candidate) => objectAt(candidate, "conditions")["ready"] !== false,
  );
  return endpoint === undefined ? undefined : stringsAt(endpoint, "addresses")[0];
}
