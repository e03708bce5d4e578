/** The controller's end-to-end tests against the real kube-apiserver, with the rights that we ship and no others. */
import { after } from "node:test";
import { startRealApi } from "../conformance/servers.ts";
import { setStage } from "./stage.ts";
import { controllerTests } from "./suite.ts";

const api = await startRealApi(16_520, 12_520);
const stage = await setStage(api);
controllerTests(stage);

after(async () => {
  await stage.close();
  await api.close();
});
