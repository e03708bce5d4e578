import type { JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import { type FieldError, index, invalid } from "../schema/field-error.ts";
import { mapMember } from "./edit.ts";
import { familyOf } from "./ip-address.ts";
import { clusterIpErrors } from "./service-ip-rules.ts";
import {
  clusterIpsOf,
  isHeadless,
  mayHaveNodePorts,
  needsHealthPort,
  nodePortsOf,
  specOf,
  wantsNodePorts,
} from "./service-state.ts";

/** Addresses of Services; on a single machine they are loopback addresses that a proxy listens on. */
const IP_PREFIX = "127.96";
const IP_COUNT = 2 ** 16;
const NODE_PORT_MIN = 30_000;
const NODE_PORT_MAX = 32_767;
const ALLOCATED = "provided port is already allocated";

/** What other Services hold; the Service's own may be among it when it is updated. */
export interface Taken {
  readonly clusterIps: ReadonlySet<string>;
  readonly nodePorts: ReadonlySet<number>;
}

type Outcome = { spec: JsonObject } | { errors: FieldError[] };

/**
 * Gives a Service its addresses and its ports on the nodes, or says why it cannot have those that
 * it asks for. To be called after `prepareBuiltin` and before `validateBuiltin`, as the API server
 * does. The address and ports follow from the Service's UID, so that two state folders of one machine
 * rarely want the same ones.
 */
export function allocateService(
  service: JsonObject,
  old: JsonObject | undefined,
  taken: Taken,
): { service: JsonObject } | { errors: FieldError[] } {
  const { namespace = "", name = "", uid } = objectAt(service, "metadata");
  const seed = hash(typeof uid === "string" ? uid : `${namespace}/${name}`);
  const before = old === undefined ? undefined : specOf(old);
  const withFamilies = initFamilies(specOf(service), before);
  if ("errors" in withFamilies) return withFamilies;
  const withIps = allocateIps(withFamilies.spec, before, taken.clusterIps, seed);
  if ("errors" in withIps) return withIps;
  const withPorts = allocatePorts(withIps.spec, before, taken.nodePorts, seed);
  if ("errors" in withPorts) return withPorts;
  return { service: mapMember(service, "spec", () => withPorts.spec) };
}

function initFamilies(given: JsonObject, old: JsonObject | undefined): Outcome {
  if (given["type"] === "ExternalName") return { spec: given };
  const spec = { ...given, ipFamilyPolicy: given["ipFamilyPolicy"] ?? policyOf(given, old) };
  const errors = clusterIpErrors(spec);
  if (errors.length > 0) return { errors };
  const families = stringsAt(spec, "ipFamilies");
  errors.push(...countErrors(spec), ...inferFamilies(spec, families));
  if (errors.length > 0) return { errors };
  if (families.length === 0) families.push("IPv4");
  if (isSelectorlessHeadless(spec)) {
    const other = families[0] === "IPv4" ? "IPv6" : "IPv4";
    const isEnough = spec.ipFamilyPolicy === "SingleStack" || families.length > 1;
    const all = isEnough ? families : [...families, other];
    return { spec: { ...spec, ipFamilies: all } };
  }
  if (spec.ipFamilyPolicy === "RequireDualStack") {
    const text = "this cluster is not configured for dual-stack services";
    errors.push(invalid("spec.ipFamilyPolicy", spec.ipFamilyPolicy, text));
  }
  for (const [position, family] of families.entries()) {
    if (family === "IPv4") continue;
    const path = index("spec.ipFamilies", position);
    errors.push(invalid(path, family, "not configured on this cluster"));
  }
  return errors.length > 0 ? { errors } : { spec: { ...spec, ipFamilies: families } };
}

function countErrors(spec: JsonObject): FieldError[] {
  const { ipFamilyPolicy = "" } = spec;
  if (ipFamilyPolicy !== "SingleStack") return [];
  const several: [string, number][] = [
    ["cluster IPs", clusterIpsOf(spec).length],
    ["IP families", stringsAt(spec, "ipFamilies").length],
  ];
  return several
    .filter(([, count]) => count === 2)
    .map(([what]) => {
      const text = `must be 'RequireDualStack' or 'PreferDualStack' when multiple ${what} are specified`;
      return invalid("spec.ipFamilyPolicy", ipFamilyPolicy, text);
    });
}

/** Adds to `families` what follows from the addresses that the client names. */
function inferFamilies(spec: JsonObject, families: string[]): FieldError[] {
  const errors: FieldError[] = [];
  const ips = clusterIpsOf(spec);
  for (const [position, ip] of ips.entries()) {
    const family = familyOf(ip);
    if (family === undefined || families[position] !== undefined) continue;
    if (family === "IPv4") families.push(family);
    else {
      const text = `${family} is not configured on this cluster`;
      errors.push(invalid(index("spec.clusterIPs", position), ips, text));
    }
  }
  return errors;
}

/** Nobody says of which family the endpoints are that a person writes for such a Service. */
const isSelectorlessHeadless = (spec: JsonObject) =>
  isHeadless(spec) && Object.keys(objectAt(spec, "selector")).length === 0;

function policyOf(spec: JsonObject, old: JsonObject | undefined): string {
  const before = stringAt(old, "ipFamilyPolicy");
  if (before !== "") return before;
  return isSelectorlessHeadless(spec) ? "RequireDualStack" : "SingleStack";
}

function allocateIps(
  spec: JsonObject,
  old: JsonObject | undefined,
  taken: ReadonlySet<string>,
  seed: number,
): Outcome {
  const mayGet = old === undefined || old["type"] === "ExternalName";
  if (!mayGet || spec["type"] === "ExternalName" || isHeadless(spec)) return { spec };
  const [asked] = clusterIpsOf(spec);
  if (asked === undefined) {
    const ip = freeIp(taken, seed);
    if (ip !== undefined) return { spec: { ...spec, clusterIP: ip, clusterIPs: [ip] } };
    return {
      errors: [invalid("spec.clusterIPs", [], "failed to allocate a serviceIP: range is full")],
    };
  }
  const refused = refusedIp(asked, taken);
  if (refused === undefined) return { spec };
  const text = `failed to allocate IP ${asked}: ${refused}`;
  return { errors: [invalid("spec.clusterIPs", clusterIpsOf(spec), text)] };
}

function refusedIp(ip: string, taken: ReadonlySet<string>): string | undefined {
  // The first address and the last one belong to the network itself.
  const isOutside =
    !ip.startsWith(`${IP_PREFIX}.`) ||
    ["0.0", "255.255"].some((end) => ip === `${IP_PREFIX}.${end}`);
  if (isOutside) return "the provided network does not match the current range";
  return taken.has(ip) ? "provided IP is already allocated" : undefined;
}

/** The first address and the last one belong to the network itself. */
function freeIp(taken: ReadonlySet<string>, seed: number): string | undefined {
  const usable = IP_COUNT - 2;
  for (let step = 0; step < usable; step++) {
    const host = 1 + ((seed + step) % usable);
    const ip = `${IP_PREFIX}.${host >> 8}.${host & 0xff}`;
    if (!taken.has(ip)) return ip;
  }
  return undefined;
}

function allocatePorts(
  spec: JsonObject,
  old: JsonObject | undefined,
  taken: ReadonlySet<number>,
  seed: number,
): Outcome {
  const held = new Set(old === undefined || !mayHaveNodePorts(old) ? [] : nodePortsOf(old));
  const oldHealthPort =
    old !== undefined && needsHealthPort(old) ? numberAt(old, "healthCheckNodePort") : 0;
  if (oldHealthPort !== 0) held.add(oldHealthPort);
  const used = new Set([...taken].filter((port) => !held.has(port)));
  const shared = old === undefined ? new Map<number, number>() : undefined;
  const result = mayHaveNodePorts(spec)
    ? withNodePorts(spec, { held, used, shared, seed })
    : { spec };
  if ("errors" in result || !needsHealthPort(spec)) return result;
  return withHealthPort(result.spec, oldHealthPort, used, seed);
}

/** What is known while the ports of one Service get their numbers on the nodes. */
interface NodePorts {
  /** Held by the Service before the update. */
  readonly held: ReadonlySet<number>;
  /** Held by others, and by this Service as far as it has come. */
  readonly used: Set<number>;
  /** Of a new Service: ports with the same number, of TCP and of UDP, share theirs on the nodes. */
  readonly shared: Map<number, number> | undefined;
  readonly seed: number;
}

function withNodePorts(spec: JsonObject, state: NodePorts): Outcome {
  const ports = objectsAt(spec, "ports");
  const given = ports.map((port) => numberAt(port, "nodePort")).filter((port) => port !== 0);
  const own = new Set<number>();
  const allocated: JsonObject[] = [];
  for (const [position, port] of ports.entries()) {
    const asked = numberAt(port, "nodePort");
    if (asked === 0 && !wantsNodePorts(spec)) {
      allocated.push(port);
      continue;
    }
    const number = numberAt(port, "port");
    const earlier = state.shared?.get(number);
    const same = state.shared === undefined ? 0 : (earlier ?? requestedFor(number, ports));
    const blocked = new Set([...state.used, ...state.held, ...given]);
    const nodePort = asked || same || freePort(blocked, state.seed);
    const isOwn = state.shared === undefined ? own.has(nodePort) : earlier === nodePort;
    const refused =
      isOwn || state.held.has(nodePort) ? undefined : refusedPort(nodePort, state.used);
    if (refused !== undefined) {
      return { errors: [invalid(`${index("spec.ports", position)}.nodePort`, nodePort, refused)] };
    }
    own.add(nodePort);
    state.used.add(nodePort);
    state.shared?.set(number, earlier ?? nodePort);
    allocated.push({ ...port, nodePort });
  }
  return { spec: { ...spec, ports: allocated } };
}

const requestedFor = (number: number, ports: readonly JsonObject[]) =>
  ports
    .filter((port) => numberAt(port, "port") === number)
    .map((port) => numberAt(port, "nodePort"))
    .find((nodePort) => nodePort !== 0) ?? 0;

function withHealthPort(
  spec: JsonObject,
  before: number,
  used: ReadonlySet<number>,
  seed: number,
): Outcome {
  const asked = numberAt(spec, "healthCheckNodePort");
  if (before !== 0) return { spec };
  const healthCheckNodePort = asked || freePort(used, seed);
  const refused = refusedPort(healthCheckNodePort, used);
  if (refused === undefined) return { spec: { ...spec, healthCheckNodePort } };
  const text = `failed to allocate requested HealthCheck NodePort ${asked}: ${refused}`;
  return { errors: [invalid("spec.healthCheckNodePort", asked, text)] };
}

function refusedPort(port: number, used: ReadonlySet<number>): string | undefined {
  if (port < NODE_PORT_MIN || port > NODE_PORT_MAX) {
    return `provided port is not in the valid range. The range of valid ports is ${NODE_PORT_MIN}-${NODE_PORT_MAX}`;
  }
  return used.has(port) ? ALLOCATED : undefined;
}

/** A port that nobody has; 0, which no Service may have, when there is none left. */
function freePort(used: ReadonlySet<number>, seed: number): number {
  const count = NODE_PORT_MAX - NODE_PORT_MIN + 1;
  for (let step = 0; step < count; step++) {
    const port = NODE_PORT_MIN + ((seed + step) % count);
    if (!used.has(port)) return port;
  }
  return 0;
}

/** FNV-1a: spreads names over the ranges, the same way on every machine. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (const byte of Buffer.from(text)) state = Math.imul(state ^ byte, 0x01000193);
  return state >>> 0;
}
