import { BlockList, isIP, isIPv4 } from "node:net";
import { Environment, Optional } from "@marcbachmann/cel-js";
import { formatText } from "./cel-format.ts";
import { hasFormat, isCidr } from "./formats.ts";
import { goRegExp } from "./go-regexp.ts";
import { dns1035Label, dnsLabel, labelValue, qualifiedName, subdomain } from "./name-rules.ts";
import { quantityNanos } from "./quantity.ts";

type Scalar = bigint | number | string | boolean | Date;

/** An environment with the functions that Kubernetes adds to CEL for validation rules. */
export function kubernetesCel(): Environment {
  const environment = new Environment({
    enableOptionalTypes: true,
    homogeneousAggregateLiterals: false,
  });
  registerText(environment);
  registerLists(environment);
  registerUrls(environment);
  registerAddresses(environment);
  registerQuantities(environment);
  registerFormats(environment);
  return environment.registerVariable("self", "dyn").registerVariable("oldSelf", "dyn");
}

function registerText(cel: Environment): void {
  cel.registerFunction(
    "string.find(string): string",
    (text: string, pattern: string) => goRegExp(pattern).exec(text)?.[0] ?? "",
  );
  const findAll = (text: string, pattern: string, limit: bigint) => {
    const found = [...text.matchAll(new RegExp(goRegExp(pattern), "gu"))].map(([match]) => match);
    return limit < 0n ? found : found.slice(0, Number(limit));
  };
  cel.registerFunction("string.findAll(string): list<string>", (text: string, pattern: string) =>
    findAll(text, pattern, -1n),
  );
  cel.registerFunction("string.findAll(string, int): list<string>", findAll);
  cel.registerFunction(
    "string.replace(string, string): string",
    (text: string, a: string, b: string) => text.replaceAll(a, () => b),
  );
  cel.registerFunction(
    "string.replace(string, string, int): string",
    (text: string, from: string, to: string, limit: bigint) => {
      let left = limit;
      return text.replaceAll(from, (match) => (limit < 0n || left-- > 0n ? to : match));
    },
  );
  cel.registerFunction("string.charAt(int): string", (text: string, position: bigint) => {
    const characters = [...text];
    if (position < 0n || position > characters.length) {
      throw new Error(`index out of range: ${position}`);
    }
    return characters[Number(position)] ?? "";
  });
  cel.registerFunction("string.format(list): string", (text: string, values: unknown[]) =>
    formatText(text, values),
  );
}

function registerLists(cel: Environment): void {
  const extreme = (name: string, isBetter: (a: Scalar, b: Scalar) => boolean) =>
    cel.registerFunction(`list.${name}(): dyn`, (list: Scalar[]) => {
      if (list.length === 0) throw new Error(`${name} called on empty list`);
      return list.reduce((best, item) => (isBetter(item, best) ? item : best));
    });
  extreme("min", (a, b) => a < b);
  extreme("max", (a, b) => a > b);
  cel.registerFunction("list.sum(): dyn", (list: (bigint | number)[]) => {
    if (typeof list[0] === "number")
      return list.reduce((sum, item) => Number(sum) + Number(item), 0);
    return list.reduce((sum, item) => BigInt(sum) + BigInt(item), 0n);
  });
  cel.registerFunction("list.isSorted(): bool", (list: Scalar[]) =>
    list.every((item, position) => position === 0 || (list[position - 1] as Scalar) <= item),
  );
  cel.registerFunction("list.indexOf(dyn): int", (list: unknown[], item: unknown) =>
    BigInt(list.indexOf(item)),
  );
  cel.registerFunction("list.lastIndexOf(dyn): int", (list: unknown[], item: unknown) =>
    BigInt(list.lastIndexOf(item)),
  );
  class Sets {}
  cel.registerType("Sets", Sets).registerConstant("sets", "Sets", new Sets());
  const contains = (_: Sets, list: unknown[], items: unknown[]) =>
    items.every((item) => list.includes(item));
  cel.registerFunction("Sets.contains(list, list): bool", contains);
  cel.registerFunction(
    "Sets.equivalent(list, list): bool",
    (_: Sets, a: unknown[], b: unknown[]) => contains(_, a, b) && contains(_, b, a),
  );
  cel.registerFunction("Sets.intersects(list, list): bool", (_: Sets, a: unknown[], b: unknown[]) =>
    a.some((item) => b.includes(item)),
  );
}

class CelUrl {
  readonly scheme: string;
  readonly host: string;
  readonly path: string;
  readonly query: string;

  constructor(scheme: string, host: string, path: string, query: string) {
    this.scheme = scheme;
    this.host = host;
    this.path = path;
    this.query = query;
  }

