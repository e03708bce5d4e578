import { createPrivateKey, type KeyObject, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { codeOf } from "#base/errors.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { ArtifactError } from "./errors.ts";
import type { HttpResponse } from "./http-client.ts";
import { discard } from "./http-range.ts";
import type { SourceContext } from "./source.ts";

const SCOPE = "https://www.googleapis.com/auth/devstorage.read_only";
const TOKEN_URI = "https://oauth2.googleapis.com/token";
const METADATA_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token";
const ASSERTION_S = 3600;
/** A token is renewed so long before its end. */
const MARGIN_MS = 60_000;
const ANSWER_BYTES_MAX = 16 << 20;

/** Where the key is to be set, for sentences. */
export const GCS_KEYS =
  "gcp_service_account_json of the Secret, or the workload identity of the pod's service account";

interface ServiceAccount {
  readonly email: string;
  readonly key: KeyObject;
  readonly keyId: string | undefined;
  readonly tokenUri: string;
}

interface Token {
  readonly text: string;
  readonly endsAt: number;
}

/**
 * Tokens for Google's storage: by the key of a service account, else by workload identity, else none
 * for an emulator.
 */
export class GcsTokens {
  readonly #context: SourceContext;
  readonly #what: string;
  #token: Token | undefined;

  constructor(context: SourceContext, what: string) {
    this.#context = context;
    this.#what = what;
  }

  /** @throws ArtifactError in the words for missing, malformed and refused credentials. */
  async get(signal: AbortSignal): Promise<string | undefined> {
    const { clock, settings } = this.#context;
    if (this.#token !== undefined && clock.now() < this.#token.endsAt - MARGIN_MS) {
      return this.#token.text;
    }
    const account = await this.#account();
    if (account === undefined && settings.gcs.endpoint !== undefined) return undefined;
    this.#token =
      account === undefined
        ? await this.#fromMetadata(signal)
        : await this.#fromKey(account, signal);
    return this.#token.text;
  }

  async #account(): Promise<ServiceAccount | undefined> {
    const { credentials, settings, areCredentialsGiven } = this.#context;
    const text = credentials["gcp_service_account_json"];
    if (text !== undefined && text.trim() !== "") {
      return serviceAccountOf(text, "the key gcp_service_account_json");
    }
    if (areCredentialsGiven) {
      throw wrongKey("the Secret", "has no key gcp_service_account_json");
    }
    const { keyFile } = settings.gcs;
    if (keyFile === undefined) return undefined;
    const content = await readFile(keyFile, "utf8").catch(() => {
      throw wrongKey("the file of GOOGLE_APPLICATION_CREDENTIALS", "cannot be read");
    });
    return serviceAccountOf(content, "the file of GOOGLE_APPLICATION_CREDENTIALS");
  }

  async #fromKey(account: ServiceAccount, signal: AbortSignal): Promise<Token> {
    const { http, clock } = this.#context;
    const assertion = signedAssertion(account, Math.floor(clock.now() / 1000));
    const response = await http.send(new URL(account.tokenUri), {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
        assertion,
      }).toString(),
      followsRedirects: false,
      allowPrivate: true,
      signal,
    });
    return this.#read(response, `Google's token service refuses ${account.email}'s key`);
  }

  async #fromMetadata(signal: AbortSignal): Promise<Token> {
    const { http, settings } = this.#context;
    let response: HttpResponse;
    try {
      response = await http.send(new URL(settings.gcs.metadataUrl + METADATA_TOKEN), {
        headers: { "metadata-flavor": "Google" },
        followsRedirects: false,
        allowPrivate: true,
        isDirect: true,
        signal,
      });
    } catch (error) {
      // Its name is known in Google's cloud only.
      if (codeOf((error as Error).cause) !== "ENOTFOUND") throw error;
      throw new ArtifactError(
        "AccessDenied",
        `Access denied to ${this.#what}: no credentials were given; set ${GCS_KEYS}`,
        { cause: error },
      );
    }
    return this.#read(response, "the metadata server gives no token: the pod has no identity");
  }

  async #read(response: HttpResponse, refusal: string): Promise<Token> {
    const { status } = response;
    if (status === 429 || status >= 500) {
      discard(response);
      throw new ArtifactError(
        "Unreachable",
        `service unavailable: tokens for ${this.#what} (${status})`,
      );
    }
    const answer = await readJsonObject(response.body).catch(() => undefined);
    const token = answer?.["access_token"];
    const seconds = Number(answer?.["expires_in"] ?? ASSERTION_S);
    if (status === 200 && typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) {
      return { text: token, endsAt: this.#context.clock.now() + seconds * 1000 };
    }
    // Of the answer only the code: the rest may repeat what was sent.
    const code = answer?.["error"];
    const shown = typeof code === "string" && /^\w{1,40}$/.test(code) ? code : String(status);
    throw new ArtifactError(
      "InvalidCredentials",
      `Invalid credentials for ${this.#what}: ${refusal} (${shown}); check ${GCS_KEYS}, and the clock`,
    );
  }
}

function wrongKey(where: string, why: string): ArtifactError {
  return new ArtifactError(
    "InvalidCredentials",
    `Invalid credentials: ${where} ${why}; use the JSON key of a service account`,
  );
}

/** @throws ArtifactError InvalidCredentials; nothing of the key is in its text. */
function serviceAccountOf(text: string, where: string): ServiceAccount {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw wrongKey(where, "is not valid JSON");
  }
  if (!isObject(json)) throw wrongKey(where, "is not a JSON object");
  const { type, client_email: email, private_key: pem, private_key_id: keyId } = json;
  if (type !== undefined && type !== "service_account") {
    throw wrongKey(where, "is of another type than service_account");
  }
  if (typeof email !== "string" || typeof pem !== "string") {
    throw wrongKey(where, "lacks client_email or private_key");
  }
  const tokenUri = json["token_uri"] ?? TOKEN_URI;
  const isUrl =
    typeof tokenUri === "string" &&
    URL.canParse(tokenUri) &&
    /^https?:$/.test(new URL(tokenUri).protocol);
  if (!isUrl) throw wrongKey(where, "has a token_uri that is not an http(s) URL");
  try {
    // Line ends come through shells as two characters.
    const key = createPrivateKey(pem.replaceAll("\\n", "\n"));
    if (key.asymmetricKeyType !== "rsa") throw new Error("not RSA");
    return { email, key, keyId: typeof keyId === "string" ? keyId : undefined, tokenUri };
  } catch {
    throw wrongKey(where, "has a private_key that is not an RSA key in PEM");
  }
}

/** RFC 7523: a token signed by ourselves, to be exchanged for one of Google's. */
function signedAssertion({ email, key, keyId, tokenUri }: ServiceAccount, now: number): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const header = { alg: "RS256", typ: "JWT", ...(keyId === undefined ? {} : { kid: keyId }) };
  const claims = { iss: email, scope: SCOPE, aud: tokenUri, iat: now, exp: now + ASSERTION_S };
  const content = `${encode(header)}.${encode(claims)}`;
  return `${content}.${sign("RSA-SHA256", Buffer.from(content), key).toString("base64url")}`;
}

/** @throws SyntaxError when it is none; what the stream throws. */
export async function readJsonObject(body: Readable): Promise<JsonObject> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += (chunk as Buffer).length;
    if (size > ANSWER_BYTES_MAX) throw new SyntaxError("the answer is too long");
    chunks.push(chunk as Buffer);
  }
  const value: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  if (!isObject(value)) throw new SyntaxError("the answer is not a JSON object");
  return value;
}
