import { isIPv4, isIPv6 } from "node:net";
import type { JsonObject } from "#base/json.ts";
import { jsonEqual } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  duplicate,
  type FieldError,
  index,
  invalid,
  notSupported,
  required,
  tooMany,
} from "../schema/field-error.ts";
import { dnsLabel, labelValue, qualifiedName, subdomain } from "../schema/name-rules.ts";
import { familyOf, legacyIpErrors, specialIpErrors } from "./ip-address.ts";
import { byRule, IMMUTABLE, oneOf, PROTOCOLS } from "./rules.ts";

const ADDRESS_TYPES = ["FQDN", "IPv4", "IPv6"];
const ADDRESSES_MAX = 100;
const PORTS_MAX = 20_000;
const ENDPOINTS_MAX = 1000;
const HINTS_MAX = 8;

/** Checks an EndpointSlice. Loopback addresses are allowed: see `specialIpErrors`. */
export function endpointSliceErrors(slice: JsonObject, old: JsonObject | undefined): FieldError[] {
  const type = stringAt(slice, "addressType");
  const errors = [
    ...oneOf("addressType", type, ADDRESS_TYPES),
    ...portErrors(objectsAt(slice, "ports")),
  ];
  const endpoints = endpointErrors(objectsAt(slice, "endpoints"), type);
  const isUnchanged = old !== undefined && jsonEqual(old["endpoints"], slice["endpoints"]);
  if (!isUnchanged) errors.push(...endpoints);
  if (old !== undefined && old["addressType"] !== type) {
    errors.push(invalid("addressType", type, IMMUTABLE));
  }
  return errors;
}

function portErrors(ports: readonly JsonObject[]): FieldError[] {
  if (ports.length > PORTS_MAX) return [tooMany("ports", ports.length, PORTS_MAX)];
  const names = new Set<string>();
  return ports.flatMap((port, position) => {
    const path = index("ports", position);
    const name = stringAt(port, "name");
    const errors = name === "" ? [] : byRule(dnsLabel, child(path, "name"), name);
    if (names.has(name)) errors.push(duplicate(child(path, "name"), name));
    names.add(name);
    const protocol = stringAt(port, "protocol");
    if (!PROTOCOLS.includes(protocol)) {
      errors.push(notSupported(child(path, "protocol"), protocol, PROTOCOLS));
    }
    const application = port["appProtocol"];
    if (typeof application !== "string") return errors;
    return [...errors, ...byRule(qualifiedName, child(path, "appProtocol"), application)];
  });
}

function endpointErrors(endpoints: readonly JsonObject[], type: string): FieldError[] {
  if (endpoints.length > ENDPOINTS_MAX) {
    return [tooMany("endpoints", endpoints.length, ENDPOINTS_MAX)];
  }
  return endpoints.flatMap((endpoint, position) => {
    const path = index("endpoints", position);
    const { nodeName, hostname } = endpoint;
    return [
      ...addressListErrors(stringsAt(endpoint, "addresses"), type, child(path, "addresses")),
      ...(typeof nodeName === "string" ? byRule(subdomain, child(path, "nodeName"), nodeName) : []),
      ...(typeof hostname === "string" ? byRule(dnsLabel, child(path, "hostname"), hostname) : []),
      ...hintErrors(objectAt(endpoint, "hints"), child(path, "hints")),
    ];
  });
}

function addressListErrors(addresses: string[], type: string, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (addresses.length === 0) errors.push(required(path, "must contain at least 1 address"));
  else if (addresses.length > ADDRESSES_MAX) {
    errors.push(tooMany(path, addresses.length, ADDRESSES_MAX));
  }
  for (const [position, address] of addresses.entries()) {
    const field = index(path, position);
    if (type === "IPv4") errors.push(...ipv4Errors(address, path, field));
    if (type === "IPv6") errors.push(...ipv6Errors(address, path, field));
    if (type === "FQDN") errors.push(...domainErrors(address, field));
  }
  return errors;
}

function ipv4Errors(address: string, list: string, path: string): FieldError[] {
  const wrong = legacyIpErrors(path, address);
  if (wrong.length > 0) return wrong;
  return [
    ...(familyOf(address) === "IPv4" ? [] : [invalid(list, address, "must be an IPv4 address")]),
    ...specialIpErrors(path, address),
  ];
}

function ipv6Errors(address: string, list: string, path: string): FieldError[] {
  if (isIPv4(address)) {
    return [invalid(list, address, "must be an IPv6 address"), ...specialIpErrors(path, address)];
  }
  if (!isIPv6(address)) return legacyIpErrors(path, address);
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  if (canonical !== address) {
    return [invalid(path, address, `must be in canonical form ("${canonical}")`)];
  }
  return specialIpErrors(path, address);
}

function domainErrors(address: string, path: string): FieldError[] {
  if (address === "") return [required(path)];
  const name = address.replace(/\.$/, "");
  const wrong = subdomain(name);
  if (wrong.length > 0) return [invalid(path, name, wrong.join(","))];
  if (name.includes(".")) return [];
  const text = "should be a domain with at least two segments separated by dots";
  return [invalid(path, name, text)];
}

function hintErrors(hints: JsonObject, path: string): FieldError[] {
  const rules: [string, typeof labelValue][] = [
    ["forZones", labelValue],
    ["forNodes", subdomain],
  ];
  return rules.flatMap(([list, rule]) => {
    const items = objectsAt(hints, list);
    const field = child(path, list);
    if (items.length > HINTS_MAX) return [tooMany(field, items.length, HINTS_MAX)];
    const names = items.map((item) => stringAt(item, "name"));
    return names.flatMap((name, position) => {
      const place = `${index(field, position)}.name`;
      const isRepeated = names.indexOf(name) < position;
      return [...(isRepeated ? [duplicate(place, name)] : []), ...byRule(rule, place, name)];
    });
  });
}
