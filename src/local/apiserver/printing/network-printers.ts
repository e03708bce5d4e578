import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  AGE_COLUMN,
  ageOf,
  column,
  NAME_COLUMN,
  NONE,
  nameOf,
  type Printer,
  wide,
} from "./printer.ts";

export const services: Printer = {
  columns: [
    NAME_COLUMN,
    column("Type", "How the Service is exposed."),
    column("Cluster-IP", "The address inside the cluster."),
    column("External-IP", "The addresses outside the cluster."),
    column("Port(s)", "The ports that the Service exposes."),
    AGE_COLUMN,
    wide("Selector", "Labels of the pods that the Service routes to."),
  ],
  cells(object, now) {
    const spec = objectAt(object, "spec");
    const ports = objectsAt(spec, "ports").map((port) => {
      const node = numberAt(port, "nodePort");
      const numbers = node > 0 ? `${numberAt(port, "port")}:${node}` : numberAt(port, "port");
      return `${numbers}/${stringAt(port, "protocol") || "TCP"}`;
    });
    return [
      nameOf(object),
      stringAt(spec, "type"),
      stringsAt(spec, "clusterIPs")[0] ?? NONE,
      externalAddresses(spec, objectAt(object, "status")),
      ports.join(",") || NONE,
      ageOf(object, now),
      labelsText(spec["selector"]) || NONE,
    ];
  },
};

function externalAddresses(spec: JsonObject, status: JsonObject): string {
  const external = stringsAt(spec, "externalIPs");
  switch (stringAt(spec, "type")) {
    case "ClusterIP":
    case "NodePort":
      return external.join(",") || NONE;
    case "LoadBalancer": {
      const ingress = objectsAt(objectAt(status, "loadBalancer"), "ingress")
        .map((point) => stringAt(point, "ip") || stringAt(point, "hostname"))
        .filter((address) => address !== "");
      return [...[...new Set(ingress)].sort(), ...external].join(",") || "<pending>";
    }
    case "ExternalName":
      return stringAt(spec, "externalName");
    default:
      return "<unknown>";
  }
}

export const endpointSlices: Printer = {
  columns: [
    NAME_COLUMN,
    column("AddressType", "The kind of address that the slice holds."),
    column("Ports", "The ports of every endpoint."),
    column("Endpoints", "The addresses of the endpoints."),
    AGE_COLUMN,
  ],
  cells(object, now) {
    const ports = objectsAt(object, "ports").map(
      (port) => `${port["port"] ?? port["name"] ?? "*"}`,
    );
    const addresses = objectsAt(object, "endpoints").flatMap((point) =>
      stringsAt(point, "addresses"),
    );
    return [
      nameOf(object),
      stringAt(object, "addressType"),
      firstFew(ports),
      firstFew(addresses),
      ageOf(object, now),
    ];
  },
};

const SHOWN_MAX = 3;
function firstFew(items: readonly string[]): string {
  const shown = items.slice(0, SHOWN_MAX).join(",");
  if (items.length > SHOWN_MAX) return `${shown} + ${items.length - SHOWN_MAX} more...`;
  return shown || "<unset>";
}

function labelsText(labels: Json | undefined): string {
  if (!isObject(labels)) return "";
  const pairs = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  return pairs.sort().join(",");
}
