import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { bodyOf, startServer, type TestServer } from "./http-server.ts";

export interface TokenServer extends TestServer {
  /** The token that it gives; a good store takes no other. */
  token: string;
  /** How often it gave one. */
  given: number;
  /** A service account's key whose token_uri is this server. */
  keyJson(change?: Record<string, unknown>): string;
}

/** Google's token service as far as a service account's key needs it: it checks the signature. */
export async function startTokenServer(): Promise<TokenServer> {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const state = {
    token: "ya29.good-token",
    given: 0,
    keyJson: (change: Record<string, unknown> = {}) =>
      JSON.stringify({
        type: "service_account",
        project_id: "my-project",
        private_key_id: "key-id",
        private_key: pem,
        client_email: "reader@my-project.iam.gserviceaccount.com",
        token_uri: `${server.url}/token`,
        ...change,
      }),
  };
  const server = await startServer(async (request, response) => {
    const assertion = new URLSearchParams(await bodyOf(request)).get("assertion") ?? "";
    const [header = "", claims = "", signature = ""] = assertion.split(".");
    const isSigned = verify(
      "RSA-SHA256",
      Buffer.from(`${header}.${claims}`),
      createPublicKey(publicKey.export({ type: "spki", format: "pem" })),
      Buffer.from(signature, "base64url"),
    );
    const told = isSigned
      ? (JSON.parse(Buffer.from(claims, "base64url").toString()) as Record<string, unknown>)
      : {};
    const isGood = told["aud"] === `${server.url}/token` && /read_only/.test(String(told["scope"]));
    response.writeHead(isGood ? 200 : 400, { "content-type": "application/json" });
    if (isGood) answer.given++;
    response.end(
      JSON.stringify(
        isGood
          ? { access_token: answer.token, expires_in: 3599, token_type: "Bearer" }
          : { error: "invalid_grant", error_description: `Invalid JWT: ${assertion}` },
      ),
    );
  });
  const answer: TokenServer = Object.assign(state, server);
  return answer;
}
