import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { loadKubeConfig } from "#kube/config.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { openTokens, TOKEN_ISSUER, writeKubeconfig } from "./tokens.ts";

const REQUEST = {
  namespace: "team",
  serviceAccount: "robot",
  uid: "sa-1",
  expirationSeconds: 600,
  audiences: [],
};

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

describe("tokens", () => {
  it("knows the administrator by a token that is kept", async (t) => {
    const dir = await tempFolder(t);
    const clock = new ManualClock();
    const tokens = openTokens(dir, { clock });
    const user = tokens.authenticate(`Bearer ${tokens.adminToken}`);
    assert.deepEqual(user?.groups, ["system:masters", "system:authenticated"]);
    assert.equal(openTokens(dir, { clock }).adminToken, tokens.adminToken);
    assert.equal(statSync(join(dir, "admin-token")).mode & 0o777, 0o600);
    for (const wrong of ["", "x", tokens.adminToken.slice(1), `${tokens.adminToken}0`]) {
      assert.equal(tokens.authenticate(`Bearer ${wrong}`), undefined);
    }
    assert.equal(tokens.authenticate(undefined), undefined);
    assert.equal(tokens.authenticate(`Basic ${tokens.adminToken}`), undefined);
    truncateSync(join(dir, "admin-token"), 10);
    assert.equal(openTokens(dir, { clock }).adminToken.length, 64, "a torn file is replaced");
  });

  it("issues tokens with Kubernetes' claims that last as long as they say", async (t) => {
    const clock = new ManualClock();
    const tokens = openTokens(await tempFolder(t), { clock });
    const pod = { name: "web", uid: "pod-1" };
    const { token, expirationTimestamp } = tokens.issueToken({ ...REQUEST, pod });
    const nowS = clock.now() / 1000;
    const { jti, ...claims } = claimsOf(token);
    assert.equal(typeof jti, "string");
    assert.deepEqual(claims, {
      aud: [TOKEN_ISSUER],
      exp: nowS + 600,
      iat: nowS,
      nbf: nowS,
      iss: TOKEN_ISSUER,
      sub: "system:serviceaccount:team:robot",
      "kubernetes.io": {
        namespace: "team",
        pod,
        serviceaccount: { name: "robot", uid: "sa-1" },
      },
    });
    assert.equal(expirationTimestamp, "2026-01-01T00:10:00Z");
    assert.deepEqual(tokens.authenticate(`Bearer ${token}`), {
      name: "system:serviceaccount:team:robot",
      groups: ["system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated"],
    });
    await clock.advance(599_000);
    assert.ok(tokens.authenticate(`bearer ${token}`));
    await clock.advance(1_000);
    assert.equal(tokens.authenticate(`Bearer ${token}`), undefined);
  });

  it("refuses tokens that are altered, made elsewhere, or for somebody else", async (t) => {
    const clock = new ManualClock();
    const tokens = openTokens(await tempFolder(t), { clock });
    const { token } = tokens.issueToken(REQUEST);
    const [header = "", payload = "", signature = ""] = token.split(".");
    const claims = { ...claimsOf(token), sub: "system:serviceaccount:team:boss" };
    const none = encoded({ alg: "none" });
    const hs256 = encoded({ alg: "HS256" });
    const wrong = [
      `${header}.${encoded(claims)}.${signature}`,
      `${none}.${payload}.`,
      `${none}.${payload}.${signature}`,
      `${hs256}.${payload}.${createHmac("sha256", "").update(`${hs256}.${payload}`).digest("base64url")}`,
      `${header}.${payload}.${signature}x.`,
      `${header}.${payload}`,
      openTokens(await tempFolder(t), { clock }).issueToken(REQUEST).token,
      tokens.issueToken({ ...REQUEST, audiences: ["vault"] }).token,
    ];
    for (const [index, text] of wrong.entries()) {
      assert.equal(tokens.authenticate(`Bearer ${text}`), undefined, `number ${index}`);
    }
  });

  it("ends tokens with their service account or pod", async (t) => {
    const alive = new Map([
      ["ServiceAccount team/robot", "sa-1"],
      ["Pod team/web", "pod-1"],
    ]);
    const tokens = openTokens(await tempFolder(t), {
      clock: new ManualClock(),
      uidOf: (kind, namespace, name) => alive.get(`${kind} ${namespace}/${name}`),
    });
    const bound = tokens.issueToken({ ...REQUEST, pod: { name: "web", uid: "pod-1" } }).token;
    const free = tokens.issueToken(REQUEST).token;
    assert.ok(tokens.authenticate(`Bearer ${bound}`));
    alive.set("Pod team/web", "another");
    assert.equal(tokens.authenticate(`Bearer ${bound}`), undefined);
    assert.ok(tokens.authenticate(`Bearer ${free}`));
    alive.delete("ServiceAccount team/robot");
    assert.equal(tokens.authenticate(`Bearer ${free}`), undefined);
  });

  it("keeps its key over a restart and replaces a torn one", async (t) => {
    const dir = await tempFolder(t);
    const clock = new ManualClock();
    const { token } = openTokens(dir, { clock }).issueToken(REQUEST);
    const key = join(dir, "pki", "sa.key");
    assert.equal(statSync(key).mode & 0o777, 0o600);
    assert.ok(openTokens(dir, { clock }).authenticate(`Bearer ${token}`));
    writeFileSync(key, readFileSync(key, "utf8").slice(0, 60));
    assert.equal(openTokens(dir, { clock }).authenticate(`Bearer ${token}`), undefined);
  });

  it("writes a kubeconfig that kubectl and we can read", async (t) => {
    const path = join(await tempFolder(t), "deep", "kubeconfig");
    writeKubeconfig(path, { server: "https://127.0.0.1:6443", ca: "PEM", token: "secret" });
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const clock = new ManualClock();
    const config = await loadKubeConfig({ kubeconfigPath: path, env: {}, clock });
    assert.equal(config.server, "https://127.0.0.1:6443");
    assert.equal(config.namespace, "default");
    assert.equal(config.tls.ca, "PEM");
    assert.equal(await config.authorization?.(), "Bearer secret");
    assert.match(config.source, /^context loradock of /);
  });
});
