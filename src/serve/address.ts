import { UserError } from "#base/errors.ts";

/** Where to listen. An empty host means all interfaces. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

const PORT_MAX = 65_535;

/**
 * The address that a flag like `--metrics-bind-address` names: `:8081`, `8081`, `host:port`,
 * `[::1]:8081`; undefined for `0`, which turns the listener off.
 * @param emptyHost what an address without a host listens on; left out: all interfaces.
 * @throws UserError naming the flag.
 */
export function parseListenAddress(
  flag: string,
  text: string,
  emptyHost = "",
): ListenAddress | undefined {
  const trimmed = text.trim();
  if (trimmed === "0") return undefined;
  const match = /^(?:(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]/\s]*)):)?(\d{1,5})$/.exec(trimmed);
  const port = Number(match?.[3]);
  if (match === null || port > PORT_MAX) {
    throw new UserError(
      `${flag} is ${JSON.stringify(text)}: use host:port, :port, or 0 to turn it off`,
    );
  }
  const host = match[1] ?? match[2] ?? "";
  return { host: host === "" ? emptyHost : host, port };
}

/** `host:port` as a person or a URL writes it; all interfaces are `*`. */
export function formatAddress({ host, port }: ListenAddress): string {
  if (host === "") return `*:${port}`;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
