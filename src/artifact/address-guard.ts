import { type LookupAddress, type LookupOptions, lookup } from "node:dns";
import { BlockList, isIP } from "node:net";
import { ArtifactError } from "./errors.ts";

/**
 * Where an artifact never lives, but secrets and control ports do. Private ranges (10.x ...) are not
 * among them: artifact servers live there.
 */
const FORBIDDEN = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8], // "this host"
  ["127.0.0.0", 8],
  ["169.254.0.0", 16], // link-local, and the metadata services of AWS, GCP, Azure
] as const) {
  FORBIDDEN.addSubnet(net, prefix, "ipv4");
}
for (const address of ["100.100.100.200", "168.63.129.16"]) {
  // The metadata services of Alibaba Cloud and the host agent of Azure lie outside link-local.
  FORBIDDEN.addAddress(address, "ipv4");
}
for (const [net, prefix] of [
  ["::", 128],
  ["::1", 128],
  ["fe80::", 10],
] as const) {
  FORBIDDEN.addSubnet(net, prefix, "ipv6");
}
FORBIDDEN.addAddress("fd00:ec2::254", "ipv6"); // AWS metadata over IPv6

/** IPv6 prefixes of 96 bits whose last 32 are an IPv4 address: mapped, NAT64, and the old "compatible". */
const EMBEDDED = [
  [0, 0, 0, 0, 0, 0xffff],
  [0x64, 0xff9b, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0],
];

/** True for loopback, link-local, unspecified and cloud metadata addresses, IPv4 inside IPv6 included. */
export function isForbiddenAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return FORBIDDEN.check(address, "ipv4");
  if (family !== 6) return false;
  const plain = address.split("%")[0] as string;
  if (FORBIDDEN.check(plain, "ipv6")) return true;
  const inner = embeddedIpv4(plain);
  return inner !== undefined && FORBIDDEN.check(inner, "ipv4");
}

function embeddedIpv4(address: string): string | undefined {
  const groups = expandIpv6(address);
  const isEmbedded = EMBEDDED.some((prefix) => prefix.every((group, i) => groups[i] === group));
  // 6to4 carries the address in its second and third group.
  const at = isEmbedded ? 6 : groups[0] === 0x2002 ? 1 : -1;
  if (at < 0) return undefined;
  const [high = 0, low = 0] = groups.slice(at, at + 2);
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The eight groups of an IPv6 address. `URL` writes them in hex and compressed. */
function expandIpv6(address: string): number[] {
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = "", tail] = canonical.split("::");
  const parse = (part: string) =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const left = parse(head);
  if (tail === undefined) return left;
  const right = parse(tail);
  return [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
}

/** Tells which addresses are not connected to. */
export type AddressRule = (address: string) => boolean;

/** @throws ArtifactError AccessDenied when `url` names a forbidden address outright, without a name to resolve. */
export function checkUrlHost(url: URL, isForbidden: AddressRule): void {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isForbidden(host)) throw refused(host);
}

function refused(host: string): ArtifactError {
  return new ArtifactError(
    "AccessDenied",
    `Access denied: ${host} is a loopback, link-local or metadata address, which artifacts are not ` +
      "fetched from; set ARTIFACT_HTTP_ALLOW_PRIVATE=1 in the sidecar if it is meant",
  );
}

type LookupCallback = (
  error: NodeJS.ErrnoException | null,
  address: string | LookupAddress[],
  family?: number,
) => void;

/**
 * Name resolution for connections: fails when a name leads to a forbidden address. It stands where the
 * socket asks, so the address that was checked is the one that is connected to.
 */
export function guardedLookup(isForbidden: AddressRule) {
  return (hostname: string, options: LookupOptions, callback: LookupCallback): void => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, []);
      if (addresses.some(({ address }) => isForbidden(address))) {
        return callback(refused(hostname), []);
      }
      const [first] = addresses;
      if (options.all === true || first === undefined) return callback(null, addresses);
      callback(null, first.address, first.family);
    });
  };
}
