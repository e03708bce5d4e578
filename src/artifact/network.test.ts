import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { startServer } from "#test/support/http-server.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { newAuthority } from "../../scripts/certificates.ts";
import { isForbiddenAddress } from "./address-guard.ts";
import { createHttpClient } from "./http-client.ts";
import { DIRECT_NETWORK, type NetworkSettings } from "./network.ts";

const never = new AbortController().signal;

/** A proxy that notes what is asked of it, and leads everything to this machine. */
async function startProxy(t: TestContext) {
  const asked: string[] = [];
  const proxy = await startServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end("by proxy");
  });
  proxy.server.on("connect", (request, socket: Socket) => {
    asked.push(`CONNECT ${request.url}`);
    const port = Number(request.url?.split(":")[1]);
    const onward = connect(port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
    socket.on("error", () => onward.destroy());
  });
  t.after(() => proxy.close());
  return { url: proxy.url, asked };
}

async function textOf(t: TestContext, url: string, network: Partial<NetworkSettings>) {
  const http = createHttpClient(isForbiddenAddress, { ...DIRECT_NETWORK, ...network });
  t.after(() => http.close());
  const { body } = await http.send(new URL(url), { allowPrivate: true, signal: never });
  return body
    .setEncoding("utf8")
    .toArray()
    .then((parts) => parts.join(""));
}

test("requests go through the proxy of their scheme, but for the hosts of NO_PROXY", async (t) => {
  const { url: httpProxy, asked } = await startProxy(t);
  const store = await startServer((_, response) => response.end("direct"));
  t.after(() => store.close());
  assert.equal(await textOf(t, "http://store.example/a?b", { httpProxy }), "by proxy");
  assert.deepEqual(asked, ["GET http://store.example/a?b"]);
  const noProxy = "other.example,127.0.0.1";
  assert.equal(await textOf(t, store.url, { httpProxy, noProxy }), "direct");
  assert.equal(asked.length, 1);
});

test("https through a tunnel, trusted by the authority of SSL_CERT_FILE and by no other", async (t) => {
  const { url: httpsProxy, asked } = await startProxy(t);
  const authority = await newAuthority("test");
  const certificate = await authority.issue({ dns: ["store.example"], ip: ["127.0.0.1"] });
  const store = createServer(certificate, (_, response) => response.end("secure"));
  await new Promise<void>((resolve) => store.listen(0, "127.0.0.1", resolve));
  t.after(() => store.close());
  t.after(() => store.closeAllConnections());
  const { port } = store.address() as AddressInfo;
  const caFile = join(await tempFolder(t), "ca.pem");
  await writeFile(caFile, authority.ca);
  const url = `https://store.example:${port}/`;
  assert.equal(await textOf(t, url, { httpsProxy, caFile }), "secure");
  assert.deepEqual(asked, [`CONNECT store.example:${port}`]);
  assert.equal(await textOf(t, `https://127.0.0.1:${port}/`, { caFile }), "secure");
  await assert.rejects(textOf(t, url, { httpsProxy }), { code: "Unreachable" });
  assert.throws(
    () => createHttpClient(isForbiddenAddress, { ...DIRECT_NETWORK, caFile: "/none.pem" }),
    /SSL_CERT_FILE \/none.pem cannot be used/,
  );
});
