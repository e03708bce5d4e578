/** The conformance suite against the embedded API, as the process that users start. */
import { after } from "node:test";
import { prepare } from "./prepare.ts";
import { startEmbeddedApi } from "./servers.ts";
import { conformanceTests } from "./suite.ts";
import { connect } from "./target.ts";

const server = await startEmbeddedApi(16_510);
const target = await connect(server.kubeconfig, true);
await prepare(target);
conformanceTests(target);

after(async () => {
  await target.close();
  await server.close();
});
