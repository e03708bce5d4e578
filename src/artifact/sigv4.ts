import { createHash, createHmac } from "node:crypto";

/** What a signature is made with. */
export interface SigningKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** Hash of the body that a GET has not got. */
const EMPTY_SHA256 = createHash("sha256").digest("hex");

/**
 * Headers of a signed GET by AWS' signature version 4. AWS' client signs as well, and spends ten times
 * as long on it as the bytes of a range need.
 * @param url escaped already, as it will be sent, without a query.
 * @param headers to be sent along; they are signed, too.
 */
export function signedHeaders(
  url: URL,
  headers: Readonly<Record<string, string>>,
  { key, region, nowMs }: { key: SigningKey; region: string; nowMs: number },
): Record<string, string> {
  const time = new Date(nowMs).toISOString().replace(/[-:]|\.\d{3}/g, "");
  const date = time.slice(0, 8);
  const sent: Record<string, string> = {
    ...headers,
    "x-amz-content-sha256": EMPTY_SHA256,
    "x-amz-date": time,
    ...(key.sessionToken === undefined ? {} : { "x-amz-security-token": key.sessionToken }),
  };
  const signed = Object.entries({ ...sent, host: url.host }).sort(([a], [b]) => (a < b ? -1 : 1));
  const names = signed.map(([name]) => name).join(";");
  const lines = signed.map(([name, value]) => `${name}:${value.trim()}\n`).join("");
  const request = `GET\n${url.pathname}\n\n${lines}\n${names}\n${EMPTY_SHA256}`;
  const scope = `${date}/${region}/s3/aws4_request`;
  const hash = createHash("sha256").update(request).digest("hex");
  const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash}`;
  const hmac = (secret: string | Buffer, part: string) =>
    createHmac("sha256", secret).update(part).digest();
  const signingKey = [date, region, "s3", "aws4_request"].reduce<string | Buffer>(
    hmac,
    `AWS4${key.secretAccessKey}`,
  );
  const signature = hmac(signingKey, text).toString("hex");
  return {
    ...sent,
    authorization: `AWS4-HMAC-SHA256 Credential=${key.accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`,
  };
}

/** The region of a request that was signed by this version; undefined for others. */
export function regionOf(authorization: string | undefined): string | undefined {
  return /^AWS4-HMAC-SHA256 Credential=[^,]+\/\d{8}\/([^/,]+)\/s3\/aws4_request,/.exec(
    authorization ?? "",
  )?.[1];
}
