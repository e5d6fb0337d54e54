"""Create, update and read leads with the vendors' Python SDKs; prints what each call returned, as JSON.

    python flows.py HOST:PORT
"""

import json
import sys

import odoorpc
import requests
from hubspot.crm.contacts import ApiClient, BasicApi, BatchApi, Configuration
from hubspot.crm.contacts import BatchInputSimplePublicObjectBatchInputForCreate as Batch
from hubspot.crm.contacts import SimplePublicObjectInput as Change
from hubspot.crm.contacts import SimplePublicObjectInputForCreate as New
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceError

HOST, PORT = sys.argv[1].split(":")
FIELDS = json.load(open("lead.json"))
TOLD = []


def tell(what, call):
    try:
        returned = call()
    except Exception as error:  # what a caller would see
        returned = {"raised": type(error).__name__, "content": getattr(error, "content", None) or getattr(error, "body", None) or str(error)}
    TOLD.append([what, json.loads(json.dumps(returned, default=str))])
    return returned


class Plain(requests.adapters.HTTPAdapter):
    """simple-salesforce builds https URLs only; this sends them as http."""

    def send(self, request, **options):
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **options)


def salesforce():
    session = requests.Session()
    session.mount("https://", Plain())
    crm = Salesforce(instance=f"{HOST}:{PORT}", session_id="token", session=session, version="59.0")
    lead = {f"{name}__c": value for name, value in FIELDS.items()} | {"LastName": "Kay", "Company": "Acme"}
    created = tell("create", lambda: crm.Lead.create(lead))
    tell("refused", lambda: crm.Lead.create(lead | {"nosuch": 1}))
    tell("update", lambda: crm.Lead.update(created["id"], {"campaign__c": 2}))
    tell("update refused", lambda: crm.Lead.update(created["id"], {"nosuch": 2}))
    tell("get", lambda: crm.Lead.get(created["id"]))
    records = [{"attributes": {"type": "Lead"}} | lead | extra for extra in ({}, {"nosuch": 1}, {"age__c": 30})]
    tell("collection", lambda: crm.restful("composite/sobjects", method="POST",
                                           data=json.dumps({"allOrNone": False, "records": records})))
    assert SalesforceError


def hubspot():
    client = ApiClient(Configuration(host=f"http://{HOST}:{PORT}"))
    basic, batch = BasicApi(client), BatchApi(client)
    lead = {name: str(value) for name, value in FIELDS.items()} | {"email": "kay@example.test"}
    other = lead | {"email": "lee@example.test", "age": "30"}
    created = tell("create", lambda: basic.create(New(properties=lead)).to_dict())
    tell("refused", lambda: basic.create(New(properties=lead | {"nosuch": "1"})).to_dict())
    tell("update", lambda: basic.update(created["id"], Change(properties={"campaign": "2"})).to_dict())
    tell("read", lambda: basic.get_by_id(created["id"]).to_dict())
    inputs = [New(properties=lead), New(properties=other)]
    tell("batch", lambda: batch.create(Batch(inputs=inputs)).to_dict())


def odoo():
    crm = odoorpc.ODOO(HOST, port=int(PORT), version="17.0")
    crm.login("lab", "admin", "secret-of-odoo")
    lead = {f"x_{name}": value for name, value in FIELDS.items()} | {"name": "Kay"}
    call = lambda *arguments: crm.execute("crm.lead", *arguments)
    created = tell("create", lambda: call("create", lead))
    tell("create two", lambda: call("create", [lead, lead | {"x_age": 30}]))
    tell("refused", lambda: call("create", lead | {"nosuch": 1}))
    tell("write", lambda: call("write", [created], {"x_campaign": 2}))
    tell("read", lambda: call("read", [created]))
    tell("won", lambda: call("action_set_won", [created]))


for flow in (salesforce, hubspot, odoo):
    TOLD.append(flow.__name__)
    flow()
print(json.dumps(TOLD, indent=1, sort_keys=True))
