// SPDX-License-Identifier: Apache-2.0
// A real OpenID provider for tests: `node provider.mjs CONFIG`, with NODE_PATH's packages in the folder that ./build prints.
//
// CONFIG is JSON, read anew at each SIGHUP, which is answered by a line "ready N" (as the start is):
//   issuer, host, port, cert, key   where it is; files in PEM
//   accounts   {ID: {claims}}: who is not there is unknown, also to a refresh
//   clients    [{client_id, ...}], in the provider's own words
//   keys       a number: another one makes new keys and forgets the old ones; algorithm: which of them signs first
//   clock      s by which its clock is wrong; lifetime: s of an ID token
//   interval   s between two questions about a device code that it says; pace: s that it demands
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:https";

const file = process.argv[2];
const packages = process.argv[3];
const { default: Provider } = await import(createRequire(`${packages}/`).resolve("oidc-provider"));

const realNow = Date.now;
let config, current, keys = { number: 0 }, starts = 0;
const asked = new Map(); // device code: when
Date.now = () => realNow() + (config?.clock ?? 0) * 1000;

function jwk(type, options, more) {
  return { ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), use: "sig", ...more };
}

function makeKeys(number) {
  if (keys.number !== number) {
    const all = [
      jwk("rsa", { modulusLength: 2048 }, { kid: `rs-${number}`, alg: "RS256" }),
      jwk("ec", { namedCurve: "P-256" }, { kid: `es-${number}`, alg: "ES256" }),
    ];
    keys = { number, all };
  }
  return keys.all;
}

// RFC 8628, 3.5: who asks too soon is told to slow down. The provider itself never says so.
async function pace(ctx, next) {
  const before = realNow();
  await next();
  const code = ctx.oidc?.params?.device_code;
  if (ctx.path === "/device/auth" && ctx.status === 200 && config.interval)
    ctx.body = { ...ctx.body, interval: config.interval };
  if (code && ctx.body?.error === "authorization_pending") {
    if (before - (asked.get(code) ?? 0) < (config.pace ?? 0) * 1000) {
      ctx.body = { error: "slow_down", error_description: "you are polling too quickly" };
      console.log("slow_down");
    }
    asked.set(code, before);
  }
}

function load() {
  config = JSON.parse(readFileSync(file));
  const provider = new Provider(config.issuer, {
    clients: config.clients,
    jwks: { keys: makeKeys(config.keys ?? 1) },
    cookies: { keys: ["of-a-test"] },
    conformIdTokenClaims: false, // claims of scopes are in the ID token, as with most issuers
    claims: {
      openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username"], groups: ["groups", "level"],
    },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256"] },
    features: { deviceFlow: { enabled: true }, revocation: { enabled: true }, devInteractions: { enabled: true } },
    ttl: { IdToken: config.lifetime ?? 3600, AccessToken: 3600, DeviceCode: config.device ?? 600, RefreshToken: 86400,
      Interaction: 3600, Session: 86400, Grant: 86400 },
    findAccount: (ctx, id) => config.accounts[id] && { accountId: id, claims: () => ({ sub: id, ...config.accounts[id] }) },
  });
  provider.use(pace);
  provider.on("server_error", (ctx, error) => console.error(error));
  current = provider.callback();
  console.log(`ready ${++starts}`);
}

load();
process.on("SIGHUP", load);
createServer({ cert: readFileSync(config.cert), key: readFileSync(config.key) }, (req, res) => current(req, res))
  .listen(config.port, config.host, () => console.log(`listening on ${config.host}:${config.port}`));
