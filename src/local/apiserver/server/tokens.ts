import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  randomUUID,
  sign,
  timingSafeEqual,
  verify,
} from "node:crypto";
import { join } from "node:path";
import { type Clock, toTimestamp } from "#base/clock.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { readFileIfThere, writeFileAtomically } from "../../pods/files.ts";
import { numberAt, objectAt, stringAt, stringsAt } from "../json-access.ts";
import type { User } from "../registry/object-api.ts";
import { pkiFolder } from "./pki.ts";

/** Who signs the tokens, and whom they are for unless a request says otherwise. */
export const TOKEN_ISSUER = "https://kubernetes.default.svc.cluster.local";
const ADMIN: User = {
  name: "kubernetes-admin",
  groups: ["system:masters", "system:authenticated"],
};
const ADMIN_TOKEN_BYTES = 32;
/** A token whose time begins just now must not fail over a rounded second. */
const LEEWAY_S = 1;
/** Tokens whose signature is known to be good; more than the pods of a machine have. */
const VERIFIED_MAX = 1_000;

export interface TokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly uid: string;
  readonly expirationSeconds: number;
  /** Empty means the API server itself. */
  readonly audiences: readonly string[];
  /** The pod that the token lives and dies with. */
  readonly pod?: { readonly name: string; readonly uid: string } | undefined;
}

export interface IssuedToken {
  readonly token: string;
  /** RFC 3339 */
  readonly expirationTimestamp: string;
}

export interface TokensOptions {
  readonly clock: Clock;
  /**
   * The uid of the object that a token speaks for, so that tokens end with their object; undefined
   * when there is none. Left out: only the signature and the time count.
   */
  readonly uidOf?: (
    kind: "ServiceAccount" | "Pod",
    namespace: string,
    name: string,
  ) => string | undefined;
}

export interface Tokens {
  /** For the administrator's kubeconfig. */
  readonly adminToken: string;
  issueToken(request: TokenRequest): IssuedToken;
  /** Who presents this `Authorization` header; undefined when it is missing or not ours. */
  authenticate(authorization: string | undefined): User | undefined;
}

/**
 * The bearer tokens of the API: the administrator's in `<dir>/admin-token` and those of service
 * accounts, signed with `<dir>/pki/sa.key`. Files that are missing or torn are made anew.
 */
export function openTokens(dir: string, options: TokensOptions): Tokens {
  const adminToken = readOrMakeAdminToken(join(dir, "admin-token"));
  const privateKey = readOrMakeKey(join(pkiFolder(dir), "sa.key"));
  const publicKey = createPublicKey(privateKey);
  // Checking a signature takes longer than most requests. Time and owners are checked each time.
  const verified = new Map<string, JsonObject>();
  const authenticateBearer = (token: string): User | undefined => {
    if (isSame(token, adminToken)) return ADMIN;
    const claims = verified.get(token) ?? verifiedClaims(token, publicKey);
    if (claims !== undefined && !verified.has(token)) {
      if (verified.size >= VERIFIED_MAX) verified.clear();
      verified.set(token, claims);
    }
    return claims === undefined ? undefined : accountOf(claims, options);
  };
  return {
    adminToken,
    issueToken: (request) => {
      const issuedAt = Math.floor(options.clock.now() / 1000);
      const claims = claimsOf(request, issuedAt);
      return {
        token: signed(claims, privateKey, publicKey),
        expirationTimestamp: toTimestamp((issuedAt + request.expirationSeconds) * 1000),
      };
    },
    authenticate: (authorization = "") => {
      const [, token] = /^bearer +(\S+) *$/i.exec(authorization) ?? [];
      return token === undefined ? undefined : authenticateBearer(token);
    },
  };
}

function claimsOf(request: TokenRequest, issuedAt: number): JsonObject {
  const { namespace, serviceAccount, uid, audiences, pod } = request;
  return {
    aud: audiences.length === 0 ? [TOKEN_ISSUER] : [...audiences],
    exp: issuedAt + request.expirationSeconds,
    iat: issuedAt,
    iss: TOKEN_ISSUER,
    jti: randomUUID(),
    "kubernetes.io": {
      namespace,
      ...(pod === undefined ? {} : { pod: { name: pod.name, uid: pod.uid } }),
      serviceaccount: { name: serviceAccount, uid },
    },
    nbf: issuedAt,
    sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
  };
}

