import assert from "node:assert/strict";
import { test } from "node:test";
import { UserError } from "#base/errors.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { loadKubeConfig } from "./config.ts";

const b64 = (text: string) => Buffer.from(text).toString("base64");

const FULL = `
apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c1
  cluster: {server: "https://one:6443", certificate-authority-data: ${b64("CA ONE")}, tls-server-name: api}
- name: c2
  cluster: {server: "https://two:6443/prefix", certificate-authority: ca.pem, insecure-skip-tls-verify: true}
users:
- name: u1
  user: {token: secret-token}
- name: u2
  user: {client-certificate-data: ${b64("CERT")}, client-key: keys/key.pem}
- name: u3
  user: {tokenFile: token}
contexts:
- name: one
  context: {cluster: c1, user: u1, namespace: team-a}
- name: two
  context: {cluster: c2, user: u2}
- name: three
  context: {cluster: c1, user: u3}
`;

function sources(files: Record<string, string>, env: Record<string, string> = {}) {
  const clock = new ManualClock();
  const readFile = (path: string) => {
    const text = files[path];
    if (text !== undefined) return Promise.resolve(text);
    return Promise.reject(Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" }));
  };
  return { clock, readFile, env: { HOME: "/home/me", ...env } };
}

test("the flag wins over the variable, that over the pod, that over the home folder", async () => {
  const simple = (server: string) =>
    `{current-context: x, contexts: [{name: x, context: {cluster: x}}], clusters: [{name: x, cluster: {server: "http://${server}"}}]}`;
  const account = "/var/run/secrets/kubernetes.io/serviceaccount";
  const files = {
    "/flag": simple("flag"),
    "/env": simple("env"),
    [`${account}/token`]: "t0ken\n",
    [`${account}/ca.crt`]: "CA",
    [`${account}/namespace`]: "aibrix-system",
    "/home/me/.kube/config": simple("home"),
  };
  const pod = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" };
  const server = async (env: Record<string, string>, kubeconfigPath?: string) =>
    (await loadKubeConfig({ ...sources(files, env), kubeconfigPath })).server;
  assert.equal(await server({ KUBECONFIG: "/env", ...pod }, "/flag"), "http://flag");
  assert.equal(await server({ KUBECONFIG: "/missing:/env", ...pod }), "http://env");
  assert.equal(await server(pod), "https://[fd00::1]:443");
  assert.equal(await server({}), "http://home");
  const inCluster = await loadKubeConfig(sources(files, pod));
  assert.equal(inCluster.namespace, "aibrix-system");
  assert.deepEqual(inCluster.tls, { ca: "CA" });
  assert.equal(await inCluster.authorization?.(), "Bearer t0ken");
  await assert.rejects(loadKubeConfig(sources({})), UserError);
});

test("contexts, inline and beside-lying certificates, tokens", async () => {
  const files = {
    "/etc/k/config": FULL,
    "/etc/k/ca.pem": "CA TWO",
    "/etc/k/keys/key.pem": "KEY",
    "/etc/k/token": "from-file",
  };
  const load = (context?: string) =>
    loadKubeConfig({ ...sources(files), kubeconfigPath: "/etc/k/config", context });
  const one = await load();
  assert.deepEqual(
    [one.server, one.namespace, one.tls, await one.authorization?.()],
    ["https://one:6443", "team-a", { ca: "CA ONE", servername: "api" }, "Bearer secret-token"],
  );
  const two = await load("two");
  assert.deepEqual(two.tls, { ca: "CA TWO", rejectUnauthorized: false, cert: "CERT", key: "KEY" });
  assert.equal(two.authorization, undefined);
  assert.equal(await (await load("three")).authorization?.(), "Bearer from-file");
});

test("a token file is read again after a minute, and at once after a refusal", async () => {
  const files: Record<string, string> = { "/c": FULL, "/token": "first" };
  const from = sources(files);
  const config = await loadKubeConfig({ ...from, kubeconfigPath: "/c", context: "three" });
  assert.equal(await config.authorization?.(), "Bearer first");
  files["/token"] = "second";
  assert.equal(await config.authorization?.(), "Bearer first");
  await from.clock.advance(60_000);
  assert.equal(await config.authorization?.(), "Bearer second");
  files["/token"] = "third";
  config.forgetAuthorization?.();
  assert.equal(await config.authorization?.(), "Bearer third");
});

test("of several files the first that has an entry counts", async () => {
  const files = {
    "/a": "{contexts: [{name: one, context: {cluster: c1, user: u2}}]}",
    "/b": FULL,
    "/keys/key.pem": "KEY",
  };
  const config = await loadKubeConfig(sources(files, { KUBECONFIG: "/a:/b" }));
  assert.deepEqual([config.server, config.tls.cert], ["https://one:6443", "CERT"]);
});

test("a login plug-in is run, and its token used", async () => {
  const credential = {
    apiVersion: "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    status: { token: "from-plugin" },
  };
  const script = `console.log(${JSON.stringify(JSON.stringify(credential))})`;
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command: process.execPath,
    args: ["-e", script],
    interactiveMode: "Never",
  };
  const text = JSON.stringify({
    "current-context": "x",
    contexts: [{ name: "x", context: { cluster: "x", user: "x" } }],
    clusters: [{ name: "x", cluster: { server: "https://x" } }],
    users: [{ name: "x", user: { exec } }],
  });
  const config = await loadKubeConfig({ ...sources({ "/c": text }), kubeconfigPath: "/c" });
  assert.equal(await config.authorization?.(), "Bearer from-plugin");
});

test("what is wrong is said with the file, and without its secrets", async () => {
  const cases: [string, RegExp][] = [
    ["{{{", /kubeconfig \/c is not YAML/],
    ["clusters: 5", /not valid at clusters/],
    ["{}", /no current-context/],
    [FULL.replace("current-context: one", "current-context: nine"), /no context nine/],
    [FULL.replace("name: c1\n", "name: c9\n"), /no cluster c1, which context one names/],
    [FULL.replace("https://one:6443", "one"), /server of cluster c1 .* is not a URL/],
    [FULL.replace("secret-token", "[secret-token]"), /not valid at users\.0\.user\.token/],
  ];
  for (const [text, expected] of cases) {
    const error = await loadKubeConfig({ ...sources({ "/c": text }), kubeconfigPath: "/c" }).then(
      () => assert.fail("accepted"),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof UserError);
    assert.match(error.message, expected);
    assert.doesNotMatch(error.message, /secret-token/);
  }
  const missing = loadKubeConfig({
    ...sources({ "/c": FULL }),
    kubeconfigPath: "/c",
    context: "two",
  });
  await assert.rejects(
    missing,
    /\/ca\.pem, which the kubeconfig \/c names, cannot be read \(ENOENT\)/,
  );
});
