import { createPrivateKey, type JsonWebKey, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import type { TlsFiles } from "./server.ts";

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export interface CertificateRequest {
  /** PEM (PKCS #8) of the key that the certificate is about. */
  readonly key: string;
  /** The authority that signs; undefined makes an authority that signs itself. */
  readonly issuer: { readonly cert: string; readonly key: string } | undefined;
  readonly commonName: string;
  /** DNS names and IP addresses of a server. */
  readonly hosts: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A new ECDSA key on P-256, PEM (PKCS #8). */
export async function makeKey(): Promise<string> {
  const { privateKey } = await webcrypto.subtle.generateKey(ECDSA, true, ["sign", "verify"]);
  const der = await webcrypto.subtle.exportKey("pkcs8", privateKey);
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
}

/** Makes and signs a certificate; PEM. */
export async function makeCertificate(request: CertificateRequest): Promise<string> {
  // A quarter of a second of CPU that only the first start has to spend.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const { privateKey, publicKey } = await importKey(request.key);
  const { issuer } = request;
  const signer = issuer === undefined ? undefined : new x509.X509Certificate(issuer.cert);
  const signingKey = issuer === undefined ? privateKey : (await importKey(issuer.key)).privateKey;
  const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags;
  const subject = `CN=${request.commonName}`;
  const isCa = signer === undefined;
  const certificate = await x509.X509CertificateGenerator.create(
    {
      subject,
      issuer: signer?.subjectName ?? subject,
      notBefore: new Date(request.notBeforeMs),
      notAfter: new Date(request.notAfterMs),
      publicKey,
      signingKey,
      signingAlgorithm: ECDSA,
      extensions: [
        new x509.BasicConstraintsExtension(isCa, undefined, true),
        new x509.KeyUsagesExtension(isCa ? keyCertSign | cRLSign : digitalSignature, true),
        await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        // By key and not by serial number: certificates stay valid when the authority is renewed.
        await x509.AuthorityKeyIdentifierExtension.create(
          signer?.publicKey ?? publicKey,
          false,
          webcrypto,
        ),
        ...(isCa ? [] : [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth])]),
        ...(isCa ? [] : [new x509.SubjectAlternativeNameExtension(request.hosts.map(nameOf))]),
      ],
    },
    webcrypto,
  );
  return `${certificate.toString("pem").trim()}\n`;
}

const SELF_SIGNED_MS = 10 * 365 * 86_400_000;
const CLOCKS_APART_MS = 3_600_000;

/** A certificate for `hosts` that nobody vouches for, with its key: for a connection that is to be encrypted, and no more. */
export async function selfSigned(hosts: readonly string[], nowMs: number): Promise<TlsFiles> {
  const span = { notBeforeMs: nowMs - CLOCKS_APART_MS, notAfterMs: nowMs + SELF_SIGNED_MS };
  const [authority, key] = await Promise.all([makeKey(), makeKey()]);
  const named = { commonName: "loradock", ...span };
  const ca = await makeCertificate({ ...named, key: authority, issuer: undefined, hosts: [] });
  const issuer = { cert: ca, key: authority };
  const [commonName = "loradock"] = hosts;
  return { cert: await makeCertificate({ ...named, commonName, key, issuer, hosts }), key };
}

const nameOf = (host: string) => ({
  type: isIP(host) === 0 ? ("dns" as const) : ("ip" as const),
  value: host,
});

async function importKey(pem: string) {
  const jwk: JsonWebKey = createPrivateKey(pem).export({ format: "jwk" });
  const { d: _secret, ...shown } = jwk;
  return {
    privateKey: await webcrypto.subtle.importKey("jwk", jwk, ECDSA, false, ["sign"]),
    publicKey: await webcrypto.subtle.importKey("jwk", shown, ECDSA, true, ["verify"]),
  };
}
