// Create, update and read leads with the vendors' Node SDKs; prints what each call returned, as JSON.
//
//     node flows.mjs HOST:PORT

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.SDK_MODULES}/`);
const { Connection } = require("jsforce");
const { Client } = require("@hubspot/api-client");

const url = `http://${process.argv[2]}`;
const fields = JSON.parse(readFileSync("lead.json"));
const told = [];

async function tell(what, call) {
  let returned;
  try {
    returned = await call();
  } catch (error) {
    returned = { raised: error.name, code: error.errorCode ?? error.code, message: String(error.body?.message ?? error.message).slice(0, 200) };
  }
  told.push([what, JSON.parse(JSON.stringify(returned ?? null))]);
  return returned;
}

async function salesforce() {
  const crm = new Connection({ instanceUrl: url, accessToken: "token", version: "59.0" });
  const named = Object.fromEntries(Object.entries(fields).map(([name, value]) => [`${name}__c`, value]));
  const lead = { ...named, LastName: "Kay", Company: "Acme" };
  const created = await tell("create", () => crm.sobject("Lead").create(lead));
  await tell("refused", () => crm.sobject("Lead").create({ ...lead, nosuch: 1 }));
  await tell("update", () => crm.sobject("Lead").update({ Id: created.id, campaign__c: 2 }));
  await tell("read", () => crm.sobject("Lead").retrieve(created.id));
  await tell("collection", () => crm.sobject("Lead").create([lead, { ...lead, nosuch: 1 }, { ...lead, age__c: 30 }], { allOrNone: false }));
}

async function hubspot() {
  const { basicApi, batchApi } = new Client({ accessToken: "token", basePath: url }).crm.contacts;
  const lead = { ...Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)])), email: "kay@example.test" };
  const created = await tell("create", () => basicApi.create({ properties: lead, associations: [] }));
  await tell("refused", () => basicApi.create({ properties: { ...lead, nosuch: "1" }, associations: [] }));
  await tell("update", () => basicApi.update(created.id, { properties: { campaign: "2" } }));
  await tell("read", () => basicApi.getById(created.id));
  const inputs = [lead, { ...lead, email: "lee@example.test", age: "30" }].map((properties) => ({ properties, associations: [] }));
  await tell("batch", () => batchApi.create({ inputs }));
}

for (const flow of [salesforce, hubspot]) {
  told.push(flow.name);
  await flow();
}
console.log(JSON.stringify(told, null, 1));
