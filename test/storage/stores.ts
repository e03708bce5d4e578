/** Real object stores as processes of their own, filled with adapters. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { eventually } from "#test/support/eventually.ts";
import { freePort } from "#test/support/sidecar-process.ts";
import { buildStores, type StorePrograms } from "../../scripts/storage-build.ts";

const START_TIMEOUT_MS = 60_000;
const OUTPUT_CHARS = 2000;

let programs: StorePrograms | undefined;

function installed(): StorePrograms {
  programs ??= buildStores(process.env, (line) => console.log(line));
  return programs;
}

/** Starts a store; resolves to what ends it, when it answers. */
async function startStore(
  command: string,
  args: string[],
  health: string,
): Promise<() => Promise<void>> {
  let said = "";
  const child: ChildProcess = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  const hear = (text: Buffer) => {
    said = (said + text.toString()).slice(-OUTPUT_CHARS);
  };
  child.stdout?.on("data", hear);
  child.stderr?.on("data", hear);
  const close = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  };
  await eventually(
    `${command} answers`,
    async () => {
      if (child.exitCode !== null) throw new Error(`${command} ended: ${said}`);
      return (await fetch(health).catch(() => null))?.ok;
    },
    START_TIMEOUT_MS,
  );
  return close;
}

export interface Keys {
  readonly aws_access_key_id: string;
  readonly aws_secret_access_key: string;
}

export interface Moto {
  readonly url: string;
  put(bucket: string, files: Record<string, Buffer>): Promise<void>;
  /** A user who may do what the policy's actions say on everything. */
  user(name: string, actions: readonly string[]): Promise<Keys>;
  /** A role with that policy, for whoever brings a token of the cluster's; returns its ARN. */
  role(name: string, actions: readonly string[]): Promise<string>;
  /** From now on signatures and policies count. */
  enforce(): Promise<void>;
  close(): Promise<void>;
}

/** S3, IAM and STS by moto. */
export async function startMoto(): Promise<Moto> {
  const { moto } = installed();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const args = ["-H", "127.0.0.1", "-p", String(port)];
  const close = await startStore(moto, args, `${url}/moto-api/data.json`);
  const client = new S3Client({
    endpoint: url,
    region: "us-east-1",
    credentials: { accessKeyId: "admin", secretAccessKey: "admin" },
  });

  /** moto tells its services apart by what a request would be signed for. */
  async function iam(action: string, parameters: Record<string, string>): Promise<string> {
    const response = await fetch(url, {
      method: "POST",
      headers: {
        authorization:
          "AWS4-HMAC-SHA256 Credential=admin/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0",
      },
      body: new URLSearchParams({ Action: action, Version: "2010-05-08", ...parameters }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${action}: ${text}`);
    return text;
  }

  const policyOf = (actions: readonly string[]) =>
    JSON.stringify({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Action: actions, Resource: "*" }],
    });
  const field = (text: string, tag: string) =>
    new RegExp(`<${tag}>([^<]+)</${tag}>`).exec(text)?.[1] ?? "";

  return {
    url,
    put: async (bucket, files) => {
      await client.send(new CreateBucketCommand({ Bucket: bucket })).catch((error: Error) => {
        if (!/BucketAlready/.test(error.name)) throw error;
      });
      for (const [key, body] of Object.entries(files)) {
        await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
      }
    },
    user: async (name, actions) => {
      await iam("CreateUser", { UserName: name });
      await iam("PutUserPolicy", {
        UserName: name,
        PolicyName: "p",
        PolicyDocument: policyOf(actions),
      });
      const text = await iam("CreateAccessKey", { UserName: name });
      return {
        aws_access_key_id: field(text, "AccessKeyId"),
        aws_secret_access_key: field(text, "SecretAccessKey"),
      };
    },
    role: async (name, actions) => {
      const trust = { Effect: "Allow", Principal: "*", Action: "sts:AssumeRoleWithWebIdentity" };
      const text = await iam("CreateRole", {
        RoleName: name,
        AssumeRolePolicyDocument: JSON.stringify({ Version: "2012-10-17", Statement: [trust] }),
      });
      await iam("PutRolePolicy", {
        RoleName: name,
        PolicyName: "p",
        PolicyDocument: policyOf(actions),
      });
      return field(text, "Arn");
    },
    enforce: async () => {
      await fetch(`${url}/moto-api/reset-auth`, { method: "POST", body: "0" });
    },
    close: async () => {
      client.destroy();
      await close();
    },
  };
}

export interface FakeGcs {
  readonly url: string;
  put(bucket: string, files: Record<string, Buffer>): Promise<void>;
  close(): Promise<void>;
}

/** Google Cloud Storage by fake-gcs-server. It asks nobody for a token. */
export async function startFakeGcs(): Promise<FakeGcs> {
  const { fakeGcs } = installed();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const args = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"];
  const health = `${url}/_internal/healthcheck`;
  const close = await startStore(fakeGcs, [...args, "-port", String(port)], health);
  const send = async (path: string, body: string | Buffer, type: string) => {
    const response = await fetch(url + path, {
      method: "POST",
      headers: { "content-type": type },
      body: typeof body === "string" ? body : new Uint8Array(body),
    });
    if (!response.ok && response.status !== 409) throw new Error(await response.text());
  };
  return {
    url,
    close,
    put: async (bucket, files) => {
      await send("/storage/v1/b?project=p", JSON.stringify({ name: bucket }), "application/json");
      for (const [key, body] of Object.entries(files)) {
        const query = `uploadType=media&name=${encodeURIComponent(key)}`;
        await send(`/upload/storage/v1/b/${bucket}/o?${query}`, body, "application/octet-stream");
      }
    },
  };
}