/** A JWT with ES256. */
function signed(claims: JsonObject, privateKey: KeyObject, publicKey: KeyObject): string {
  const der = publicKey.export({ type: "spki", format: "der" });
  const kid = createHash("sha256").update(der).digest("base64url");
  const text = [{ alg: "ES256", kid }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  const signature = sign("sha256", Buffer.from(text), {
    key: privateKey,
    dsaEncoding: "ieee-p1363",
  });
  return `${text}.${signature.toString("base64url")}`;
}

/** The claims of a token that we signed; undefined for any other. */
function verifiedClaims(token: string, publicKey: KeyObject): JsonObject | undefined {
  const [header = "", payload = "", signature = "", ...rest] = token.split(".");
  if (signature === "" || rest.length > 0) return undefined;
  const isOurs = verify(
    "sha256",
    Buffer.from(`${header}.${payload}`),
    { key: publicKey, dsaEncoding: "ieee-p1363" },
    Buffer.from(signature, "base64url"),
  );
  if (!isOurs) return undefined;
  // What we signed is JSON; the algorithm in the header is not asked, since only ours was tried.
  const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
  return isObject(claims) ? claims : undefined;
}

function accountOf(claims: JsonObject, { clock, uidOf }: TokensOptions): User | undefined {
  const nowS = clock.now() / 1000;
  const isTimely = numberAt(claims, "nbf") <= nowS + LEEWAY_S && nowS < numberAt(claims, "exp");
  if (!isTimely || !stringsAt(claims, "aud").includes(TOKEN_ISSUER)) return undefined;
  const bound = objectAt(claims, "kubernetes.io");
  const namespace = stringAt(bound, "namespace");
  const account = objectAt(bound, "serviceaccount");
  const isAlive = (kind: "ServiceAccount" | "Pod", object: JsonObject) =>
    uidOf === undefined || uidOf(kind, namespace, stringAt(object, "name")) === object["uid"];
  if (!isAlive("ServiceAccount", account)) return undefined;
  if (bound["pod"] !== undefined && !isAlive("Pod", objectAt(bound, "pod"))) return undefined;
  return {
    name: stringAt(claims, "sub"),
    groups: [
      "system:serviceaccounts",
      `system:serviceaccounts:${namespace}`,
      "system:authenticated",
    ],
  };
}

/** Takes the same time wherever the two differ; hashed first, since lengths would differ visibly. */
function isSame(given: string, wanted: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(given), hash(wanted));
}

/** A file that cannot be read is as good as none: it is made anew. */
function readIfPossible(path: string): string {
  try {
    return readFileIfThere(path) ?? "";
  } catch {
    return "";
  }
}

function readOrMakeAdminToken(path: string): string {
  const held = readIfPossible(path).trim();
  if (/^[0-9a-f]+$/.test(held) && held.length === 2 * ADMIN_TOKEN_BYTES) return held;
  const token = randomBytes(ADMIN_TOKEN_BYTES).toString("hex");
  writeFileAtomically(path, `${token}\n`);
  return token;
}

function readOrMakeKey(path: string): KeyObject {
  try {
    const held = createPrivateKey(readIfPossible(path));
    if (held.asymmetricKeyType === "ec") return held;
  } catch {
    // Not there or torn. With a new key the old tokens end; kubelets fetch new ones.
  }
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  writeFileAtomically(path, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  return privateKey;
}

export interface KubeconfigContent {
  /** URL of the API server. */
  readonly server: string;
  /** PEM of its authority. */
  readonly ca: string;
  readonly token: string;
}

/** Writes a kubeconfig whose only context, cluster and user are all named `loradock`; mode 0600. */
export function writeKubeconfig(path: string, { server, ca, token }: KubeconfigContent): void {
  const quoted = JSON.stringify;
  const text = `apiVersion: v1
kind: Config
clusters:
- name: loradock
  cluster:
    certificate-authority-data: ${Buffer.from(ca).toString("base64")}
    server: ${quoted(server)}
contexts:
- name: loradock
  context:
    cluster: loradock
    namespace: default
    user: loradock
current-context: loradock
preferences: {}
users:
- name: loradock
  user:
    token: ${quoted(token)}
`;
  writeFileAtomically(path, text);
}
