import assert from "node:assert/strict";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "#test/support/temp-folder.ts";
import { readCredentials, scrubberOf } from "./credentials.ts";

test("mounted keys serve when the request brings none, as Kubernetes mounts them", async (t) => {
  const folder = await tempFolder(t);
  await mkdir(join(folder, "..2026_08_30"));
  await writeFile(join(folder, "..2026_08_30", "huggingface_token"), "hf_mounted\n");
  await symlink("..2026_08_30", join(folder, "..data"));
  await symlink("..data/huggingface_token", join(folder, "huggingface_token"));
  assert.deepEqual(await readCredentials(undefined, folder), { huggingface_token: "hf_mounted" });
  assert.deepEqual(await readCredentials({}, folder), { huggingface_token: "hf_mounted" });
  assert.deepEqual(await readCredentials({ a: "b" }, folder), { a: "b" });
  assert.deepEqual(await readCredentials(undefined, join(folder, "none")), {});
});

test("secrets are taken out of texts that others wrote", () => {
  const scrub = scrubberOf(
    {
      huggingface_token: "hf_abcdef\n",
      headers: '{"Authorization":"Bearer tok-123456"}',
      aws_region: "us-west-2",
    },
    "https://user:passw0rd@host/a?X-Amz-Signature=f00dface",
    "sk-engine-key",
  );
  assert.equal(
    scrub("hf_abcdef, tok-123456, passw0rd, f00dface, sk-engine-key, user, s3://x-us-west-2"),
    "***, ***, ***, ***, ***, user, s3://x-us-west-2",
  );
});
