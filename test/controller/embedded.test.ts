/** The controller's end-to-end tests against the embedded API. */
import { after } from "node:test";
import { startEmbeddedApi } from "../conformance/servers.ts";
import { setStage } from "./stage.ts";
import { controllerTests } from "./suite.ts";

const api = await startEmbeddedApi(16_520);
const stage = await setStage(api);
controllerTests(stage);

after(async () => {
  await stage.close();
  await api.close();
});
