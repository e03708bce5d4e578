/** A little admission webhook: an https server whose answers a test chooses. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { isObject, type JsonObject } from "#base/json.ts";
import { newAuthority } from "../../scripts/certificates.ts";

/** What it answers, besides the uid. */
export type Verdict = JsonObject;

export interface WebhookServer extends AsyncDisposable {
  /** To be put into a webhook configuration. */
  clientConfig(path?: string): JsonObject;
  /** The AdmissionReview requests that came, in order. */
  readonly requests: readonly JsonObject[];
}

let authority: ReturnType<typeof newAuthority> | undefined;

/** `decide` sees the `request` of each review; undefined answers with 500. */
export async function startWebhook(
  decide: (request: JsonObject) => Verdict | undefined,
): Promise<WebhookServer> {
  authority ??= newAuthority("conformance-webhooks");
  const { ca, issue } = await authority;
  const server = createServer(await issue({ dns: ["localhost"], ip: ["127.0.0.1"] }));
  const requests: JsonObject[] = [];
  server.on("request", async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const review: unknown = JSON.parse(Buffer.concat(chunks).toString());
    const asked = isObject(review) && isObject(review["request"] ?? null) ? review["request"] : {};
    requests.push(asked as JsonObject);
    const verdict = decide(asked as JsonObject);
    if (verdict === undefined) {
      response.writeHead(500).end("the webhook is out of order");
      return;
    }
    response.setHeader("content-type", "application/json");
    response.end(
      JSON.stringify({
        apiVersion: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: { uid: Object(asked)["uid"], ...verdict },
      }),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A test that fails before it holds this must not keep the process.
  server.unref();
  const { port } = server.address() as AddressInfo;
  return {
    requests,
    clientConfig: (path = "/") => ({
      url: `https://127.0.0.1:${port}${path}`,
      caBundle: Buffer.from(ca).toString("base64"),
    }),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
