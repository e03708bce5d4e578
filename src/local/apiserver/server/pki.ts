import { createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { makeCertificate, makeKey } from "#serve/certificate.ts";
import { readFileIfThere, writeFileAtomically } from "../../pods/files.ts";

/** What the server shows to clients, and what they trust; all PEM. */
export interface Pki {
  /** The authority's certificate, for kubeconfigs and the ConfigMap `kube-root-ca.crt`. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface PkiOptions {
  /** DNS names and IP addresses under which clients reach the server, beyond the usual ones. */
  readonly hosts?: readonly string[];
  readonly clock: Clock;
}

/** A certificate together with its private key; both PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** Names by which programs on this machine and in pods reach an API server. */
const USUAL_HOSTS = [
  "127.0.0.1",
  "::1",
  "localhost",
  "kubernetes",
  "kubernetes.default",
  "kubernetes.default.svc",
  "kubernetes.default.svc.cluster.local",
];
const DAY_MS = 24 * 60 * 60 * 1000;
const CA_DAYS = 3650;
const SERVER_DAYS = 365;
const RENEW_BEFORE_DAYS = 30;
/** The authority is renewed in time for a server certificate to live its whole life under it. */
const CA_RENEW_BEFORE_DAYS = SERVER_DAYS + RENEW_BEFORE_DAYS;

/** Folder of the keys and certificates. */
export const pkiFolder = (dir: string) => join(dir, "pki");

/**
 * The authority and the server certificate kept in `<dir>/pki`; what is missing, torn, about to run
 * out or made for other hosts is made anew. As long as `ca.key` can be read, the authority keeps its
 * key and name, so that clients which trusted it before go on to do so.
 */
export async function loadOrMakePki(dir: string, options: PkiOptions): Promise<Pki> {
  const folder = pkiFolder(dir);
  const nowMs = options.clock.now();
  const authority = await authorityIn(folder, nowMs);
  const hosts = [...new Set([...USUAL_HOSTS, ...(options.hosts ?? [])])];
  const held = readPair(folder, "server");
  const isGood = held !== undefined && serves(held, authority, hosts, nowMs);
  const server = isGood ? held : await makeServer(folder, authority, hosts, nowMs);
  return { ca: authority.cert, ...server };
}

async function authorityIn(folder: string, nowMs: number): Promise<KeyPair> {
  const held = readPair(folder, "ca");
  if (held !== undefined) {
    const certificate = new X509Certificate(held.cert);
    const isGood = certificate.ca && isFresh(certificate, nowMs, CA_RENEW_BEFORE_DAYS);
    if (isGood) return held;
  }
  const key = readKey(folder, "ca") ?? (await makeKey());
  const cert = await makeCertificate({
    key,
    issuer: undefined,
    commonName: "loradock-ca",
    hosts: [],
    ...lifetime(nowMs, CA_DAYS),
  });
  return keep(folder, "ca", { key, cert });
}

async function makeServer(
  folder: string,
  authority: KeyPair,
  hosts: readonly string[],
  nowMs: number,
): Promise<KeyPair> {
  const key = await makeKey();
  const cert = await makeCertificate({
    key,
    issuer: authority,
    commonName: "kube-apiserver",
    hosts,
    ...lifetime(nowMs, SERVER_DAYS),
  });
  return keep(folder, "server", { key, cert });
}

/** Clocks of clients may be a little behind: a certificate is valid from an hour ago on. */
const lifetime = (nowMs: number, days: number) => ({
  notBeforeMs: nowMs - 60 * 60 * 1000,
  notAfterMs: nowMs + days * DAY_MS,
});

function isFresh(certificate: X509Certificate, nowMs: number, days: number): boolean {
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  return from <= nowMs && to - nowMs >= days * DAY_MS;
}

/** Whether the pair is signed by the authority, for exactly these hosts, and lasts. */
function serves(
  pair: KeyPair,
  authority: KeyPair,
  hosts: readonly string[],
  nowMs: number,
): boolean {
  const certificate = new X509Certificate(pair.cert);
  const signer = new X509Certificate(authority.cert);
  const count = (certificate.subjectAltName ?? "").split(", ").length;
  return (
    certificate.checkIssued(signer) &&
    certificate.verify(signer.publicKey) &&
    isFresh(certificate, nowMs, RENEW_BEFORE_DAYS) &&
    count === hosts.length &&
    hosts.every((host) => isNamed(certificate, host))
  );
}

function isNamed(certificate: X509Certificate, host: string): boolean {
  const found =
    isIP(host) === 0
      ? certificate.checkHost(host, { subject: "never" })
      : certificate.checkIP(host);
  return found !== undefined;
}

/** The pair in the folder; undefined when a file is missing or torn, or the two do not belong together. */
function readPair(folder: string, name: string): KeyPair | undefined {
  const key = readKey(folder, name);
  if (key === undefined) return undefined;
  try {
    const cert = readFileIfThere(join(folder, `${name}.crt`));
    if (cert === undefined) return undefined;
    const isPair = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
    return isPair ? { cert, key } : undefined;
  } catch {
    return undefined;
  }
}

/** A key that cannot be read or parsed is as good as none: it is made anew. */
function readKey(folder: string, name: string): string | undefined {
  try {
    const key = readFileIfThere(join(folder, `${name}.key`));
    if (key === undefined) return undefined;
    const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(key);
    const isOurs = asymmetricKeyType === "ec" && asymmetricKeyDetails?.namedCurve === "prime256v1";
    return isOurs ? key : undefined;
  } catch {
    return undefined;
  }
}

/** The key first: a crash in between leaves a pair that does not fit, which the next start makes anew. */
function keep(folder: string, name: string, pair: KeyPair): KeyPair {
  writeFileAtomically(join(folder, `${name}.key`), pair.key);
  writeFileAtomically(join(folder, `${name}.crt`), pair.cert);
  return pair;
}
