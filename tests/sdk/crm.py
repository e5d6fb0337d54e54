"""A stand-in for three CRMs, in memory: Salesforce REST, HubSpot CRM v3, Odoo JSON-RPC, as far as the flows need them.

Answers are a function of what came before, so two runs of the same flows give the same results. Prints its port.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import urlsplit

KNOWN = set(open("fields.txt").read().split())
TIME = "2026-11-22T08:00:00.000Z"
LEADS, NUMBERS = {}, count(1001)


def salesforce_id():
    return f"00Q5e0000000{next(NUMBERS):06d}AA"


class Refused(Exception):
    def __init__(self, status, body):
        self.answer = status, body


def unknown(fields):
    return next((name for name in fields if name not in KNOWN), None)


def salesforce_create(record):
    record = {key: value for key, value in record.items() if key != "attributes"}
    if (name := unknown(record)) is not None:
        message = f"No such column '{name}' on sobject of type Lead"
        raise Refused(400, [{"message": message, "errorCode": "INVALID_FIELD"}])
    identity = salesforce_id()
    LEADS[identity] = record
    return {"id": identity, "success": True, "errors": []}


def salesforce(method, parts, body):
    if parts[3:5] == ["composite", "sobjects"]:
        results = []
        for record in body["records"]:
            try:
                results.append(salesforce_create(record))
            except Refused as refused:
                error = {"statusCode": "INVALID_FIELD", "message": refused.answer[1][0]["message"], "fields": []}
                results.append({"success": False, "errors": [error]})
        return 200, results
    if method == "POST":
        return 201, salesforce_create(body)
    lead = LEADS.setdefault(parts[5], {})
    if method == "PATCH":
        if (name := unknown(body)) is not None:
            raise Refused(400, [{"message": f"No such column '{name}'", "errorCode": "INVALID_FIELD"}])
        lead.update(body)
        return 204, None
    return 200, {"attributes": {"type": "Lead"}, "Id": parts[5], **lead}


def hubspot_create(item):
    if (name := unknown(item["properties"])) is not None:
        raise Refused(400, {"status": "error", "message": f"Property \"{name}\" does not exist",
                            "category": "VALIDATION_ERROR", "correlationId": "0"})
    identity = str(5100000000 + next(NUMBERS))
    LEADS[identity] = item["properties"]
    return hubspot_shown(identity)


def hubspot_shown(identity):
    properties = {**LEADS[identity], "hs_object_id": identity}
    return {"id": identity, "properties": properties, "createdAt": TIME, "updatedAt": TIME, "archived": False}


def hubspot(method, parts, body):
    if parts[4:] == ["batch", "create"]:
        results = [hubspot_create(item) for item in body["inputs"]]
        return 201, {"status": "COMPLETE", "results": results[::-1], "startedAt": TIME, "completedAt": TIME}
    if method == "POST":
        return 201, hubspot_create(body)
    if method == "PATCH":
        LEADS[parts[4]].update(body["properties"])
    return 200, hubspot_shown(parts[4])


def odoo_call(model, method, *arguments):
    if method == "context_get":
        return {"lang": "en_US", "tz": "UTC"}
    if method == "create":
        records = arguments[0] if isinstance(arguments[0], list) else [arguments[0]]
        for record in records:
            if (name := unknown(record)) is not None:
                raise ValueError(f"Invalid field '{name}' on model '{model}'")
        identities = [next(NUMBERS) for _ in records]
        LEADS.update(zip(identities, records))
        return identities if isinstance(arguments[0], list) else identities[0]
    if method == "write":
        for identity in arguments[0]:
            LEADS[identity].update(arguments[1])
        return True
    if method == "read":
        return [{"id": identity, **LEADS[identity]} for identity in arguments[0]]
    return True


def odoo(body):
    params, answer = body["params"], {"jsonrpc": "2.0", "id": body.get("id")}
    try:
        if params.get("service") == "common":
            version = {"server_version": "17.0", "server_version_info": [17, 0, 0, "final", 0, ""],
                       "server_serie": "17.0", "protocol_version": 1}
            result = 2 if params["method"] == "login" else version
        else:
            _, _, _, model, method, *arguments = params["args"]
            if params["method"] == "execute_kw":
                arguments = arguments[0]
            result = odoo_call(model, method, *arguments)
        return 200, {**answer, "result": result}
    except ValueError as error:
        data = {"name": "builtins.ValueError", "debug": "", "message": str(error), "arguments": [str(error)]}
        return 200, {**answer, "error": {"code": 200, "message": "Odoo Server Error", "data": data}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        body = json.loads(raw) if raw else None
        path = urlsplit(self.path).path
        parts = path.strip("/").split("/")
        try:
            if path.startswith("/services/data/"):
                status, answer = salesforce(self.command, parts[:1] + parts[1:], body)
            elif path.startswith("/crm/v3/objects/"):
                status, answer = hubspot(self.command, parts, body)
            elif path == "/jsonrpc":
                status, answer = odoo(body)
            elif path == "/web/webclient/version_info":
                status, answer = odoo({"params": {"service": "common", "method": "version"}})
            else:
                status, answer = 404, {"error": path}
        except Refused as refused:
            status, answer = refused.answer
        self.send_response(status)
        if answer is None:
            self.end_headers()
            return
        text = json.dumps(answer, separators=(",", ":")).encode()
        self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = do_PUT = serve

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