  static parse(text: string): CelUrl | undefined {
    const match =
      /^(?:([a-zA-Z][a-zA-Z0-9+.-]*):)?(?:\/\/(?:[^/?#@]*@)?([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?$/s.exec(
        text,
      );
    const [, scheme = "", host = "", path = "", query = ""] = match ?? [];
    // Without a scheme only an absolute path is a URL that a request could be made with.
    const isUsable = scheme !== "" ? host !== "" || path !== "" : text.startsWith("/");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
    if (!isUsable || /[\u0000-\u0020\u007f]/.test(text)) return undefined;
    return new CelUrl(scheme.toLowerCase(), host, path, query);
  }
}

function registerUrls(cel: Environment): void {
  const port = /:(\d*)$/;
  cel.registerType("URL", CelUrl);
  cel.registerFunction("isURL(string): bool", (text: string) => CelUrl.parse(text) !== undefined);
  cel.registerFunction("url(string): URL", (text: string) =>
    required(CelUrl.parse(text), "URL", text),
  );
  cel.registerFunction("URL.getScheme(): string", (url: CelUrl) => url.scheme);
  cel.registerFunction("URL.getHost(): string", (url: CelUrl) => url.host);
  cel.registerFunction("URL.getHostname(): string", (url: CelUrl) =>
    url.host.replace(port, "").replace(/^\[(.*)\]$/, "$1"),
  );
  cel.registerFunction("URL.getPort(): string", (url: CelUrl) => port.exec(url.host)?.[1] ?? "");
  cel.registerFunction("URL.getEscapedPath(): string", (url: CelUrl) => url.path);
  cel.registerFunction("URL.getQuery(): map", (url: CelUrl) => {
    const query = new URLSearchParams(url.query);
    return new Map([...new Set(query.keys())].map((name) => [name, query.getAll(name)]));
  });
}

class CelIp {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  static parse(text: string): CelIp | undefined {
    return isIP(text) === 0 || text.includes("%") ? undefined : new CelIp(text);
  }
  get isV4() {
    return isIPv4(this.text);
  }
  get canonical() {
    return this.isV4 ? this.text : new URL(`http://[${this.text}]`).hostname.slice(1, -1);
  }
  isIn(subnets: readonly string[]): boolean {
    return subnets.map((subnet) => CelCidr.parse(subnet)).some((subnet) => subnet?.contains(this));
  }
}

class CelCidr {
  readonly address: CelIp;
  readonly prefix: number;
  constructor(address: CelIp, prefix: number) {
    this.address = address;
    this.prefix = prefix;
  }
  static parse(text: string): CelCidr | undefined {
    const [address = "", prefix] = text.split("/");
    return isCidr(text) ? new CelCidr(new CelIp(address), Number(prefix)) : undefined;
  }
  contains(ip: CelIp): boolean {
    if (ip.isV4 !== this.address.isV4) return false;
    const family = ip.isV4 ? "ipv4" : "ipv6";
    const list = new BlockList();
    list.addSubnet(this.address.text, this.prefix, family);
    return list.check(ip.text, family);
  }
}

const LOOPBACK = ["127.0.0.0/8", "::1/128"];
const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"];
const LINK_LOCAL_MULTICAST = ["224.0.0.0/24", "ff02::/16"];
const NOT_GLOBAL = [
  ...LOOPBACK,
  ...LINK_LOCAL,
  "224.0.0.0/4",
  "ff00::/8",
  "0.0.0.0/32",
  "::/128",
  "255.255.255.255/32",
];

function registerAddresses(cel: Environment): void {
  const ip = (text: string) => required(CelIp.parse(text), "IP Address", text);
  const cidr = (text: string) => required(CelCidr.parse(text), "CIDR", text);
  cel.registerType("IP", CelIp).registerType("CIDR", CelCidr);
  cel.registerFunction("isIP(string): bool", (text: string) => CelIp.parse(text) !== undefined);
  cel.registerFunction("ip(string): IP", ip);
  cel.registerFunction("IP.family(): int", (address: CelIp) => (address.isV4 ? 4n : 6n));
  cel.registerFunction("IP.isLoopback(): bool", (address: CelIp) => address.isIn(LOOPBACK));
  cel.registerFunction("IP.isUnspecified(): bool", (address: CelIp) =>
    address.isIn(["0.0.0.0/32", "::/128"]),
  );
  cel.registerFunction("IP.isLinkLocalUnicast(): bool", (a: CelIp) => a.isIn(LINK_LOCAL));
  cel.registerFunction("IP.isLinkLocalMulticast(): bool", (a: CelIp) =>
    a.isIn(LINK_LOCAL_MULTICAST),
  );
  cel.registerFunction("IP.isGlobalUnicast(): bool", (address: CelIp) => !address.isIn(NOT_GLOBAL));
  cel.registerFunction("string(IP): string", (address: CelIp) => address.canonical);
  cel.registerFunction("isCIDR(string): bool", (text: string) => isCidr(text));
  cel.registerFunction("cidr(string): CIDR", cidr);
  cel.registerFunction("CIDR.containsIP(string): bool", (net: CelCidr, text: string) =>
    net.contains(ip(text)),
  );
  cel.registerFunction("CIDR.containsIP(IP): bool", (net: CelCidr, address: CelIp) =>
    net.contains(address),
  );
  const containsNet = (net: CelCidr, other: CelCidr) =>
    other.prefix >= net.prefix && net.contains(other.address);
  cel.registerFunction("CIDR.containsCIDR(CIDR): bool", containsNet);
  cel.registerFunction("CIDR.containsCIDR(string): bool", (net: CelCidr, text: string) =>
    containsNet(net, cidr(text)),
  );
  cel.registerFunction("CIDR.ip(): IP", (net: CelCidr) => net.address);
  cel.registerFunction("CIDR.prefixLength(): int", (net: CelCidr) => BigInt(net.prefix));
}

class CelQuantity {
  readonly nanos: bigint;
  constructor(nanos: bigint) {
    this.nanos = nanos;
  }
}

function registerQuantities(cel: Environment): void {
  const billion = 1_000_000_000n;
  const compare = (a: CelQuantity, b: CelQuantity) =>
    a.nanos === b.nanos ? 0n : a.nanos < b.nanos ? -1n : 1n;
  cel.registerType("Quantity", CelQuantity);
  cel.registerFunction(
    "isQuantity(string): bool",
    (text: string) => quantityNanos(text) !== undefined,
  );
  cel.registerFunction(
    "quantity(string): Quantity",
    (text: string) => new CelQuantity(required(quantityNanos(text), "quantity", text)),
  );
  cel.registerFunction("Quantity.compareTo(Quantity): int", compare);
  cel.registerFunction(
    "Quantity.isGreaterThan(Quantity): bool",
    (a: CelQuantity, b: CelQuantity) => compare(a, b) > 0n,
  );
  cel.registerFunction(
    "Quantity.isLessThan(Quantity): bool",
    (a: CelQuantity, b: CelQuantity) => compare(a, b) < 0n,
  );
  cel.registerFunction("Quantity.sign(): int", (a: CelQuantity) => compare(a, new CelQuantity(0n)));
  cel.registerFunction("Quantity.isInteger(): bool", (a: CelQuantity) => a.nanos % billion === 0n);
  cel.registerFunction("Quantity.asInteger(): int", (a: CelQuantity) => {
    if (a.nanos % billion !== 0n) throw new Error("cannot convert value to integer");
    return a.nanos / billion;
  });
  cel.registerFunction(
    "Quantity.asApproximateFloat(): double",
    (a: CelQuantity) => Number(a.nanos) / Number(billion),
  );
  cel.registerFunction(
    "Quantity.add(Quantity): Quantity",
    (a: CelQuantity, b: CelQuantity) => new CelQuantity(a.nanos + b.nanos),
  );
  cel.registerFunction(
    "Quantity.sub(Quantity): Quantity",
    (a: CelQuantity, b: CelQuantity) => new CelQuantity(a.nanos - b.nanos),
  );
}

class NamedFormat {
  readonly validate: (text: string) => string[];
  constructor(validate: (text: string) => string[]) {
    this.validate = validate;
  }
}

const openApiFormat = (name: string) => (text: string) =>
  hasFormat(name, text) ? [] : [`invalid ${name}`];
const prefix = (rule: (text: string) => string[]) => (text: string) =>
  rule(`${text.replace(/-+$/, "")}a`);
const NAMED_FORMATS: { readonly [name: string]: (text: string) => string[] } = {
  dns1123Label: dnsLabel,
  dns1123Subdomain: subdomain,
  dns1035Label,
  qualifiedName,
  dns1123LabelPrefix: prefix(dnsLabel),
  dns1123SubdomainPrefix: prefix(subdomain),
  dns1035LabelPrefix: prefix(dns1035Label),
  labelValue,
  uri: openApiFormat("uri"),
  uuid: openApiFormat("uuid"),
  byte: openApiFormat("byte"),
  date: openApiFormat("date"),
  datetime: openApiFormat("date-time"),
};

function registerFormats(cel: Environment): void {
  class Formats {}
  cel.registerType("NamedFormat", NamedFormat).registerType("Formats", Formats);
  cel.registerConstant("format", "Formats", new Formats());
  for (const [name, rule] of Object.entries(NAMED_FORMATS)) {
    cel.registerFunction(`Formats.${name}(): NamedFormat`, () => new NamedFormat(rule));
  }
  cel.registerFunction("Formats.named(string): optional", (_: Formats, name: string) => {
    const rule = NAMED_FORMATS[name];
    return rule === undefined ? Optional.none() : Optional.of(new NamedFormat(rule));
  });
  cel.registerFunction(
    "NamedFormat.validate(string): optional",
    (format: NamedFormat, text: string) => {
      const wrong = format.validate(text);
      return wrong.length === 0 ? Optional.none() : Optional.of(wrong);
    },
  );
}

function required<T>(value: T | undefined, what: string, text: string): T {
  if (value === undefined)
    throw new Error(`${what} parse error during conversion from string: ${text}`);
  return value;
}
