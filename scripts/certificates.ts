import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

const ALGORITHM = {
  name: "RSASSA-PKCS1-v1_5",
  hash: "SHA-256",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
};
const LIFETIME_MS = 365 * 24 * 3600 * 1000;
/** Clocks differ a little; a certificate that begins right now may still lie in the future. */
const SKEW_MS = 60_000;

/** A certificate and its private key, PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority of one test bench, and what it vouches for. */
export interface Authority {
  readonly ca: string;
  /** A server certificate for DNS names and IP addresses. */
  issue(names: { dns: readonly string[]; ip: readonly string[] }): Promise<Certificate>;
}

/** A new authority; its key never leaves the process. */
export async function newAuthority(name: string): Promise<Authority> {
  const keys = await newKeys();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    ...lifetime(),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  return {
    ca: root.toString("pem"),
    issue: async ({ dns, ip }) => {
      const own = await newKeys();
      const leaf = await x509.X509CertificateGenerator.create({
        subject: `CN=${dns[0] ?? ip[0]}`,
        issuer: root.subject,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: ALGORITHM,
        ...lifetime(),
        extensions: [
          new x509.SubjectAlternativeNameExtension([
            ...dns.map((value) => ({ type: "dns" as const, value })),
            ...ip.map((value) => ({ type: "ip" as const, value })),
          ]),
        ],
      });
      return { cert: leaf.toString("pem"), key: await privatePem(own) };
    },
  };
}

/** A private key alone, PKCS #8 PEM: what signs the tokens of service accounts. */
export async function newPrivateKey(): Promise<string> {
  return privatePem(await newKeys());
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function privatePem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const der = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return x509.PemConverter.encode(der, "PRIVATE KEY");
}

function lifetime() {
  const now = Date.now();
  return { notBefore: new Date(now - SKEW_MS), notAfter: new Date(now + LIFETIME_MS) };
}
